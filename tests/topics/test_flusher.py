"""Group commit: who waits for which round, and what a failed sync means."""

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from minibroker.storage.errors import SyncFailed
from minibroker.topics.flusher import Flusher


@attrs.define(eq=False)
class FakeLog:
    """A log whose flush points are numbers."""

    end: int = 0
    durable: int = 0

    def begin_flush(self) -> Any:
        return self.end if self.end > self.durable else None

    def complete_flush(self, point: Any) -> None:
        self.durable = point


@attrs.define(eq=False)
class HeldSyncer:
    """A disk that syncs when it is told to."""

    rounds: list[list[Any]] = attrs.field(factory=list)
    release: trio.Event = attrs.field(factory=trio.Event)
    failure: Exception | None = None
    quick: bool = False
    synced_now: int = 0

    def try_sync_now(self, points: Sequence[Any]) -> bool:
        self.synced_now += self.quick
        return self.quick

    async def sync(self, points: Sequence[Any]) -> None:
        self.rounds.append(list(points))
        await self.release.wait()
        self.release = trio.Event()
        if self.failure is not None:
            raise self.failure


async def test_appends_during_a_round_share_the_next_one(nursery: trio.Nursery) -> None:
    """What arrives while the disk is busy waits for one further sync together, and not less."""
    syncer, log, other = HeldSyncer(), FakeLog(), FakeLog()
    flusher = Flusher(syncer)
    nursery.start_soon(flusher.run)
    log.end = 1
    first = flusher.mark_dirty(log)
    await trio.testing.wait_all_tasks_blocked()
    log.end = 2
    second = flusher.mark_dirty(log)
    other.end = 7
    third = flusher.mark_dirty(other)
    assert first < second == third
    syncer.release.set()
    await flusher.wait_durable(first)
    assert log.durable == 1
    assert flusher.completed == first
    await trio.testing.wait_all_tasks_blocked()
    syncer.release.set()
    await flusher.wait_durable(third)
    assert (log.durable, other.durable) == (2, 7)
    assert syncer.rounds == [[1], [2, 7]]


async def test_callbacks_run_when_their_own_round_is_durable(nursery: trio.Nursery) -> None:
    """A callback for the running round does not wait for the next one, and none runs before its log is durable."""
    syncer, log = HeldSyncer(), FakeLog()
    flusher = Flusher(syncer)
    seen: list[tuple[str, int]] = []
    nursery.start_soon(flusher.run)
    log.end = 1
    ticket = flusher.mark_dirty(log)
    await trio.testing.wait_all_tasks_blocked()
    flusher.call_when_durable(ticket, lambda: seen.append(("late", log.durable)))
    log.end = 2
    following = flusher.mark_dirty(log)
    flusher.call_when_durable(following, lambda: seen.append(("next", log.durable)))
    syncer.release.set()
    await flusher.wait_durable(ticket)
    assert seen == [("late", 1)]
    await trio.testing.wait_all_tasks_blocked()
    syncer.release.set()
    await flusher.wait_durable(following)
    assert seen == [("late", 1), ("next", 2)]


async def test_a_failed_sync_ends_the_flusher_and_acknowledges_nothing() -> None:
    """No callback, no durable end, no second try: the failure comes out of `run`."""
    syncer, log = HeldSyncer(failure=SyncFailed("disk")), FakeLog(end=1)
    flusher = Flusher(syncer)
    seen: list[int] = []
    flusher.call_when_durable(flusher.mark_dirty(log), lambda: seen.append(1))
    syncer.release.set()
    with pytest.raises(SyncFailed):
        await flusher.run()
    assert (seen, log.durable, flusher.completed, len(syncer.rounds)) == ([], 0, 0, 1)


async def test_a_cancelled_flusher_still_learns_what_its_sync_made_durable() -> None:
    """Cancellation waits for the running sync, so that its result is neither lost nor claimed."""
    syncer, log = HeldSyncer(), FakeLog(end=3)
    flusher = Flusher(syncer)
    flusher.mark_dirty(log)
    scope = trio.CancelScope()

    async def run() -> None:
        with scope:
            await flusher.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert log.durable == 0
        syncer.release.set()
    assert log.durable == 3


