"""A partition: its log, its visible end, and whoever waits for that end to move.

Appends are volatile; the high watermark follows the durable end of the log, so nothing is shown to a consumer that a
power cut could take back. A topic with another `flush.messages` than 1 asks for Kafka's own promise instead: its high
watermark is the log end, nobody waits for the flush, and the disk gets it when it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar
from uuid import UUID

import attrs
import trio

from minibroker.config.settings import BrokerSettings
from minibroker.config.topic_settings import TopicSettings
from minibroker.protocol.errors import KafkaError, KafkaStorageError
from minibroker.records.batch import LEADER_EPOCH, BatchHeader, TimestampType, assign, decode_header
from minibroker.records.builder import BatchBuilder
from minibroker.records.validation import BatchLimits
from minibroker.storage.errors import StorageError
from minibroker.storage.log import FlushPoint, Log
from minibroker.storage.reading import FileSlice
from minibroker.storage.timestamps import Search
from minibroker.topics.clock import Clock
from minibroker.topics.flusher import Flusher
from minibroker.topics.log_policy import batch_limits, log_settings


@attrs.frozen(kw_only=True)
class Appended:
    """What became of a batch. A duplicate has the offsets and the timestamp of its first append."""

    base_offset: int
    last_offset: int
    log_append_time_ms: int
    """-1 where the topic keeps the producer's timestamps."""
    ticket: int
    """The flush round that makes it durable; 0 if it is."""


