"""All connections together, on a virtual clock: who has been idle for too long, and how they are sent home."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from minibroker.config.load import structure
from minibroker.handlers.context import Endpoint
from minibroker.protocol.framing import encode_request
from minibroker.protocol.messages.fetch import FetchRequest
from minibroker.server.connections import Connections
from minibroker.topics.clock import Clock
from minibroker.topics.flusher import Flusher
from tests.server.peer import Peer

ENDPOINT = Endpoint(host="broker.test", port=9092)
IDLE_S = 60


def make_connections(nursery: trio.Nursery, **settings: int) -> Connections:
    """Connections of a broker that has no topics."""
    texts = {name.replace("_", "."): value for name, value in settings.items()}
    settings = structure(texts)
    services = SimpleNamespace(
        settings=settings,
        flusher=Flusher(cast(Any, None)),
        clock=Clock(),
        catalog=SimpleNamespace(topics={}, settings=settings),
        polls=set(),
        ending=False,
    )
    return Connections(cast(Any, services), nursery)


def poll(max_wait_ms: int) -> bytes:
    """A long poll that nothing will end but its time: it is for no partition, and wants a byte."""
    return b"".join(
        bytes(part) for part in encode_request(1, "c", FetchRequest(max_wait_ms=max_wait_ms, min_bytes=1), 11)
    )  # type: ignore[arg-type]


async def test_idle_connections_are_closed(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """`connections.max.idle.ms`: one that asks now and then stays, one that says nothing goes."""
    connections = make_connections(nursery, connections_max_idle_ms=IDLE_S * 1000)
    nursery.start_soon(connections.run_sweeping)
    idle, busy = Peer(host="10.0.0.1"), Peer(host="10.0.0.2")
    for peer in (idle, busy):
        connections.start(peer, ENDPOINT)
    for _ in range(10):
        busy.send(poll(0))
        await trio.sleep(IDLE_S / 4)
    assert idle.closed
    assert not busy.closed
    assert len(connections) == 1
    nursery.cancel_scope.cancel()


async def test_without_a_limit_nobody_is_idle(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """-1 means for ever."""
    connections = make_connections(nursery, connections_max_idle_ms=-1)
    nursery.start_soon(connections.run_sweeping)
    peer = Peer()
    connections.start(peer, ENDPOINT)
    await trio.sleep(10_000)
    assert not peer.closed
    nursery.cancel_scope.cancel()


async def test_draining_waits_for_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    """Those who do not read are cut at the end of it; the others leave at once."""
    async with trio.open_nursery() as nursery:
        connections = make_connections(nursery)
        quick, slow = Peer(), Peer(window_bytes=5)
        for peer in (quick, slow):
            connections.start(peer, ENDPOINT)
            peer.send(poll(0))
        await trio.testing.wait_all_tasks_blocked()
        before = trio.current_time()
        await connections.drain(7.0)
    assert trio.current_time() == pytest.approx(before + 7.0)
    assert quick.closed
    assert slow.closed
    assert len(connections) == 0
