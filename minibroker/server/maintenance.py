"""What a broker does beside the traffic: checkpoints, late flushes, retention, compaction, removals, free space.

Each job fails alone and is tried again at its next turn: a disk that is full today has space tomorrow. Only what makes
the page cache untrustworthy (SyncFailed) and bugs of ours (AssertionError) end the broker.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import attrs
import trio

from minibroker.storage.compaction import Compaction, plan_compaction, roll_if_overdue
from minibroker.storage.errors import StorageError, SyncFailed
from minibroker.storage.removal import remove_directory
from minibroker.storage.scrub import forget_checks, next_unchecked
from minibroker.topics.opening import Data
from minibroker.topics.partition import Partition

logger = logging.getLogger(__name__)

SETTLED_PARTITIONS = 50
"""How many partitions a job looks at before it lets the traffic in."""
SETTLED_PRODUCERS = 2_000
"""The same of producers that are written down: some milliseconds."""
SETTLED_SEGMENTS = 500
"""And of segments."""
FASTEST_BYTES_PER_S = 1 << 30
"""As fast as producers may fill a disk: the free space is looked at again before the reserve can be used up."""
CHECKPOINT_REST = 20.0
"""So many times as long as a checkpoint took the next one waits: thousands of busy partitions cost 5 % of the time."""
LONGEST_REST_S = 5.0
"""But no longer than this: what no checkpoint knows has to be read after a crash."""
LAST_PART = 8
"""This part of the reserve is not for groups either, but for checkpoints, and for the next start."""
SHORTEST_SPACE_S = 0.05
LONGEST_SPACE_S = 5.0
REMOVAL_INTERVAL_MS = 1_000

PRODUCERS_PART = 100
"""Of all producers that may be remembered, one partition may have this part."""
SCRUB_INTERVAL_MS = 60_000
SCRUB_PIECE_BYTES = 1 << 20
SCRUB_AGAIN_S = 7 * 86_400
"""What was good a week ago is checked again, by the scrub or by whoever reads it first."""


@attrs.define(eq=False)
class Maintenance:
    """The jobs of one broker."""

    data: Data
    _producers: int = 0
    """How many idempotent producers the partitions remember that were looked at in this round."""
    _producers_each: int = attrs.field()
    """How many one of them may."""
    _nearly_full: bool = False
    """Whether it was said that groups may be held back too."""
    _not_retained: set[Partition] = attrs.field(factory=set)
    """Those where retention has failed the last time."""
    _scrubbed_at: float = attrs.field(factory=trio.current_time)
    """When everything was last to be checked."""
    _saving: trio.Lock = attrs.field(factory=trio.Lock)
    """Of the checkpoint file, which a compaction saves too."""

    @_producers_each.default
    def _most_producers_each(self) -> int:
        return self.data.settings.minibroker_producer_ids_max // PRODUCERS_PART

    async def run(self) -> None:
        """Do every job in its own rhythm, for ever."""
        settings = self.data.settings
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                self._repeat,
                settings.log_flush_offset_checkpoint_interval_ms,
                self.save_checkpoint,
                "checkpoint",
                CHECKPOINT_REST,
            )
            nursery.start_soon(self._repeat, settings.log_retention_check_interval_ms, self.retain, "retention")
            nursery.start_soon(self._repeat, REMOVAL_INTERVAL_MS, self.remove_deleted, "removal", CHECKPOINT_REST)
            if settings.minibroker_disk_reserve_bytes:
                nursery.start_soon(self.run_watching_space)
            if settings.minibroker_scrub_bytes_per_second:
                nursery.start_soon(self._repeat, SCRUB_INTERVAL_MS, self.scrub, "scrub")
            if settings.log_cleaner_enable:
                nursery.start_soon(self._repeat, max(1, settings.log_cleaner_backoff_ms), self.compact, "compaction")

    async def _repeat(
        self, interval_ms: float, job: Callable[[], Awaitable[None]], name: str, rest_factor: float = 0.0
    ) -> None:
        pause_s = interval_ms / 1000
        while True:
            await trio.sleep(pause_s)
            began = trio.current_time()
            try:
                await job()
            except SyncFailed:
                raise
            except StorageError as error:
                logger.error("%s failed and is tried again later: %s", name, error)
            rest_s = min(rest_factor * (trio.current_time() - began), LONGEST_REST_S)
            pause_s = max(interval_ms / 1000, rest_s)

    async def run_watching_space(self) -> None:
        """Look at the free space for ever; the less there is above the reserve, the more often."""
        while True:
            try:
                pause_s = self.check_space()
            except StorageError as error:
                logger.error("the free space cannot be told: %s", error)
                pause_s = LONGEST_SPACE_S
            await trio.sleep(pause_s)

    def check_space(self) -> float:
        """Hold producers back, or let them go on; return in how many seconds to look again. Raises StorageError."""
        data = self.data
        reserve = data.settings.minibroker_disk_reserve_bytes
        free = data.fs.free_bytes(data.directory.path)
        catalog, last = data.catalog, reserve // LAST_PART
        catalog.room_bytes = free - last
        if free < 2 * last and not self._nearly_full:
            self._nearly_full = True
            logger.warning("groups are told to try again later when less than %d bytes are free on the disk", last)
        if catalog.short_of_space:
            if free >= reserve + reserve // 4:  # not back and forth at every segment that is deleted
                catalog.short_of_space = self._nearly_full = False
                logger.info("producing goes on: %d bytes are free again", free)
        elif free < reserve:
            catalog.short_of_space = True
            logger.warning(
                "producers are told to try again later: of the disk %d bytes are free, %d in reserve", free, reserve
            )
        return min(LONGEST_SPACE_S, max(SHORTEST_SPACE_S, (free - reserve) / FASTEST_BYTES_PER_S))

    async def save_checkpoint(self) -> None:
        """Flush what topics with Kafka's promise hold back, and write down what is durable. Raises StorageError."""
        file = self.data.directory.checkpoint
        async with self._saving:
            self._producers = 0
            await self._for_each(self._collect)
            self._limit_producers()
            file.note_date(self.data.clock.reached_ms())
            pending = file.begin(())
            if pending is None:
                return
            try:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(file.write, pending)
            except StorageError:
                file.abandon(pending)
                raise
            file.complete(pending)

    def _limit_producers(self) -> None:
        """Decide how many producers each partition may remember from now on, by how many there are in all."""
        most = self.data.settings.minibroker_producer_ids_max
        if self._producers > most:
            self._producers_each = max(self._producers_each // 2, 1)
        elif self._producers < most // 2:
            self._producers_each = min(self._producers_each * 2, most // PRODUCERS_PART)

    def _collect(self, partition: Partition) -> None:
        producers = partition.log.producer_state
        producers.forget_oldest(self._producers_each)
        self._producers += len(producers.entries)
        partition.flush_overdue(self.data.settings.log_flush_offset_checkpoint_interval_ms)
        self.data.directory.checkpoint.collect((partition.log,))

    async def retain(self) -> None:
        """Drop what retention no longer keeps, and forget idle producers."""
        await self._for_each(partial(self._retain, self.data.clock.retention_now_ms()))

    def _retain(self, now_ms: int, partition: Partition) -> None:
        log = partition.log
        log.producer_state.expire(now_ms, log.settings.producer_id_expiration_ms)
        try:
            deleted = log.delete_old_segments(now_ms)
        except SyncFailed:
            raise
        except StorageError as error:
            if partition not in self._not_retained:
                self._not_retained.add(partition)
                logger.error("retention of %s failed and is tried again at every turn: %s", partition, error)
            return
        self._not_retained.discard(partition)
        for line in deleted:
            logger.info(line)
        if deleted:
            self.data.flusher.mark_dirty(partition)  # the files go once the segment in their place is durable

    async def _for_each(self, work: Callable[[Partition], None]) -> None:
        """Do some work for every partition that is there now, with a turn for the traffic after every so much of it."""
        done = 0.0
        for partition in tuple(self.data.catalog.partitions()):
            if not partition.deleted:
                work(partition)
                done += len(partition.log.producer_state.entries) / SETTLED_PRODUCERS
                done += len(partition.log.segments) / SETTLED_SEGMENTS
            done += 1 / SETTLED_PARTITIONS
            if done >= 1:
                done = 0.0
                await trio.lowlevel.checkpoint()

    async def remove_deleted(self) -> None:
        """Remove the files of deleted topics. Raises StorageError."""
        removals, fs = self.data.removals, self.data.fs
        while batch := tuple(removals):
            await trio.to_thread.run_sync(fs.sync_directory, self.data.directory.path)
            for hidden in batch:
                await trio.to_thread.run_sync(remove_directory, fs, hidden)
                removals.remove(hidden)

    async def scrub(self) -> None:
        """Check what nobody has read of late, at a bounded rate: damage is found before a reader needs it."""
        if trio.current_time() - self._scrubbed_at >= SCRUB_AGAIN_S:
            self._scrubbed_at = trio.current_time()
            await self._for_each(lambda partition: forget_checks(partition.log))
        pause_s = SCRUB_PIECE_BYTES / self.data.settings.minibroker_scrub_bytes_per_second
        for partition in tuple(self.data.catalog.partitions()):
            try:
                while not partition.deleted and (piece := next_unchecked(partition.log, SCRUB_PIECE_BYTES)) is not None:
                    await partition.check(piece)
                    await trio.sleep(pause_s)
            except StorageError as error:
                logger.warning("the scrub of %s ended early: %s", partition, error)

    async def compact(self) -> None:
        """Compact every log that is worth it, one after the other."""
        for partition in tuple(self.data.catalog.partitions()):
            if partition.settings.is_compacted and not partition.deleted:
                try:
                    await self._compact(partition)
                except SyncFailed:
                    raise
                except StorageError as error:
                    logger.warning("compaction of %s ended early: %s", partition, error)

    async def _compact(self, partition: Partition) -> None:
        log, settings = partition.log, self.data.settings
        now_ms = self.data.clock.now_ms()
        if roll_if_overdue(log, now_ms):
            self.data.flusher.mark_dirty(partition)
        plan = plan_compaction(log, now_ms, self.data.clock.retention_now_ms())
        if plan is None:
            return
        compaction = Compaction(log, plan, budget_bytes=settings.log_cleaner_dedupe_buffer_size)
        failure: StorageError | None = None
        try:
            async with _stopping_with_the_broker(compaction):
                for work in compaction.steps():
                    with trio.CancelScope(shield=True):  # a step that is half done in a thread cannot be left
                        await trio.to_thread.run_sync(work)
        except SyncFailed:
            raise
        except StorageError as error:
            failure = error
        # Also where it ended early: a segment that the checkpoint names may be missing after one compaction, not after two.
        await self.save_checkpoint()
        if failure is not None:
            raise failure
        if compaction.report is not None:
            report = compaction.report
            logger.info("compacted %s from %d to %d bytes", partition, report.bytes_before, report.bytes_after)


@contextlib.asynccontextmanager
async def _stopping_with_the_broker(compaction: Compaction) -> AsyncIterator[None]:
    """End a compaction soon when its task is cancelled: a step may take many seconds, a shutdown must not."""
    failure: StorageError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_with_its_task, compaction)
        try:
            yield
        except StorageError as error:
            failure = error  # raised outside, for a nursery would wrap it
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _cancel_with_its_task(compaction: Compaction) -> None:
    try:
        await trio.sleep_forever()
    finally:
        compaction.cancel()
