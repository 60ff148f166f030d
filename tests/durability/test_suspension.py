"""A real broker that is stopped (SIGSTOP) for longer than any session lasts: no member that is alive is expelled.

A member is alive if it asks again before its session timeout is over, counted from its last request that was answered,
and if it waits for the answer otherwise. While the broker is stopped such requests lie in the sockets; they count
before anybody is declared dead. Where the test itself was too slow to ask in time, nothing is judged.

Each suspension lasts as long as it lasts; nothing else waits for the clock. `python -m tests.soak suspensions` goes on.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path

import attrs
import pytest

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from minibroker.protocol.messages.join_group import JoinGroupResponse
from minibroker.protocol.messages.sync_group import SyncGroupRequest
from tests.durability.process import PATIENCE_S, BrokerProcess
from tests.traps.test_groups import describe_group, join_request
from tests.traps.wire import Wire

SETTINGS = {
    "group.min.session.timeout.ms": "100",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "1",
}
VERSION = 3
"""Of Heartbeat."""
MEMBERS = 20
SESSION_MS = (200, 350)
SUSPENSIONS = 10
"""Of one unit of the long run."""


@attrs.define(eq=False)
class Member:
    """The only member of a group, with a connection of its own and one request at a time, as clients have."""

    address: str
    group: str
    session_ms: int
    expelled: bool = False
    """Whether it has been, in time or not."""
    _wire: Wire = attrs.field(init=False)
    _joined: JoinGroupResponse = attrs.field(init=False)
    _asked_at: float = 0.0
    """When it began to send the last request that was answered: its session begins then or later."""
    _in_time: bool = False

    def __attrs_post_init__(self) -> None:
        self._wire = Wire(self.address)

    def join(self) -> None:
        """Be a member, with a session that has just begun; again where we were too slow between two requests."""
        until = time.monotonic() + PATIENCE_S
        self.expelled = True
        while self.expelled:
            assert time.monotonic() < until, f"{self.group} cannot be joined"
            first = self._wire.ask(join_request(self.group, session_timeout_ms=self.session_ms), 6)
            asked = join_request(self.group, first.member_id, session_timeout_ms=self.session_ms)
            self._joined = self._wire.ask(asked, 6)
            self._asked_at = time.monotonic()
            self.expelled = self._joined.error_code != ErrorCode.NONE or not self._sync()

    def _sync(self) -> bool:
        joined = self._joined
        request = SyncGroupRequest(
            group_id=self.group, generation_id=joined.generation_id, member_id=joined.member_id, assignments=[]
        )
        error = self._wire.ask(request, 3).error_code
        assert error in (ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID), error
        return bool(error == ErrorCode.NONE)

    def ask(self) -> None:
        """Send a heartbeat."""
        began = time.monotonic()
        self._wire.send(
            HeartbeatRequest(
                group_id=self.group, generation_id=self._joined.generation_id, member_id=self._joined.member_id
            ),
            VERSION,
        )
        self._in_time = time.monotonic() < self._asked_at + self.session_ms / 1000
        self._asked_at = began

    def hear(self) -> bool:
        """Take the answer; returns whether it was judged."""
        error = self._wire.receive(HeartbeatResponse, VERSION)[1].error_code
        assert error in (ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID), error
        self.expelled = error != ErrorCode.NONE
        assert not (self._in_time and self.expelled), f"{self.group} was expelled, with {self.session_ms} ms of session"
        return self._in_time

    def close(self) -> None:
        """Hang up."""
        self._wire.sock.close()


@attrs.define(eq=False)
class Suspending:
    """One broker that is stopped now and then."""

    broker: BrokerProcess
    rng: random.Random
    members: list[Member] = attrs.field(factory=list)
    judged: int = 0
    """How many members were found to be alive after a suspension."""

    def begin(self) -> None:
        """Have members."""
        self.broker.start()
        self.broker.wait_listening()
        for number in range(MEMBERS):
            self.members.append(Member(self.broker.address, f"group{number}", self.rng.randint(*SESSION_MS)))
        for member in self.members:
            member.join()

    def suspend(self) -> None:
        """Stop the broker for longer than all sessions last, while its members go on."""
        for member in self.members:
            member.ask()
            member.hear()
            if member.expelled:
                member.join()
        began = time.monotonic()
        moments = [(self.rng.uniform(0, 0.0008) * member.session_ms, member) for member in self.members]
        self.broker.signal(signal.SIGSTOP)
        for moment, member in sorted(moments, key=itemgetter(0)):
            _pass_time(began + moment)
            member.ask()
        _pass_time(began + self.rng.uniform(1.1, 2.5) * max(SESSION_MS) / 1000)
        self.broker.signal(signal.SIGCONT)
        self.judged += sum(member.hear() for member in self.members)

    def wait_expelled(self) -> None:
        """Return when a member that says nothing any more has been expelled."""
        silent = self.members.pop()
        with Wire(self.broker.address) as wire:
            until = time.monotonic() + PATIENCE_S
            while describe_group(wire, silent.group, 5).group_state != "Empty":
                assert time.monotonic() < until, "nobody is ever expelled"
        silent.close()

    def close(self) -> None:
        """Leave nothing behind."""
        for member in self.members:
            member.close()
        self.broker.close()


def _pass_time(until: float) -> None:
    """A suspension is nothing but time."""
    time.sleep(max(0.0, until - time.monotonic()))


def run_suspensions(directory: Path, seed: int, count: int, deadline: Callable[[], bool] = lambda: False) -> int:
    """Suspend a broker so many times; returns how many members were judged."""
    suspending = Suspending(BrokerProcess(directory, SETTINGS), random.Random(seed))
    try:
        suspending.begin()
        for _ in range(count):
            if not deadline():
                suspending.suspend()
        suspending.wait_expelled()
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error!r}") from error
    finally:
        suspending.close()
    return suspending.judged


def test_a_suspended_broker_expels_nobody_who_is_alive(tmp_path: Path) -> None:
    """Who has asked before its session was over stays a member, however late the broker reads that; who is silent goes."""
    judged = 0
    for attempt in range(10):  # a busy machine lets few of them ask in time
        (directory := tmp_path / str(attempt)).mkdir()
        judged += run_suspensions(directory, random.randrange(1 << 30), 2)
        if judged > MEMBERS // 2:
            return
    pytest.fail(f"only {judged} members of {10 * 2 * MEMBERS} were in time")


def soak(seed: int, deadline: Callable[[], bool]) -> int:
    """Ten suspensions."""
    with tempfile.TemporaryDirectory(prefix="minibroker-") as name:
        run_suspensions(Path(name), seed, SUSPENSIONS, deadline)
    return SUSPENSIONS