@pytest.mark.parametrize("waiting", [0, 1, 2])
async def test_a_quick_disk_is_synced_at_once_for_one_who_waits(waiting: int, nursery: trio.Nursery) -> None:
    """Nobody else's requests are held up for it: with none or several waiting the round goes to the thread."""
    syncer, log = HeldSyncer(quick=True), FakeLog(end=1)
    flusher = Flusher(syncer)
    seen: list[int] = []
    nursery.start_soon(flusher.run)
    await trio.testing.wait_all_tasks_blocked()
    ticket = flusher.mark_dirty(log)
    for _ in range(waiting):
        flusher.call_when_durable(ticket, lambda: seen.append(log.durable))
    flusher.run_round_now()
    assert (syncer.synced_now, seen) == ((1, [1]) if waiting == 1 else (0, []))
    await trio.testing.wait_all_tasks_blocked()
    assert len(syncer.rounds) == (waiting != 1)
    syncer.release.set()
    await flusher.wait_durable(ticket)
    assert seen == [1] * waiting


async def test_a_slow_disk_is_left_to_the_thread(nursery: trio.Nursery) -> None:
    """The round that was about to run at once runs there, once; nothing that is appended meanwhile is taken for durable."""
    syncer, log = HeldSyncer(), FakeLog(end=1)
    flusher = Flusher(syncer)
    seen: list[int] = []
    nursery.start_soon(flusher.run)
    await trio.testing.wait_all_tasks_blocked()
    first = flusher.mark_dirty(log)
    flusher.call_when_durable(first, lambda: seen.append(log.durable))
    flusher.run_round_now()
    log.end = 2
    second = flusher.mark_dirty(log)
    flusher.call_when_durable(second, lambda: seen.append(log.durable))
    syncer.quick = True
    flusher.run_round_now()
    await trio.testing.wait_all_tasks_blocked()
    assert (syncer.rounds, seen) == ([[1]], [])
    syncer.release.set()
    await flusher.wait_durable(first)
    assert seen == [1]
    await trio.testing.wait_all_tasks_blocked()
    assert (syncer.rounds, syncer.synced_now) == ([[1], [2]], 0)
    syncer.release.set()
    await flusher.wait_durable(second)
    assert seen == [1, 2]


async def test_a_failed_sync_at_once_acknowledges_nothing() -> None:
    """Where it happens makes no difference."""

    class Failing(HeldSyncer):
        def try_sync_now(self, points: Sequence[Any]) -> bool:
            raise SyncFailed("disk")

    log, seen = FakeLog(end=1), list[int]()
    flusher = Flusher(Failing())
    flusher.call_when_durable(flusher.mark_dirty(log), lambda: seen.append(1))
    with pytest.raises(SyncFailed):
        flusher.run_round_now()
    assert (seen, log.durable, flusher.completed) == ([], 0, 0)


async def test_who_reads_the_disk_lets_syncs_go_first(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """At once on an idle disk, after the round that runs, after a rest while rounds take long, and soon after the last."""
    syncer, log = HeldSyncer(), FakeLog()
    flusher = Flusher(syncer)
    nursery.start_soon(flusher.run)

    async def run_round(takes_s: float) -> None:
        log.end += 1
        ticket = flusher.mark_dirty(log)
        await trio.sleep(takes_s)
        syncer.release.set()
        await flusher.wait_durable(ticket)

    async def turn_s() -> float:
        began = trio.current_time()
        await flusher.wait_turn()
        return trio.current_time() - began

    assert await turn_s() == 0
    for _ in range(50):
        await run_round(0.001)
    assert await turn_s() == 0
    nursery.start_soon(run_round, 0.001)
    await trio.sleep(0.0005)
    assert await turn_s() == pytest.approx(0.0005)
    for _ in range(50):
        await run_round(0.02)
    assert await turn_s() >= 0.05
    await trio.sleep(0.2)
    assert await turn_s() == 0