@attrs.define(eq=False, kw_only=True)
class Partition:
    """See the module. One is named by its topic and index, and told apart from a deleted namesake by the topic's id."""

    topic: str
    topic_id: UUID
    index: int
    log: Log
    settings: TopicSettings
    limits: BatchLimits
    flusher: Flusher
    clock: Clock
    leader_epoch: ClassVar[int] = LEADER_EPOCH
    deleted: bool = False
    _dirty_ticket: int = 0
    """The round that covers the last append that somebody may wait for."""
    _unflushed_records: int = 0
    _unflushed_since: float = 0.0
    _waiters: set[Callable[[], None]] = attrs.field(factory=set)

    def __str__(self) -> str:
        return f"{self.topic}-{self.index}"

    @property
    def log_start_offset(self) -> int:
        """The first offset that can be read."""
        return self.log.log_start_offset

    @property
    def log_end_offset(self) -> int:
        """The offset that the next record gets."""
        return self.log.log_end_offset

    @property
    def high_watermark(self) -> int:
        """The end of what consumers may see."""
        return self.log.durable_end_offset if self.settings.durable_before_visible else self.log.log_end_offset

    @property
    def last_stable_offset(self) -> int:
        """The end of what `read_committed` consumers may see."""
        return self.high_watermark

    def flush_ticket(self) -> int:
        """The round that makes the present log end durable; 0 if it is."""
        return self._dirty_ticket if self._dirty_ticket > self.flusher.completed else 0

    def apply_settings(self, settings: TopicSettings, broker: BrokerSettings) -> None:
        """Let other settings hold from now on."""
        before, self.settings = self.settings, settings
        self.limits = batch_limits(settings, broker)
        self.log.settings = log_settings(settings, broker)
        if before.durable_before_visible != settings.durable_before_visible:
            self._dirty_ticket = self.flush_now()
            self.wake_waiters()

    def flush_now(self) -> int:
        """Have everything flushed, whatever the topic's settings promise; return the ticket."""
        self._unflushed_records = 0
        return self.flusher.mark_dirty(self)

    # -- appending

    def append(self, batch: memoryview, header: BatchHeader, now_ms: int) -> Appended:
        """Give a batch that `admit_batch` has let through its offsets and append it: written, not yet durable.

        It is in a writable buffer, and is changed. Raises KafkaError for one that does not follow its producer's last,
        KafkaStorageError when it cannot be written; then nothing of it is in the log.
        """
        if header.producer_id >= 0:
            duplicate = self.log.producer_state.check(header, now_ms)
            if duplicate is not None:
                return Appended(
                    base_offset=duplicate.base_offset,
                    last_offset=duplicate.last_offset,
                    log_append_time_ms=self._append_time(duplicate.timestamp_ms),
                    ticket=self.flush_ticket(),
                )
        return self._append(batch, header, now_ms)

    def append_records(self, records: Iterable[tuple[bytes, bytes | None]], now_ms: int) -> Appended:
        """Append keyed records of the broker's own to an internal topic; a value of None is a tombstone."""
        builder = BatchBuilder()
        for key, value in records:
            builder.append(now_ms, key, value)
        batch = memoryview(builder.build())
        return self._append(batch, decode_header(batch), now_ms)

    def _append(self, batch: memoryview, header: BatchHeader, now_ms: int) -> Appended:
        base_offset = self.log.log_end_offset
        assign(batch, base_offset, self.leader_epoch)
        header = header.assigned(base_offset, self.leader_epoch)
        try:
            self.log.append(batch, header, now_ms)
        except StorageError as error:
            self.log.producer_state.await_first(header, now_ms)
            raise self._offline(error) from error
        if self.settings.durable_before_visible:
            self._dirty_ticket = self.flusher.mark_dirty(self)
        else:
            self._note_unflushed(header.record_count)
            self.wake_waiters()
        return Appended(
            base_offset=base_offset,
            last_offset=header.last_offset,
            log_append_time_ms=self._append_time(now_ms),
            ticket=self.flush_ticket(),
        )

    def _note_unflushed(self, records: int) -> None:
        """A topic with Kafka's promise is flushed after `flush.messages` records, and by `flush_overdue` after a time."""
        if not self._unflushed_records:
            self._unflushed_since = self.clock.now()
        self._unflushed_records += records
        if self._unflushed_records >= self.settings.flush_messages:
            self.flush_now()

    def flush_overdue(self, default_ms: int) -> None:
        """Have flushed what a topic with Kafka's promise has held back for `flush.ms`, or `default_ms` at most."""
        if self._unflushed_records:
            waited_ms = (self.clock.now() - self._unflushed_since) * 1000
            if waited_ms >= min(self.settings.flush_ms, default_ms):
                self.flush_now()

    def _append_time(self, timestamp_ms: int) -> int:
        return timestamp_ms if self.limits.timestamp_type is TimestampType.LOG_APPEND_TIME else -1

    def _offline(self, error: StorageError) -> KafkaError:
        return KafkaStorageError(f"{self}: {error}")

    # -- reading

    def read(self, offset: int, max_bytes: int, *, at_least_one: bool = True) -> FileSlice | None:
        """Return the batches from the one that holds `offset` on, as far as consumers may see; None if there are none.

        One that is not `checked` has to pass `check` first. Raises OffsetOutOfRange, KafkaStorageError.
        """
        try:
            return self.log.read(offset, max_bytes, self.high_watermark, min_one_batch=at_least_one)
        except StorageError as error:
            raise self._offline(error) from error

    async def check(self, part: FileSlice) -> None:
        """Verify the CRCs of a slice in a worker thread, which also brings it into the page cache.

        Whoever reads again gets it as checked, or the error of what was found to be damaged. Raises StorageError.
        """
        damage = await trio.to_thread.run_sync(part.find_damage)
        self.log.finish_check(part, damage)

    def offset_for_timestamp(self, timestamp_ms: int) -> Search:
        """Find offset and timestamp in ms of the first record that is not older, or None. Raises KafkaStorageError."""
        try:
            return (yield from self.log.offset_for_timestamp(timestamp_ms, self.high_watermark))
        except StorageError as error:
            raise self._offline(error) from error

    def offset_of_max_timestamp(self) -> Search:
        """Find offset and timestamp in ms of the record with the largest one; None without records. Raises KafkaStorageError."""
        try:
            return (yield from self.log.offset_of_max_timestamp(self.high_watermark))
        except StorageError as error:
            raise self._offline(error) from error

    # -- waiting

    def add_waiter(self, callback: Callable[[], None]) -> None:
        """Call back whenever more can be read, and when the partition is deleted, until the waiter is removed."""
        self._waiters.add(callback)

    def remove_waiter(self, callback: Callable[[], None]) -> None:
        """End `add_waiter`."""
        self._waiters.discard(callback)

    def wake_waiters(self) -> None:
        """Let everybody who waits look again."""
        for callback in tuple(self._waiters):
            callback()

    # -- the flusher's side

    def begin_flush(self) -> FlushPoint | None:
        """See Flushable."""
        return None if self.deleted else self.log.begin_flush()

    def complete_flush(self, point: FlushPoint) -> None:
        """See Flushable: what this made durable becomes visible."""
        if not self.deleted:
            self.log.complete_flush(point)
            self.wake_waiters()
