"""One connection, on a virtual clock: order, deadlines, bounds, and an end that leaves nothing behind."""

from __future__ import annotations

import gc
import logging
import socket
import weakref
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar

import attrs
import pytest
import trio
import trio.testing

from minibroker.protocol.errors import ProtocolError
from minibroker.server import inbox
from minibroker.server.limits import LEAST_TURN_S, MemoryBudget, Turns
from minibroker.server.poller import HAS_EPOLL, EpollPoller
from minibroker.server.transport import SocketTransport
from tests.server.peer import LIMITS, Bench, Held, Peer

MIB = 1 << 20


def echo(frame: bytes) -> bytes:
    return frame


def settle() -> object:
    return trio.testing.wait_all_tasks_blocked()


async def test_answers_come_in_the_order_of_requests(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Whether they are ready, wait for a flush round, or for something else."""
    go_on = trio.Event()

    async def later() -> bytes:
        await go_on.wait()
        return b"c"

    replies = {b"a": (b"a", 1), b"b": b"b", b"c": None, b"d": (b"d", 1), b"e": b"e"}
    bench = Bench(lambda frame: later() if frame == b"c" else replies[frame])
    peer = Peer()
    nursery.start_soon(bench.connection(peer).run)
    for content in replies:
        peer.send_frame(content)
    await settle()
    assert peer.take() == b""
    bench.flusher.completed = 1
    for callback in bench.flusher._callbacks.pop(1):
        callback()
    await settle()
    assert peer.take() == b"ab"
    go_on.set()
    await settle()
    assert peer.take() == b"cde"
    peer.leave()
    await peer.wait_closed()


async def test_a_byte_a_second_does_not_hold_a_connection(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that has begun must come to its end in time, though something comes all the time."""
    peer = Peer()
    nursery.start_soon(Bench(echo).connection(peer).run)
    for content in b"\0\0\1\0" + bytes(200):
        peer.send(bytes([content]))
        await trio.sleep(1)
        if peer.closed:
            break
    assert trio.current_time() <= LIMITS.unfinished_request_s + 2
    assert "did not come in time" in caplog.text
    assert caplog.text.count("\n") == 1


async def test_requests_far_apart_are_not_slow(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """Between requests a peer may rest as long as it likes."""
    peer = Peer()
    nursery.start_soon(Bench(echo).connection(peer).run)
    for _ in range(5):
        peer.send_frame(b"x")
        await trio.sleep(3600)
        assert peer.take() == b"x"


async def test_a_slow_reader_is_cut_and_holds_a_bounded_buffer(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """However many large answers it asks for: no more is made for it than a buffer full, and one."""
    answered = 0

    def handle(frame: bytes) -> bytes:
        nonlocal answered
        answered += 1
        return bytes(MIB // 4)

    bench = Bench(handle, limits=attrs.evolve(LIMITS, max_in_flight=500))
    peer = Peer(window_bytes=1000)
    nursery.start_soon(bench.connection(peer).run)
    for _ in range(500):
        peer.send_frame(b"x")
    await settle()
    assert answered <= 6
    assert bench.budget.held_bytes <= 2 * MIB
    await peer.wait_closed()
    assert trio.current_time() == pytest.approx(LIMITS.write_deadline_s, abs=1)
    assert "took less than 122880 bytes of its answers in 30 s" in caplog.text
    assert bench.budget.held_bytes == 0


async def test_a_reader_that_takes_its_time_gets_everything(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Slow is not dead: as long as it takes the least that it has to before each deadline, all at once or by and by."""
    least_bytes = int(LIMITS.min_taken_bytes_per_s * LIMITS.write_deadline_s)
    for portions in (1, 20):
        peer = Peer(window_bytes=least_bytes // portions + 1)
        nursery.start_soon(Bench(lambda frame: frame * (5 * least_bytes)).connection(peer).run)
        for content in (b"a", b"b"):
            peer.send_frame(content)
        received = b""
        while len(received) < 10 * least_bytes:
            await trio.sleep((LIMITS.write_deadline_s - 1) / portions)
            assert not peer.closed
            received += peer.take()
        assert received == b"a" * (5 * least_bytes) + b"b" * (5 * least_bytes)


async def test_a_byte_now_and_then_is_not_taking(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader that takes something all the time, and too little, is cut as one that takes nothing is."""
    peer = Peer(window_bytes=1000)
    nursery.start_soon(Bench(lambda frame: bytes(MIB)).connection(peer).run)
    peer.send_frame(b"x")
    for _ in range(200):
        await trio.sleep(1)
        if peer.closed:
            break
        peer.take()
    assert trio.current_time() <= LIMITS.write_deadline_s + 2
    assert "took less than" in caplog.text


async def test_only_so_many_requests_are_in_flight(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """`queued.max.requests`: a peer that sends ten thousand at once has the first ten started, and the next as they end."""
    held = Held()
    peer = Peer()
    nursery.start_soon(Bench(held).connection(peer).run)
    for _ in range(10_000):
        peer.send_frame(b"x")
    await settle()
    assert held.started == LIMITS.max_in_flight
    held.go_on.set()
    await settle()
    assert peer.take() == b"." * 10_000


async def test_requests_that_take_long_let_others_in(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """A peer that has sent a hundred of them, in a few bytes, does not keep another waiting for more than one."""
    handled = []

    def handle(frame: bytes) -> bytes:
        handled.append(frame)
        if frame == b"heavy":
            autojump_clock.jump(1.0)
        return frame

    bench = Bench(handle)
    heavy, light = Peer(), Peer()
    for peer, content, count in ((heavy, b"heavy", 100), (light, b"light", 3)):
        for _ in range(count):
            peer.send_frame(content)
        nursery.start_soon(bench.connection(peer).run)
    await settle()
    assert handled.count(b"heavy") == 100
    assert handled.index(b"light") <= 2
    assert [place for place, frame in enumerate(handled) if frame == b"light"][-1] <= 10


async def test_memory_in_flight_is_bounded_and_small_requests_do_not_notice(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """Forty peers that stop in the middle of a request of 100 MB: they are held back, then cut; others are served."""
    bench = Bench(echo, budget=MemoryBudget(10 * MIB))
    nursery.start_soon(bench.run_relieving)
    attackers = [Peer(host=f"10.0.1.{number}") for number in range(40)]
    for attacker in attackers:
        nursery.start_soon(bench.connection(attacker).run)
        attacker.send(MAX_CLAIM + bytes(MIB))
    honest = Peer()
    nursery.start_soon(bench.connection(honest).run)
    most = 0
    while not all(attacker.closed for attacker in attackers):
        before = trio.current_time()
        honest.send((10_000).to_bytes(4, "big") + bytes(5_000))
        await settle()
        honest.send(bytes(5_000))
        await settle()
        assert honest.take() == bytes(10_000)
        assert trio.current_time() == before
        most = max(most, bench.budget.held_bytes)
        await trio.sleep(0.5)
    assert most <= 30 * MIB
    assert trio.current_time() < 10 * LIMITS.unfinished_request_s
    assert not honest.closed
    assert "10.0.0.1" not in caplog.text


MAX_CLAIM = (100 << 20).to_bytes(4, "big")


async def test_a_request_that_never_pauses_is_held_back_too(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """The budget is asked also while bytes keep coming."""
    bench = Bench(echo, budget=MemoryBudget(10 * MIB))
    peers = [Peer() for _ in range(10)]
    for peer in peers:
        nursery.start_soon(bench.connection(peer).run)
        peer.send(MAX_CLAIM + bytes(20 * MIB))
    await settle()
    assert bench.budget.held_bytes <= 200 * MIB  # the one that goes on, at the size it claims, and what the others had
    assert sum(len(peer.to_broker) for peer in peers) >= 150 * MIB


async def test_an_idle_connection_keeps_nobody_waiting(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """A buffer kept for the next request is given back when memory is short, and does not count as the oldest debt."""
    bench = Bench(echo, budget=MemoryBudget(4 * MIB))
    nursery.start_soon(bench.run_relieving)
    idle = Peer(window_bytes=100 * MIB)
    nursery.start_soon(bench.connection(idle).run)
    for piece in ((5 * MIB).to_bytes(4, "big"), bytes(5 * MIB)):
        idle.send(piece)
        await settle()
    assert len(idle.take()) == 5 * MIB
    other = Peer(window_bytes=100 * MIB)
    nursery.start_soon(bench.connection(other).run)
    for piece in ((3 * MIB).to_bytes(4, "big"), bytes(MIB), bytes(MIB), bytes(MIB)):
        other.send(piece)
        await settle()
    await trio.sleep(1)
    assert len(other.take()) == 3 * MIB


async def test_a_flush_round_survives_a_dead_peer(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """The flusher sends for everybody: whose peer is gone ends alone, at once, with nothing held."""
    bench = Bench(lambda frame: (frame, 1))
    dead, alive = Peer(), Peer()
    for peer in (dead, alive):
        nursery.start_soon(bench.connection(peer).run)
        peer.send_frame(b"x")
    await settle()
    dead.broken = True
    bench.flusher.completed = 1
    for callback in bench.flusher._callbacks.pop(1):
        callback()
    await dead.wait_closed()
    assert alive.take() == b"x"
    assert bench.budget.held_bytes == 0


async def test_an_error_of_ours_ends_one_connection(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged as an error, and the others are served."""

    def handle(frame: bytes) -> bytes:
        if frame == b"bad":
            raise KeyError("a bug")
        return frame

    bench = Bench(handle)
    unlucky, other = Peer(), Peer()
    for peer, content in ((unlucky, b"bad"), (other, b"good")):
        nursery.start_soon(bench.connection(peer).run)
        peer.send_frame(content)
    await unlucky.wait_closed()
    await settle()
    assert other.take() == b"good"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_an_orderly_end_answers_what_was_started(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """What waits for the disk, or for others, is answered, and what is queued behind it; nothing more is read."""
    others = trio.Event()

    async def poll() -> bytes:
        await others.wait()
        return b"poll"

    bench = Bench(lambda frame: poll() if frame == b"poll" else (frame, 1))
    peer = Peer()
    connection = bench.connection(peer)
    nursery.start_soon(connection.run)
    for content in (b"a", b"b", b"poll", b"c"):
        peer.send_frame(content)
    await settle()
    connection.stop_reading()
    peer.send_frame(b"d")
    await settle()
    assert not peer.closed
    bench.flusher.completed = 1
    for callback in bench.flusher._callbacks.pop(1):
        callback()
    await settle()
    assert peer.take() == b"ab"
    others.set()
    await peer.wait_closed()
    assert peer.take() == b"pollc"


async def test_a_peer_that_hangs_up_in_the_middle_leaves_nothing(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Its unfinished request, its unsent answers and its long poll are forgotten."""

    async def poll() -> bytes:
        await trio.sleep_forever()
        return b""

    bench = Bench(lambda frame: poll() if frame == b"poll" else bytes(MIB))
    peer = Peer(window_bytes=10)
    nursery.start_soon(bench.connection(peer).run)
    peer.send_frame(b"x")
    peer.send_frame(b"poll")
    peer.send(MAX_CLAIM + bytes(MIB))
    await settle()
    assert bench.budget.held_bytes > 0
    peer.leave()
    peer.broken = True
    peer._change()
    await peer.wait_closed()
    assert bench.budget.held_bytes == 0


@pytest.fixture
def _uncollected() -> Iterator[None]:
    """What is in a cycle stays."""
    gc.disable()
    yield
    gc.enable()


class Traced(bytearray):
    """Memory that can be watched as it goes."""

    made: ClassVar[list[weakref.ref[object]]] = []

    def __init__(self, source: int | memoryview) -> None:
        super().__init__(source)
        self.made.append(weakref.ref(self))


@pytest.mark.usefixtures("_uncollected")
@pytest.mark.parametrize("end", ["leaves", "breaks", "is reset", "is a fault"])
async def test_a_closed_connection_keeps_no_memory_until_garbage_is_collected(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Its half request and its unsent answers go when the budget forgets them, however it has ended."""
    monkeypatch.setattr(inbox, "bytearray", Traced, raising=False)
    Traced.made.clear()

    def handle(frame: bytes) -> bytearray:
        if len(frame) > 1:
            raise ProtocolError("no request")
        return Traced(MIB // 4)

    bench = Bench(handle)
    peer = Peer(window_bytes=10)
    nursery.start_soon(bench.connection(peer).run)
    for _ in range(3):
        peer.send_frame(b"x")
    await settle()
    peer.send((2 * MIB).to_bytes(4, "big") + bytes(MIB))
    await settle()
    assert sum(len(made()) for made in Traced.made if made() is not None) >= 3 * MIB // 4 + MIB
    if end == "is a fault":
        peer.send(bytes(MIB))
    else:
        peer.left, peer.reset = end == "leaves", end == "is reset"
        peer.broken = True
    peer.take()
    await peer.wait_closed()
    await settle()
    assert [made() for made in Traced.made] == [None] * len(Traced.made)


@pytest.mark.skipif(not HAS_EPOLL, reason="no epoll here")
@pytest.mark.usefixtures("_uncollected")
async def test_a_reset_keeps_no_memory_either(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error comes out of the poller, and its traceback from where half a request was to be received into."""
    monkeypatch.setattr(inbox, "bytearray", Traced, raising=False)
    Traced.made.clear()
    poller = EpollPoller(rest=lambda: None)
    nursery.start_soon(poller.run)
    bench = Bench(lambda frame: frame)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    connection = bench.connection(SocketTransport(ours, "here"), poller)
    ended = trio.Event()

    async def run() -> None:
        await connection.run()
        ended.set()

    nursery.start_soon(run)
    theirs.send(b"\0\0\0\1x" + MIB.to_bytes(4, "big") + bytes(50_000))
    with trio.fail_after(30):
        while bench.budget.held_bytes < 50_000:
            await trio.lowlevel.checkpoint()
        theirs.close()  # with an answer unread: that is a reset
        await ended.wait()
    assert len(Traced.made) >= 1
    assert [made() for made in Traced.made] == [None] * len(Traced.made)
    nursery.cancel_scope.cancel()


async def test_requests_that_wait_behind_another_are_counted(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Decoded, they are much larger than they came: few of them are read before the first is answered, then the others."""
    held = Held()
    bench = Bench(held, limits=attrs.evolve(LIMITS, max_in_flight=500), budget=MemoryBudget(10 * MIB))
    nursery.start_soon(bench.run_relieving)
    peers = [Peer(), Peer()]
    for peer in peers:
        nursery.start_soon(bench.connection(peer).run)
        peer.send_frame(b"a poll")
    await settle()
    assert bench.budget.held_bytes == 0
    for _ in range(400):
        peers[0].send_frame(bytes(MIB // 10))
    await settle()
    assert held.started <= 4
    assert bench.budget.held_bytes > MIB
    held.go_on.set()
    await settle()
    assert [peer.take() for peer in peers] == [b"." * 401, b"."]
    assert bench.budget.held_bytes <= MIB // 2


async def test_whoever_queues_requests_gives_way_when_memory_is_short(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Those who fill the memory with requests that wait are cut; who waits for one, however large, is not."""

    async def poll() -> bytes:
        await trio.sleep_forever()
        return b""

    bench = Bench(
        lambda frame: frame if frame == b"honest" else poll(),
        limits=attrs.evolve(LIMITS, max_in_flight=500),
        budget=MemoryBudget(10 * MIB),
    )
    nursery.start_soon(bench.run_relieving)
    waiting, *attackers = [Peer(host=f"10.0.1.{number}") for number in range(20)]
    for peer in (waiting, *attackers):
        nursery.start_soon(bench.connection(peer).run)
        peer.send_frame(bytes(MIB))
    for attacker in attackers:
        for _ in range(400):
            attacker.send_frame(bytes(MIB // 20))
    honest = Peer(window_bytes=MIB)
    nursery.start_soon(bench.connection(honest).run)
    await settle()
    assert bench.budget.exceeded
    while bench.budget.exceeded:
        honest.send_frame(b"honest")
        await settle()
        assert honest.take() == b"honest"
        await trio.sleep(0.1)
    assert trio.current_time() < 60
    assert sum(attacker.closed for attacker in attackers) > 0
    assert not waiting.closed


async def test_records_that_others_wait_for_are_counted(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """A batch that takes long to check is kept meanwhile: it counts, but its producer is not at fault, however long it is."""
    go_on = trio.Event()

    async def check() -> bytes:
        await go_on.wait()
        return b"."

    bench = Bench(lambda frame: check(), budget=MemoryBudget(10 * MIB))
    nursery.start_soon(bench.run_relieving)
    peers = [Peer() for _ in range(10)]
    for peer in peers:
        nursery.start_soon(bench.connection(peer).run)
        peer.send_frame(b"in order" + bytes(MIB // 10))
    await settle()
    assert bench.budget.held_bytes > 10 * MIB
    await trio.sleep(10 * LIMITS.pressed_s)
    go_on.set()
    await settle()
    assert [peer.take() for peer in peers] == [b"."] * 10
    assert not bench.budget.exceeded


async def test_whom_we_hold_back_is_not_cut_for_that(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Half a request that we do not take the rest of, behind an answer that waits for the disk, is nobody's fault."""
    bench = Bench(lambda frame: (frame, 1), budget=MemoryBudget(10 * MIB))
    nursery.start_soon(bench.run_relieving)
    held = Peer(host="10.0.1.1")
    for peer in (Peer(window_bytes=10), held):
        nursery.start_soon(bench.connection(peer).run)
        peer.send_frame(bytes(9 * MIB) if peer is not held else bytes(MIB // 2))
        await settle()
    held.send((4 * MIB).to_bytes(4, "big") + bytes(2 * MIB))
    await settle()
    assert bench.budget.exceeded
    await trio.sleep(LIMITS.pressed_s / 2)
    held.send(bytes(2 * MIB))
    await trio.sleep(10 * LIMITS.pressed_s)
    assert not held.closed


async def test_who_takes_a_huge_answer_slowly_stops_nobody(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond every limit an honest client is answered at once, and the other has to take what it holds in some seconds."""
    bench = Bench(lambda frame: bytes(40 * MIB) if frame == b"x" else frame, budget=MemoryBudget(10 * MIB))
    nursery.start_soon(bench.run_relieving)
    attacker, honest = Peer(window_bytes=MIB // 10, host="10.0.1.1"), Peer()
    other = Peer(window_bytes=10, host="10.0.1.2")
    for peer in (other, attacker, honest):
        nursery.start_soon(bench.connection(peer).run)
    other.send_frame(bytes(MIB // 2))
    await settle()
    attacker.send_frame(b"x")
    for _ in range(100):
        honest.send_frame(b"honest")
        before = trio.current_time()
        await settle()
        assert honest.take() == b"honest"
        assert trio.current_time() == before
        attacker.take()
        await trio.sleep(0.1)
    assert attacker.closed
    assert not bench.budget.exceeded
    assert "10.0.0.1" not in caplog.text


async def test_a_peer_that_takes_a_huge_answer_quickly_gets_it(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Also while memory is short by that."""
    bench = Bench(lambda frame: bytes(40 * MIB), budget=MemoryBudget(10 * MIB))
    nursery.start_soon(bench.run_relieving)
    peer = Peer(window_bytes=MIB)
    nursery.start_soon(bench.connection(peer).run)
    peer.send_frame(b"x")
    received = 0
    while received < 40 * MIB:
        await trio.sleep(0.1)
        received += len(peer.take())
        assert not peer.closed
    assert received == 40 * MIB


async def test_large_answers_are_not_kept_beyond_every_limit(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """A hundred peers ask for 4 MiB each in one breath: thrice the limit and one answer, and small ones are answered."""
    most = 0

    def handle(frame: bytes) -> bytes:
        nonlocal most
        most = max(most, bench.budget.held_bytes)
        return bytes(4 * MIB) if frame == b"x" else frame

    bench = Bench(handle, budget=MemoryBudget(10 * MIB))
    attackers = [Peer(window_bytes=10, host=f"10.0.1.{number}") for number in range(100)]
    honest = Peer()
    for peer in (*attackers, honest):
        nursery.start_soon(bench.connection(peer).run)
    await settle()
    for attacker in attackers:
        attacker.send_frame(b"x")
    await settle()
    honest.send_frame(bytes(50_000))
    await settle()
    assert len(honest.take()) == 50_000
    assert 30 * MIB <= most <= 34 * MIB
    assert not honest.closed
    assert [attacker.closed for attacker in attackers].count(False) <= 8


async def places_among_many(
    clock: trio.testing.MockClock, nursery: trio.Nursery, *, peers: int, requests: int, heavy_s: float, light_s: float
) -> list[int]:
    """When five requests of one, each sent with the answer to the last, are taken beside `requests` of each of many peers.

    Counted in requests of anybody that were taken before.
    """
    handled: list[bytes] = []

    def handle(frame: bytes) -> bytes:
        handled.append(frame)
        clock.jump(light_s if frame == b"light" else heavy_s)
        if frame == b"light" and handled.count(frame) < 5:
            light.send_frame(frame)
        return frame

    bench = Bench(handle)
    heavy, light = [Peer() for _ in range(peers)], Peer()
    for peer in (*heavy, light):
        nursery.start_soon(bench.connection(peer).run)
        for _ in range(requests if peer in heavy else 1):
            peer.send_frame(b"heavy" if peer in heavy else b"light")
    await settle()
    assert handled.count(b"heavy") == peers * requests
    assert bench.turns.waiting == 0
    places = [place for place, frame in enumerate(handled) if frame == b"light"]
    assert len(places) == 5
    return places


async def test_many_that_send_all_the_time_leave_others_their_turn(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """A turn is the shorter the more want one: three hundred peers delay another by one request each at a time, not by six."""
    places = await places_among_many(autojump_clock, nursery, peers=300, requests=20, heavy_s=0.001, light_s=0.001)
    assert max(later - earlier for earlier, later in pairwise([0, *places])) <= 1000


async def test_long_requests_are_taken_one_at_a_time(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Of those who send nothing else: another waits for one of them at a time, however many there are."""
    places = await places_among_many(autojump_clock, nursery, peers=30, requests=10, heavy_s=0.1, light_s=0.0001)
    assert max(later - earlier for earlier, later in pairwise(places[1:])) <= 6  # the first finds nobody known


async def test_a_peer_alone_has_a_long_turn(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """Turns cost time too, so they are short only where there are others."""
    turns = Turns()
    alone = turns.length_s
    turns.count(3)
    assert turns.length_s == pytest.approx(alone / 4)
    turns.count(1000)
    assert turns.length_s == LEAST_TURN_S
    turns.count(-1003)
    assert turns.length_s == alone
