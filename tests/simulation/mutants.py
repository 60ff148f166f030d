"""Brokers that break a promise, each in its own way: the history checker has to catch every one.

A mutant is a broker with one function replaced. What it does wrong is in its docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import attrs

from minibroker.coordinator.group_coordinator import GroupCoordinator
from minibroker.handlers.context import AfterFlush
from minibroker.protocol.api import ApiKey
from minibroker.records.batch import BatchHeader
from minibroker.server.dispatch import Dispatcher
from minibroker.storage import compaction, recovery, tail
from minibroker.storage.errors import SyncFailed
from minibroker.storage.files import base_offset_of
from minibroker.storage.key_table import KeyTable
from minibroker.storage.log import FlushPoint, Log
from minibroker.storage.log_checkpoint import LogPosition
from minibroker.storage.producer_state import DuplicateOf, ProducerState
from minibroker.storage.segment import Segment
from minibroker.storage.tail import Recovered
from minibroker.topics.catalog import Catalog
from minibroker.topics.clock import Clock
from minibroker.topics.metadata import LOG_START_PREFIX, TOPIC_PREFIX
from minibroker.topics.opening import Data
from minibroker.topics.partition import Appended, Partition
from minibroker.topics.producer_ids import ProducerIds
from tests.simulation.broker_life import SlowSyncer
from tests.simulation.disk import SimulatedDisk, SimulatedFile

Mutant = Callable[[], Any]
MUTANTS: dict[str, Mutant] = {}
OF_A_FAILING_DISK = ("goes_on_after_a_failed_sync", "recovered_tail_not_written_again")
"""Those that are right as long as no sync fails."""
OF_FAILING_CALLS = ("a_failed_roll_leaves_its_file", "compaction_after_a_failed_swap")
"""Those that are right as long as every file can be opened and removed."""
OF_WRONG_DATES = ("retention_by_the_wall_clock",)
"""Those that are right as long as nobody sets the clock."""
OF_TOPICS = (
    "files_removed_before_the_deletion_is_durable",
    "a_namesake_keeps_the_records",
    "a_namesake_keeps_the_commits",
)
"""Those that are right as long as no name is used again."""


def mutant(make: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
    """Register a context manager in which brokers are wrong."""
    MUTANTS[make.__name__] = contextmanager(make)
    return make


def replaced(target: Any, name: str, new: Any) -> Iterator[None]:
    """With one attribute replaced."""
    with mock.patch.object(target, name, new):
        yield


# -- told too early


@mutant
def ack_before_sync() -> Iterator[None]:
    """Produce is answered once the operating system has the record."""
    yield from replaced(Partition, "flush_ticket", lambda partition: 0)


def _answered_early(*keys: ApiKey) -> Iterator[None]:
    encode = Dispatcher._encode

    def wrong(self: Dispatcher, reply: Any, api: Any, header: Any) -> Any:
        early = api.key in keys and type(reply) is AfterFlush
        return encode(self, AfterFlush(reply.response, 0) if early else reply, api, header)

    yield from replaced(Dispatcher, "_encode", wrong)


@mutant
def answer_before_sync() -> Iterator[None]:
    """No answer waits for the round it should wait for."""
    yield from _answered_early(*ApiKey)


@mutant
def served_above_the_durable_end() -> Iterator[None]:
    """Consumers see what is written and not synced."""
    yield from replaced(Partition, "high_watermark", property(lambda partition: partition.log.log_end_offset))


@mutant
def commit_acknowledged_before_sync() -> Iterator[None]:
    """Groups and their offsets are told about before they are durable."""
    yield from replaced(GroupCoordinator, "ticket", lambda coordinator, group_id: 0)


@mutant
def topic_reported_before_sync() -> Iterator[None]:
    """Topics are reported as created, deleted and shortened before that is durable."""
    yield from _answered_early(ApiKey.CREATE_TOPICS, ApiKey.DELETE_TOPICS, ApiKey.DELETE_RECORDS)


@mutant
def producer_id_told_before_sync() -> Iterator[None]:
    """A producer gets its id before the block that it is from is reserved durably."""
    next_id = ProducerIds.next_id
    yield from replaced(ProducerIds, "next_id", lambda ids: (next_id(ids)[0], 0))


@mutant
def duplicate_acknowledged_before_sync() -> Iterator[None]:
    """A retry is answered at once, though the batch that it repeats is not durable."""
    append = Partition.append

    def wrong(self: Partition, batch: memoryview, header: BatchHeader, now_ms: int) -> Appended:
        end = self.log_end_offset
        appended = append(self, batch, header, now_ms)
        return attrs.evolve(appended, ticket=0) if appended.base_offset < end else appended

    yield from replaced(Partition, "append", wrong)


# -- not synced


@mutant
def no_sync() -> Iterator[None]:
    """Files are never synced."""
    yield from replaced(SimulatedFile, "sync_data", lambda file: None)


@mutant
def no_directory_sync() -> Iterator[None]:
    """Directories are never synced."""
    yield from replaced(SimulatedDisk, "sync_directory", lambda disk, path: None)


def _points_without(change: Callable[[FlushPoint], FlushPoint]) -> Iterator[None]:
    begin = Log.begin_flush

    def wrong(self: Log) -> FlushPoint | None:
        point = begin(self)
        return None if point is None else change(point)

    yield from replaced(Log, "begin_flush", wrong)


@mutant
def no_directory_sync_after_a_roll() -> Iterator[None]:
    """A flush point names no directories."""
    yield from _points_without(lambda point: attrs.evolve(point, directories=()))


@mutant
def only_the_active_segment_is_synced() -> Iterator[None]:
    """A segment that was rolled since the last round is forgotten."""
    yield from _points_without(lambda point: attrs.evolve(point, files=point.files[-1:]))


@mutant
def round_complete_before_its_sync() -> Iterator[None]:
    """The files of a round are synced at the beginning of the next."""
    sync = SlowSyncer.sync
    late: dict[int, Any] = {}

    async def wrong(self: SlowSyncer, points: Any) -> None:
        before = late.get(id(self), ())
        late[id(self)] = points
        await sync(self, before)

    yield from replaced(SlowSyncer, "sync", wrong)


@mutant
def page_cache_trusted_after_a_kill() -> Iterator[None]:
    """What a recovery finds is served at once, without being written again and synced."""
    open_log = recovery.open_log

    def wrong(*arguments: Any) -> Any:
        log, report = open_log(*arguments)
        active = log.segments[-1]
        log.durable = log._flushing = LogPosition(log.log_end_offset, active.base_offset, active.size_bytes)
        log._unsynced_files.clear()
        log._unsynced_directories.clear()
        return log, report

    yield from replaced(recovery, "open_log", wrong)


@mutant
def goes_on_after_a_failed_sync() -> Iterator[None]:
    """A failed sync is tried again, and taken for done when the second one succeeds."""
    sync = SimulatedFile.sync_data

    def wrong(self: SimulatedFile) -> None:
        try:
            sync(self)
        except SyncFailed:
            self._sync_failure = None
            sync(self)

    yield from replaced(SimulatedFile, "sync_data", wrong)


@mutant
def recovered_tail_not_written_again() -> Iterator[None]:
    """A recovery syncs what it found, and trusts that to write what an earlier sync has failed to."""
    yield from replaced(tail, "_write_again", lambda file, position, end_position: None)


@mutant
def checkpoint_of_what_is_volatile() -> Iterator[None]:
    """The checkpoint calls the end of the log durable."""
    begin = Log.begin_checkpoint

    def wrong(self: Log) -> Any:
        self.captured = self._capture()
        self._capture_wanted = False
        return begin(self)

    yield from replaced(Log, "begin_checkpoint", wrong)


# -- recovered wrongly


@mutant
def tail_dropped() -> Iterator[None]:
    """A recovery cuts at the last checkpoint, instead of reading on."""
    recover = Recovered.recover_segment

    def wrong(self: Recovered, segment: Any, start: int, later: list[int]) -> None:
        segment.writable().truncate(start)
        self.sizes[segment.log_path.rpartition("/")[2]] = start
        recover(self, segment, start, later)

    yield from replaced(Recovered, "recover_segment", wrong)


@mutant
def later_segments_dropped() -> Iterator[None]:
    """A recovery keeps no segment behind the one with the durable end."""
    yield from replaced(Recovered, "recover_segments", lambda recovered, bases: recovered._set_aside(bases))


@mutant
def crc_skipped_in_recovery() -> Iterator[None]:
    """A torn batch whose header is whole is taken for good."""
    with mock.patch("minibroker.storage.walk.verify_crc"):
        yield


@mutant
def offsets_skipped_after_a_restart() -> Iterator[None]:
    """A restarted broker leaves some offsets out, to be on the safe side."""
    open_log = recovery.open_log

    def wrong(*arguments: Any) -> Any:
        log, report = open_log(*arguments)
        if log.topic_id.int != 1 and log.log_end_offset and not report.is_clean:
            log.roll(0)
            log.log_end_offset += 10
            log.segments.pop()
            log.segments.append(Segment(log.fs, log.directory, log.log_end_offset))
            log.segments[-1].create()
        return log, report

    yield from replaced(recovery, "open_log", wrong)


# -- producers


@mutant
def producer_ids_not_reserved() -> Iterator[None]:
    """Ids are counted in memory alone."""

    def wrong(self: ProducerIds) -> tuple[int, int]:
        self._next += 1
        return self._next, 0

    yield from replaced(ProducerIds, "next_id", wrong)


@mutant
def no_deduplication() -> Iterator[None]:
    """Retries are appended again."""
    yield from replaced(ProducerState, "check", lambda state, header, now_ms: None)


@mutant
def dedup_table_not_in_the_checkpoint() -> Iterator[None]:
    """What a checkpoint says of producers is not read."""
    yield from replaced(ProducerState, "restore", classmethod(lambda cls, snapshot: cls()))


@mutant
def dedup_table_not_replayed() -> Iterator[None]:
    """What a recovery reads is not noted in the table."""

    def wrong(self: Recovered, header: Any) -> None:
        self.report.recovered_batches += 1

    yield from replaced(tail.Recovered, "_replay", wrong)


@mutant
def duplicate_answered_with_another_offset() -> Iterator[None]:
    """A retry is told the end of the log, as if it had been appended."""
    append = Partition.append

    def wrong(self: Partition, batch: memoryview, header: BatchHeader, now_ms: int) -> Appended:
        end = self.log_end_offset
        appended = append(self, batch, header, now_ms)
        return attrs.evolve(appended, base_offset=end) if appended.base_offset < end else appended

    yield from replaced(Partition, "append", wrong)


@mutant
def only_one_batch_remembered() -> Iterator[None]:
    """Of the batches in flight only the last is recognised; an older one counts as a duplicate of nothing."""
    check = ProducerState.check

    def wrong(self: ProducerState, header: Any, now_ms: int) -> DuplicateOf | None:
        entry = self.entries.get(header.producer_id)
        if entry is not None:
            del entry.batches[:-1]
        return check(self, header, now_ms)

    yield from replaced(ProducerState, "check", wrong)


# -- the rest


@mutant
def crc_not_checked_when_produced() -> Iterator[None]:
    """A batch that was damaged on its way is appended."""
    with mock.patch("minibroker.records.validation.verify_crc"):
        yield


@mutant
def a_batch_skipped_when_read() -> Iterator[None]:
    """Now and then a reader is given the batch behind the one it asked for."""
    read = Partition.read

    def wrong(self: Partition, offset: int, max_bytes: int, *, at_least_one: bool = True) -> Any:
        return read(self, min(offset + (offset % 7 == 3), self.high_watermark), max_bytes, at_least_one=at_least_one)

    yield from replaced(Partition, "read", wrong)


def _records_lost(prefix: str) -> Iterator[None]:
    record_all = Catalog.record_all

    def wrong(self: Catalog, changes: Any) -> None:
        for key in [key for key in changes if key.startswith(prefix)]:
            value = changes.pop(key)
            self.state.replay(key.encode(), None if value is None else _encoded(value))
        if changes:
            record_all(self, changes)

    yield from replaced(Catalog, "record_all", wrong)


def _encoded(value: Any) -> bytes | None:
    from minibroker.topics.metadata import encode_record

    return encode_record(value)


@mutant
def deletion_of_records_not_logged() -> Iterator[None]:
    """DeleteRecords moves the log start in memory, and leaves the rest to the next checkpoint."""
    yield from _records_lost(LOG_START_PREFIX)


@mutant
def topics_not_logged() -> Iterator[None]:
    """Topics come and go in memory."""
    yield from _records_lost(TOPIC_PREFIX)


@mutant
def compaction_keeps_the_first() -> Iterator[None]:
    """Compaction keeps the oldest record of a key instead of the latest."""
    put = KeyTable.put
    yield from replaced(KeyTable, "put", lambda table, key, number: number if key in table else put(table, key, number))


@mutant
def commit_lost_in_the_log() -> Iterator[None]:
    """Of the records of a group, every fifth is replayed and not written."""
    from minibroker.coordinator.offsets_topic import OffsetsTopic

    append, count = OffsetsTopic.append, iter(range(1 << 60))

    def wrong(self: OffsetsTopic, records: Any) -> None:
        if next(count) % 5 != 4:
            append(self, records)

    yield from replaced(OffsetsTopic, "append", wrong)


# -- what changes


@mutant
def files_removed_before_the_deletion_is_durable() -> Iterator[None]:
    """A deleted topic's files go at once; a power cut may bring the topic back."""
    delete = Catalog.delete_topic

    def wrong(self: Catalog, name: str) -> None:
        logs = [partition.log for partition in self.topic(name).partitions]
        delete(self, name)
        for log in logs:
            for file in log.fs.list_sizes(log.directory):
                log.fs.unlink(f"{log.directory}/{file}")

    yield from replaced(Catalog, "delete_topic", wrong)


