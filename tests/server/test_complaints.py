"""Warnings about peers do not fill the log."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from minibroker.server.complaints import AT_ONCE, Complaints
from tests.server.peer import Bench, Peer


async def test_the_first_are_logged_then_one_a_second(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What is left out is counted, and told of in the next one."""
    complaints = Complaints()
    for number in range(1000):
        complaints.warn("peer %d is bad", number)
    assert [record.getMessage() for record in caplog.records] == [f"peer {number} is bad" for number in range(AT_ONCE)]
    caplog.clear()
    await trio.sleep(1.5)
    for number in range(3):
        complaints.warn("peer %d is bad", number)
    assert [record.getMessage() for record in caplog.records] == ["peer 0 is bad (and 950 more such warnings)"]
    caplog.clear()
    await trio.sleep(3600)
    for number in range(1000):
        complaints.warn("peer %d is bad", number)
    assert len(caplog.records) == AT_ONCE
    assert caplog.records[0].getMessage() == "peer 0 is bad (and 2 more such warnings)"


async def test_connections_complain_together(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """However many connections an attacker opens and spoils."""
    bench = Bench(lambda frame: frame)
    for _ in range(500):
        peer = Peer()
        nursery.start_soon(bench.connection(peer).run)
        peer.send(b"\xff" * 4)
    await trio.testing.wait_all_tasks_blocked()
    assert len(caplog.records) == AT_ONCE
