"""The thread that brings flush rounds to the disk.

How, depends on how much is dirty. Measured on a virtual disk: one file by `fdatasync` 0.2 ms; many one after the other
1.5 ms each, by sixteen threads 0.05 ms each; everything by one `syncfs` 17 ms per thousand files. All that a `syncfs`
costs beyond our files is what others have written to the same file system, so it is for many files only.

Handing a round over to the thread and back takes as long as a quick sync of one file, so there is `try_sync_now` too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue

import attrs

from minibroker.storage.filesystem import FileSystem
from minibroker.storage.log import FlushPoint
from minibroker.topics.wakeup import ThreadSignal

SYNC_THREADS = 16
SYNC_ALL_FILES = 300
"""From this many on, directories included, one `syncfs` is cheaper."""
QUICK_SYNC_S = 0.001
"""A disk whose syncs of one file lately took less than this may hold up everybody for one."""
SMOOTHING = 0.1
"""The weight of the last sync in what syncs lately took."""


def sync_points(
    fs: FileSystem, points: Sequence[FlushPoint], run_all: Callable[[list[Callable[[], None]]], None]
) -> None:
    """Sync the files and directories of `points`; blocking. Raises SyncFailed.

    Files come before directories: a name must not be durable before what it names.
    """
    files = {file: None for point in points for file in point.files}
    directories = {directory: None for point in points for directory in point.directories}
    if len(files) + len(directories) >= SYNC_ALL_FILES and fs.can_sync_all:
        fs.sync_all(next(iter(directories), None) or next(iter(files)).path.rpartition("/")[0])
        return
    run_all([file.sync_data for file in files])
    run_all([partial(fs.sync_directory, directory) for directory in directories])


@attrs.define(eq=False)
class ThreadSyncer:
    """A Syncer with a thread of its own: a `to_thread` per round would take twice as long as waking this one."""

    _fs: FileSystem
    _jobs: SimpleQueue[Sequence[FlushPoint] | None] = attrs.field(factory=SimpleQueue)
    _done: ThreadSignal = attrs.field(factory=ThreadSignal)
    _failure: BaseException | None = None
    _usual_s: float = QUICK_SYNC_S
    """How long a sync of one file took lately: the thread finds out first."""
    _pool: ThreadPoolExecutor | None = None
    _thread: threading.Thread | None = None

    def try_sync_now(self, points: Sequence[FlushPoint]) -> bool:
        """Sync one file in this thread, if such syncs took little time lately. Raises SyncFailed."""
        if self._usual_s < QUICK_SYNC_S and _is_one_file(points):
            self._sync_timed(points)
            return True
        return False

    async def sync(self, points: Sequence[FlushPoint]) -> None:
        """Return once `points` are durable. Raises SyncFailed. One call at a time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="minibroker-sync", daemon=True)
            self._thread.start()
        self._jobs.put(points)
        await self._done.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
        if self._pool is not None:
            self._pool.shutdown()
        self._done.close()

    def _run(self) -> None:
        while (points := self._jobs.get()) is not None:
            try:
                self._sync_timed(points)
            except BaseException as error:  # whatever it is, the waiting task has to hear of it
                self._failure = error
            self._done.set()

    def _sync_timed(self, points: Sequence[FlushPoint]) -> None:
        began = time.perf_counter()
        sync_points(self._fs, points, self._run_all)
        if _is_one_file(points):
            self._usual_s += SMOOTHING * (time.perf_counter() - began - self._usual_s)

    def _run_all(self, calls: list[Callable[[], None]]) -> None:
        if len(calls) <= 1:
            _run_in_turn(calls)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(SYNC_THREADS, thread_name_prefix="minibroker-sync")
        # A job for each thread, not for each file: handing one over costs as much as many a sync.
        shares = [calls[first::SYNC_THREADS] for first in range(min(SYNC_THREADS, len(calls)))]
        for future in [self._pool.submit(_run_in_turn, share) for share in shares]:
            future.result()


@attrs.define(eq=False)
class InlineSyncer:
    """A Syncer without a thread: for simulated disks, and where nobody waits."""

    _fs: FileSystem

    def try_sync_now(self, points: Sequence[FlushPoint]) -> bool:
        """Sync at once. Raises SyncFailed."""
        sync_points(self._fs, points, _run_in_turn)
        return True

    async def sync(self, points: Sequence[FlushPoint]) -> None:
        """Sync at once. Raises SyncFailed."""
        sync_points(self._fs, points, _run_in_turn)

    def close(self) -> None:
        """Nothing has to end."""


def _is_one_file(points: Sequence[FlushPoint]) -> bool:
    return len(points) == 1 and len(points[0].files) == 1 and not points[0].directories


def _run_in_turn(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()