@mutant
def a_namesake_keeps_the_records() -> Iterator[None]:
    """A directory belongs to whoever has its name, and stays when its topic is deleted."""
    with mock.patch.object(Data, "_belongs", return_value=True), mock.patch.object(Data, "remove_topic"):
        yield


@mutant
def a_namesake_keeps_the_commits() -> Iterator[None]:
    """What was committed for a topic holds for whichever has its name."""
    with mock.patch.object(GroupCoordinator, "_delete_offsets_of"):
        yield from replaced(GroupCoordinator, "_valid", lambda coordinator, topic, offsets: dict(offsets))


@mutant
def retention_by_the_wall_clock() -> Iterator[None]:
    """What is old is told by the date of the machine, whatever became of it."""
    with mock.patch.object(Clock, "now_ms", lambda clock: clock._wall_ms()):
        yield from replaced(Clock, "retention_now_ms", lambda clock: clock._wall_ms())


@mutant
def a_failed_roll_leaves_its_file() -> Iterator[None]:
    """The file of the next segment is made first, stays if the roll then fails, and is taken for good by a restart."""
    roll = Log.roll

    def wrong(self: Log, now_ms: int) -> None:
        if self.failure is None and self.segments[-1].size_bytes:
            Segment(self.fs, self.directory, self.log_end_offset).create()
        roll(self, now_ms)

    def all_bases(fs: Any, directory: str, sizes: dict[str, int], checkpoint: Any) -> list[int]:
        return sorted(base for name in sizes if (base := base_offset_of(name)) is not None)

    with mock.patch.object(recovery, "_remove_empty", all_bases):
        yield from replaced(Log, "roll", wrong)


@mutant
def compaction_after_a_failed_swap() -> Iterator[None]:
    """A segment whose swap has failed half-way is compacted again, by a name that is another file's."""
    cleanable = compaction._cleanable_segments

    def wrong(log: Log, *arguments: Any) -> list[Segment]:
        nameless = [segment for segment in log.segments if segment.is_nameless]
        for segment in nameless:
            segment.is_nameless = False
        found = cleanable(log, *arguments)
        for segment in nameless:
            segment.is_nameless = True
        return found

    yield from replaced(compaction, "_cleanable_segments", wrong)
