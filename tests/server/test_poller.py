"""The poller: every socket with bytes has its turn, and what goes wrong in one turn is that connection's alone."""

from __future__ import annotations

import socket
from collections.abc import Callable

import attrs
import pytest
import trio
import trio.testing

from minibroker.server.poller import HAS_EPOLL, EpollPoller, Poller, TaskPoller
from minibroker.server.transport import SocketTransport

POLLERS = [TaskPoller, pytest.param(EpollPoller, marks=pytest.mark.skipif(not HAS_EPOLL, reason="no epoll here"))]


@attrs.define(eq=False)
class Line:
    """A socket whose bytes are taken one at a time, until one says to stop or to fail."""

    transport: SocketTransport
    peer: socket.socket
    taken: bytes = b""

    @classmethod
    def make(cls) -> Line:
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        return cls(SocketTransport(ours, "here"), peer)

    def take(self) -> bool:
        byte = self.transport.sock.recv(1)
        self.taken += byte
        if byte == b"!":
            raise ValueError("a bug")
        return byte != b"."

    def close(self) -> None:
        self.transport.close()
        self.peer.close()


@pytest.fixture(params=POLLERS)
async def poller(request: pytest.FixtureRequest, nursery: trio.Nursery) -> Poller:
    made: Poller = EpollPoller(rest=lambda: None) if request.param is EpollPoller else TaskPoller()
    nursery.start_soon(made.run)
    return made


async def settle_until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.testing.wait_all_tasks_blocked()


async def test_a_callback_is_called_until_it_has_enough(poller: Poller) -> None:
    """`watch` returns then, and may be called again for what is left."""
    line = Line.make()
    line.peer.send(b"ab.cd.")
    await poller.watch(line.transport, line.take)
    assert line.taken == b"ab."
    await poller.watch(line.transport, line.take)
    assert line.taken == b"ab.cd."
    line.close()


async def test_an_error_goes_to_its_own_task_only(poller: Poller, nursery: trio.Nursery) -> None:
    """Others are served as before."""
    good, bad = Line.make(), Line.make()
    nursery.start_soon(poller.watch, good.transport, good.take)
    bad.peer.send(b"a!")
    with pytest.raises(ValueError, match="a bug"):
        await poller.watch(bad.transport, bad.take)
    good.peer.send(b"xyz.")
    await settle_until(lambda: good.taken == b"xyz.")
    good.close()
    bad.close()


async def test_a_cancelled_watch_is_over(poller: Poller) -> None:
    """Bytes that come later are nobody's, and do not disturb whoever watches the next socket with that number."""
    line = Line.make()
    with trio.CancelScope() as scope:
        scope.cancel()
        await poller.watch(line.transport, line.take)
    line.peer.send(b"late")
    line.close()
    following = Line.make()
    following.peer.send(b"ok.")
    await poller.watch(following.transport, following.take)
    assert (line.taken, following.taken) == (b"", b"ok.")
    following.close()


@pytest.mark.skipif(not HAS_EPOLL, reason="no epoll here")
async def test_after_a_long_turn_those_who_are_quick_come_first(
    mock_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """One whose requests were short waits for one long request, and not for all that came before its own."""
    poller = EpollPoller(rest=lambda: None)
    quick, *slow = (Line.make() for _ in range(5))
    turns: list[Line] = []

    def taking(line: Line) -> Callable[[], bool]:
        def take() -> bool:
            turns.append(line)
            if line in slow:
                mock_clock.jump(0.1)
            return line.take()

        return take

    for line in (*slow, quick):
        nursery.start_soon(poller.watch, line.transport, taking(line))
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(poller.run)
    quick.peer.send(b"a")
    await settle_until(lambda: quick.taken == b"a")
    for line in (*slow, quick):
        line.peer.send(b"b")
    await settle_until(lambda: len(turns) == 6)
    for line in (*slow, quick):
        line.peer.send(b".")
    await settle_until(lambda: len(turns) == 11)
    assert (
        turns.index(quick, 1) == 2
    )  # behind one that turned out to be slow, and before those of whom nothing is known
    assert turns.index(quick, 3) == 6  # before all who are slow
    for line in (*slow, quick):
        line.close()


async def test_a_peer_that_leaves_is_noticed(poller: Poller) -> None:
    """The end of the stream makes a socket readable."""
    line, seen = Line.make(), []

    def note() -> bool:
        seen.append(line.transport.receive_nowait(memoryview(bytearray(10))))
        return False

    line.peer.close()
    await poller.watch(line.transport, note)
    assert seen == [0]
    line.close()


async def test_one_that_never_stops_lets_the_others_in(poller: Poller) -> None:
    """However much one peer sends: other sockets have their turn, and so have other tasks."""
    greedy, modest, turns = Line.make(), Line.make(), 0

    def take_and_refill() -> bool:
        nonlocal turns
        turns += 1
        greedy.peer.send(b"a")
        return greedy.take()

    greedy.peer.send(b"a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.watch, greedy.transport, take_and_refill)
        while not turns:
            await trio.lowlevel.checkpoint()
        modest.peer.send(b"hello.")
        await poller.watch(modest.transport, modest.take)
        nursery.cancel_scope.cancel()
    assert modest.taken == b"hello."
    greedy.close()
    modest.close()
