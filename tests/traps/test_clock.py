"""Trap 14: no deadline of retention or of a session is driven by a step of the wall clock."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio

from minibroker.protocol.errors import ErrorCode
from minibroker.server.broker import RunningBroker, serve
from minibroker.testing.embedded import settings_for_test
from minibroker.topics.clock import Clock, wall_ms
from tests.traps.talk import batch, create, fetch, fetch_request, produce, values
from tests.traps.test_groups import heartbeat, join, sync
from tests.traps.wire import Wire

TEN_YEARS_MS = 10 * 365 * 24 * 3_600_000


class SteppedClock:
    """The wall clock, put wrong by as much as it is told."""

    wrong_by_ms = 0

    def now_ms(self) -> int:
        return wall_ms() + self.wrong_by_ms


@pytest.mark.parametrize("step_ms", [TEN_YEARS_MS, -TEN_YEARS_MS])
async def test_a_step_of_the_wall_clock_expires_nothing(tmp_path: Path, step_ms: int) -> None:
    """Members stay, records stay though retention looks all the time, a long poll waits for as long as it was told."""
    clock = SteppedClock()
    settings = settings_for_test(str(tmp_path), {"log.retention.check.interval.ms": 1})
    async with trio.open_nursery() as nursery:
        start = partial(serve, settings, clock=Clock(now_ms=clock.now_ms))
        running: RunningBroker = await nursery.start(start)
        endpoint = running.endpoints[0]
        await trio.to_thread.run_sync(_live_through, f"{endpoint.host}:{endpoint.port}", clock, step_ms)
        running.stop()


def _live_through(address: str, clock: SteppedClock, step_ms: int) -> None:
    with Wire(address) as wire, Wire(address) as poll:
        create(wire, "t", segment_bytes="1048576", message_timestamp_after_max_ms=str(2 * TEN_YEARS_MS))
        for value in (b"a", b"b"):
            produce(wire, "t", batch(value, b"x" * 600_000, first_ms=clock.now_ms()))  # in a segment each
        joined = join(wire, "g")
        sync(wire, "g", joined)
        poll.send(fetch_request("t", 4, min_bytes=1, max_wait_ms=600_000), 11)
        clock.wrong_by_ms = step_ms
        for _ in range(50):
            assert heartbeat(wire, "g", joined) == ErrorCode.NONE
            assert fetch(wire, fetch_request("t", 0)).log_start_offset == 0
        assert poll.is_quiet()
        clock.wrong_by_ms = 0
        assert heartbeat(wire, "g", joined) == ErrorCode.NONE
        assert values(wire, "t")[0] == b"a"
