"""One client's connection: requests are taken as they come, and answered in the same order.

Whatever has come is received, decoded and started at once, so a producer's next batch is appended while the previous
one waits for the disk. The poller calls `_take` for that, which never waits; the reader task is only woken where
something must (memory, a peer that does not read, the turn of others).
"""

from __future__ import annotations

import contextlib
import logging
import math
import traceback

import attrs
import trio

from minibroker.protocol.errors import ProtocolError
from minibroker.server.answers import Answers, PeerTooSlow
from minibroker.server.complaints import Complaints
from minibroker.server.dispatch import Dispatcher
from minibroker.server.inbox import CAREFUL_FACTOR, Inbox
from minibroker.server.limits import LONG_S, SMALL_BYTES, Limits, MemoryBudget, Turns
from minibroker.server.poller import Poller, TaskPoller
from minibroker.server.transport import Transport

logger = logging.getLogger(__name__)

LEAST_RECEIVED_BYTES = 4096
"""However short memory is, a receive may bring this much."""
NEGLIGIBLE_BYTES = 4096
"""Less than this in answers and waiting requests is not worth the accounting: the connection itself takes more."""


@attrs.define(eq=False)
class Connection:
    """See the module. `run` serves one peer until it leaves, misbehaves or is cancelled."""

    transport: Transport
    dispatcher: Dispatcher
    inbox: Inbox
    limits: Limits
    budget: MemoryBudget
    poller: Poller = attrs.field(factory=TaskPoller)
    turns: Turns = attrs.field(factory=Turns)
    complaints: Complaints = attrs.field(factory=Complaints)
    _last_received: float = attrs.field(factory=trio.current_time)
    _answers: Answers = attrs.field(init=False)
    _held_bytes: int = 0
    """What the budget knows that we hold."""
    _progress: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _unfinished_since: float = 0.0
    """When the reader first waited for the rest of the present request; 0 between requests."""
    _patience: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around the wait for more bytes."""
    _hurried: bool = False
    """Whether that has a deadline: it has one in the middle of a request."""
    _paused: bool = False
    """Whether we, not the peer, keep the rest of the present request waiting."""
    _awaits_turn: bool = False
    """Whether it is counted among those who do."""
    _is_long: bool = False
    """Whether the last turn that took too long was one long request."""
    _ended: bool = False
    """Whether the peer sends no more."""
    _reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _serving: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        self._answers = Answers(
            self.transport,
            self.dispatcher.services.flusher,
            self.limits,
            self._serving.cancel,
            self._note_progress,
        )

    @property
    def idle(self) -> bool:
        """Whether the peer waits for nothing."""
        return not self._answers.pending

    @property
    def last_active(self) -> float:
        """When bytes last came, or went while we waited for that, on the monotonic clock."""
        return max(self._last_received, self._answers.last_sent)

    async def run(self) -> None:
        """Serve the peer. Its faults end this connection and are logged in one line; an AssertionError is ours and passes."""
        host = self.transport.host
        try:
            with self._serving:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._answers.run_writer)
                    with self._reading:
                        await self._run_reader()
                    if self._reading.cancelled_caught:
                        await self._drain()
                    nursery.cancel_scope.cancel()
        except* AssertionError:
            raise
        except* (ProtocolError, PeerTooSlow) as group:
            self.complaints.warn("closed the connection of %s: %s", host, str(_first(group)))
        except* (OSError, trio.ClosedResourceError) as group:
            logger.debug("lost the connection of %s: %s", host, _first(group))
        except* Exception as group:
            logger.error("closed the connection of %s after an error of ours", host, exc_info=group)
        finally:
            self.transport.close()
            self._await_turn(False)
            self._answers.close()
            self.inbox.close()
            self.budget.hold(self, 0)

    def stop_reading(self) -> None:
        """Take no further request; `run` ends when those that are appended have been answered."""
        self._reading.cancel()

    def relieve(self, now: float) -> None:
        """The memory budget is used up: give back what is not needed, and hang up if the peer stands still on the rest."""
        self.release()
        unsent = self._answers.unsent_bytes
        unfinished = 0 if self._paused else self.inbox.unfinished_bytes
        if self._answers.in_order or (unsent if self._paused else self._held_bytes) <= self.budget.share_bytes:
            return
        granted = self.limits.pressed_s + unfinished / self.limits.pressed_bytes_per_s
        crawls = bool(unfinished and self._unfinished_since) and now - self._unfinished_since > granted
        stands = (unfinished or unsent) and now - self.last_active > self.limits.pressed_s
        if crawls or stands or self._answers.crawls(now):
            self._part("it stands still on", self._held_bytes)

    def release(self) -> None:
        """Give memory back that holds nothing."""
        self.inbox.release()
        self._account()

    def _part(self, does: str, count: int) -> None:
        """Memory is short, and the peer is at fault: give back at once what its answers take, and hang up."""
        self.complaints.warn(
            "closed the connection of %s: %s %d bytes while memory is short (queued.max.request.bytes)",
            self.transport.host,
            does,
            count,
        )
        self._answers.lose()
        self._serving.cancel()

    # -- taking requests without a wait

    def _take(self) -> bool:
        """Receive what has come and start its requests; False if what follows has to wait."""
        self._last_received = trio.current_time()
        count = self.transport.receive_nowait(self._room())
        if not count:
            self._ended = count == 0
            return not self._ended
        self.inbox.received(count)
        return self._start_received()

    def _start_received(self) -> bool:
        """Start the requests that are received; False if some are left because something has to wait."""
        if self.inbox.held_bytes:
            self._account()
        if self._awaits_turn:
            self._await_turn(False)
        turn_end = self._last_received + self.turns.length_s
        paused = self._must_pause()
        while not paused:
            frame = self.inbox.next_frame()
            if frame is None:
                return self._await_rest()
            self._unfinished_since = 0.0
            answer = self.dispatcher.dispatch(frame, self.transport.host)
            if answer is not None:
                self._answers.add(answer)
            if (now := trio.current_time()) > turn_end:
                self._is_long = now - self._last_received > LONG_S
                self._await_turn(True)
                break
            paused = self._answers.pending and self._must_pause()
        self.inbox.park()
        return False

    def _await_turn(self, awaits: bool) -> None:
        """Be counted among those who wait for their next turn, or not."""
        self.turns.count(awaits - self._awaits_turn)
        self._awaits_turn = awaits

    def _room(self) -> memoryview:
        """Where the next bytes shall be received, and how many: the fewer the shorter memory is."""
        budget = self.budget
        if not budget.tight:
            return self.inbox.room()
        room = self.inbox.room(CAREFUL_FACTOR)
        return room[: max(budget.share_bytes, LEAST_RECEIVED_BYTES)] if budget.exceeded else room

    def _must_pause(self) -> bool:
        """Whether too many requests are in flight, or too much waits for a peer that does not read, to start another."""
        unsent = self._answers.unsent_bytes
        if unsent > NEGLIGIBLE_BYTES:
            self._account()
        budget = self.budget
        return (
            len(self._answers) >= self.limits.max_in_flight
            or unsent > self.limits.max_unsent_bytes
            or self._answers.in_order
            or (budget.held_bytes >= budget.limit_bytes and not budget.allows(self))
        )

    def _await_rest(self) -> bool:
        """Everything received is started but perhaps a part of a request; False if its rest must not come yet."""
        unfinished = self.inbox.unfinished_bytes
        if not unfinished:
            if self._hurried:
                self._hurry(math.inf)
            return True
        self.inbox.park()
        self._account()
        if self.budget.exceeded and not self.budget.allows(self):
            return False
        # Neither silence nor a byte now and then holds a connection for ever.
        now = trio.current_time()
        self._unfinished_since = self._unfinished_since or now
        longest = self.limits.unfinished_request_s
        granted = longest + unfinished / self.limits.min_bytes_per_s
        self._hurry(min(now + longest, self._unfinished_since + granted))
        return True

    def _hurry(self, deadline: float) -> None:
        """Expect the next bytes until `deadline`, on the monotonic clock."""
        self._hurried = deadline < math.inf
        self._patience.deadline = deadline

    # -- the reader task, for what has to wait

    async def _run_reader(self) -> None:
        while not self._ended:
            self._patience = trio.CancelScope(deadline=self._patience.deadline)
            with self._patience:
                await self.poller.watch(self.transport, self._take)
            if self._patience.cancelled_caught:
                raise PeerTooSlow("the rest of a request did not come in time")
            if not self._ended:
                await self._catch_up()

    async def _catch_up(self) -> None:
        """Start what is received, with the waits that are due before it and after it."""
        while True:
            self.inbox.park()
            self._account()
            if len(self._answers) >= self.limits.max_in_flight:
                self._await_turn(False)
                while len(self._answers) > self.limits.max_in_flight // 2:
                    await self._progress.park()
            while self._must_pause():
                self._await_turn(False)
                full = self._answers.in_order or self._answers.unsent_bytes > self.limits.max_unsent_bytes
                await (self._progress.park() if full else self._wait_allowed())
            async with self.turns.lane if self._is_long else contextlib.nullcontext():
                await trio.lowlevel.checkpoint()
                self._last_received = trio.current_time()
                if self._start_received():
                    return

    async def _wait_allowed(self) -> None:
        """Wait until more may be received. It is not the peer who is slow then."""
        began = trio.current_time()
        self._paused = True
        await self.budget.wait_allowed(self)
        self._paused = False
        self._last_received = trio.current_time()
        if self._unfinished_since:
            self._unfinished_since += self._last_received - began

    async def _drain(self) -> None:
        """Wait until everything is answered that was started."""
        while self._answers.pending:
            await self._progress.park()

    # -- accounts

    def _note_progress(self) -> None:
        if self._held_bytes > NEGLIGIBLE_BYTES or self._answers.unsent_bytes > NEGLIGIBLE_BYTES:
            self._account()
        if self._progress:
            self._progress.unpark_all()

    def _account(self) -> None:
        """Tell the budget what we hold."""
        unsent = self._answers.unsent_bytes
        held = self.inbox.held_bytes + (unsent if unsent > NEGLIGIBLE_BYTES else 0)
        before, budget = self._held_bytes, self.budget
        if held > before and budget.overrun and unsent > max(SMALL_BYTES, budget.share_bytes):
            self._part("it asks for", held)
            held -= unsent
        if held != before:
            self._held_bytes = held
            budget.hold(self, held)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of the exceptions in a group, however deep.

    What its traceback refers to is dropped, a request perhaps: Trio may keep it in a cycle until garbage is collected.
    """
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    traceback.clear_frames(error.__traceback__)
    return error
