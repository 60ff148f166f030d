"""Where a flush round is synced: in the thread, or at once where that takes no longer than handing it over."""

from __future__ import annotations

import threading
from typing import Any, cast

import attrs
import pytest

from minibroker.storage.errors import SyncFailed
from minibroker.storage.log import FlushPoint
from minibroker.storage.log_checkpoint import ORIGIN
from minibroker.topics import syncer as module
from minibroker.topics.syncer import QUICK_SYNC_S, ThreadSyncer


@attrs.define(eq=False)
class Clock:
    """What `time.perf_counter` says."""

    now: float = 0.0

    def perf_counter(self) -> float:
        return self.now


@attrs.define(eq=False)
class TimedFile:
    """A file whose syncs take `takes_s` on the clock."""

    clock: Clock
    takes_s: float = 0.0
    threads: list[threading.Thread] = attrs.field(factory=list)
    failure: Exception | None = None

    def sync_data(self) -> None:
        self.threads.append(threading.current_thread())
        self.clock.now += self.takes_s
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def point(*files: TimedFile, directories: tuple[str, ...] = ()) -> FlushPoint:
    return FlushPoint(files=cast(Any, files), directories=directories, end=ORIGIN)


async def test_the_thread_goes_first_and_finds_out_how_quick_the_disk_is(clock: Clock) -> None:
    """A disk nobody has measured may be slow; one that is quick is synced in the caller's thread from then on."""
    file, syncer = TimedFile(clock), ThreadSyncer(cast(Any, None))
    assert not syncer.try_sync_now([point(file)])
    assert file.threads == []
    await syncer.sync([point(file)])
    assert file.threads[0] is not threading.current_thread()
    assert syncer.try_sync_now([point(file)])
    assert file.threads[1] is threading.current_thread()
    syncer.close()


async def test_a_disk_that_becomes_slow_goes_to_the_thread(clock: Clock) -> None:
    """And comes back once it is quick again, which the thread notices."""
    file, syncer = TimedFile(clock), ThreadSyncer(cast(Any, None))
    await syncer.sync([point(file)])
    file.takes_s = 20 * QUICK_SYNC_S
    assert syncer.try_sync_now([point(file)])
    assert not syncer.try_sync_now([point(file)])
    file.takes_s = 0.0
    for _ in range(50):
        await syncer.sync([point(file)])
    assert syncer.try_sync_now([point(file)])
    syncer.close()


async def test_only_one_file_is_synced_at_once(clock: Clock) -> None:
    """Several go to the thread, and so does a directory, however quick one file is."""
    file, other, syncer = TimedFile(clock), TimedFile(clock), ThreadSyncer(cast(Any, None))
    await syncer.sync([point(file)])
    assert not syncer.try_sync_now([point(file), point(other)])
    assert not syncer.try_sync_now([point(file, other)])
    assert not syncer.try_sync_now([point(file, directories=("d",))])
    syncer.close()


async def test_a_failure_at_once_is_raised_at_once(clock: Clock) -> None:
    """As in the thread."""
    file, syncer = TimedFile(clock), ThreadSyncer(cast(Any, None))
    await syncer.sync([point(file)])
    file.failure = SyncFailed("disk")
    with pytest.raises(SyncFailed):
        syncer.try_sync_now([point(file)])
    with pytest.raises(SyncFailed):
        await syncer.sync([point(file)])
    syncer.close()
