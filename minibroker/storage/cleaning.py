"""The two passes of a compaction over closed segments. Safe beside the log's own thread: it only reads their files.

Pass one, `KeyIndex.build`, reads what was written since the last compaction, the *dirty* part, and notes of each record
whether a later one has its key. Pass two, `BatchFilter`, goes through everything up to where pass one came. A dirty
batch is judged by those notes alone, so most are dropped or copied without a look inside; a *clean* batch has one
record per key already and loses those whose keys pass one has seen.

What cannot be read is kept: a batch that does not decompress, control batches. Records without a key go, as in Kafka.
"""

import time
from collections.abc import Callable, Iterator

import attrs

from minibroker.protocol.errors import KafkaError
from minibroker.records.batch import BatchHeader
from minibroker.records.record import read_payload
from minibroker.records.retention import empty_batch, retain_records
from minibroker.records.scan import ScannedRecord, scan_records
from minibroker.storage.errors import CorruptLog, StorageError
from minibroker.storage.filesystem import File, FileSystem
from minibroker.storage.integrity import Expectation
from minibroker.storage.key_table import SLOT_BYTES, KeyTable
from minibroker.storage.walk import BadBatch, walk_batches, walk_headers

LIVE, DEAD, TOMBSTONE = range(3)
TABLE_SHARE = 0.75  # of the buffer; the rest holds one byte for each dirty record

Batch = tuple[BatchHeader, memoryview | bytearray]


class CompactionCancelled(StorageError):
    """Somebody wants the compaction to end; the log is as it was, or compacted up to a segment."""


@attrs.frozen(kw_only=True)
class Source:
    """A closed segment to be compacted, as its file is found by another thread."""

    path: str
    base_offset: int
    end_offset: int
    size_bytes: int
    expectation: Expectation
    """What its batches must look like."""


@attrs.define(eq=False)
class Pace:
    """Keeps a busy worker thread from holding up the thread that serves: the interpreter runs one at a time."""

    work_s: float = 0.001
    rest_s: float = 0.0002
    """Rest after each `work_s`, so that whoever waits for the interpreter gets it; 0 for none."""
    cancelled: bool = False
    _since: float = 0.0

    def breathe(self) -> None:
        """Called every few hundred records. Raises CompactionCancelled."""
        if self.cancelled:
            raise CompactionCancelled("the compaction was cancelled")
        if self.rest_s and time.perf_counter() - self._since > self.work_s:
            time.sleep(self.rest_s)
            self._since = time.perf_counter()


def read_source(file: File, source: Source, pace: Pace) -> Iterator[Batch]:
    """Every batch of a segment, checked. Raises CorruptLog."""
    offset = source.base_offset
    try:
        for _, header, batch in walk_batches(file, 0, source.size_bytes):
            complaint = source.expectation.complaint(header, offset)
            if complaint is not None:
                raise CorruptLog(f"{source.path}: {complaint}")
            offset = header.next_offset
            pace.breathe()
            yield header, batch
    except BadBatch as bad:
        raise CorruptLog(f"{source.path}: {bad}") from bad


@attrs.define(eq=False)
class KeyIndex:
    """What pass one found."""

    first_dirty_offset: int
    end_offset: int
    """Up to where the dirty part was read: the memory may not suffice for all of it at once."""
    table: KeyTable
    states: bytearray = attrs.field(factory=bytearray)
    """LIVE, DEAD or TOMBSTONE for each dirty record, in the order of the log."""
    unreadable: set[int] = attrs.field(factory=set)
    """Base offsets of batches to be kept as they are: damaged inside since they were produced, or control batches."""

    @classmethod
    def build(
        cls,
        fs: FileSystem,
        sources: list[Source],
        first_dirty_offset: int,
        budget_bytes: int,
        max_bytes: int,
        pace: Pace,
    ) -> "KeyIndex":
        """Read the dirty part; `budget_bytes` is for keys and states, `max_bytes` for one batch unpacked.

        Raises CorruptLog, and MissingFile if a segment was deleted meanwhile.
        """
        dirty = [source for source in sources if source.end_offset > first_dirty_offset]
        count = sum(_count_records(fs, source, pace) for source in dirty)
        index = cls(first_dirty_offset, dirty[-1].end_offset, KeyTable(int(budget_bytes * TABLE_SHARE), count))
        max_records = budget_bytes - int(budget_bytes * TABLE_SHARE)
        for source in dirty:
            for header, batch in read_source(fs.open(source.path), source, pace):
                if header.next_offset <= first_dirty_offset:
                    continue
                if index.states and (
                    index.table.room < header.record_count or len(index.states) + header.record_count > max_records
                ):
                    index.end_offset = header.base_offset
                    return index
                index._note(header, batch, max_bytes, pace)
        return index

    def _note(self, header: BatchHeader, batch: memoryview | bytearray, max_bytes: int, pace: Pace) -> None:
        contents = _read(header, batch, max_bytes)
        if contents is None:
            self.unreadable.add(header.base_offset)
            return
        records = contents[1]
        if not self.states and self.table.room < len(records):  # a single batch must fit, whatever the budget
            self.table = KeyTable(2 * SLOT_BYTES * len(records), len(records))
        states = self.states
        number = len(states)
        states.extend(bytes(len(records)))
        put = self.table.put
        for record in records:
            key = record.key
            if key is None:
                states[number] = DEAD
            else:
                previous = put(key, number)
                if previous >= 0:
                    states[previous] = DEAD
                if not record.has_value:
                    states[number] = TOMBSTONE
            number += 1
            if not number & 0xFF:
                pace.breathe()


def _count_records(fs: FileSystem, source: Source, pace: Pace) -> int:
    count = 0
    try:
        for _, header in walk_headers(fs.open(source.path), 0, source.size_bytes):
            count += max(header.record_count, 0)
            pace.breathe()
    except BadBatch as bad:
        raise CorruptLog(f"{source.path}: {bad}") from bad
    return count


def _read(
    header: BatchHeader, batch: memoryview | bytearray, max_bytes: int
) -> tuple[bytes, list[ScannedRecord]] | None:
    """Payload and records of a batch; None if it cannot be read or is not a producer's."""
    if header.is_control:
        return None
    try:
        payload = read_payload(batch, header, max_bytes)
        return payload, scan_records(payload, header)
    except KafkaError:
        return None


@attrs.define(eq=False)
class BatchFilter:
    """Pass two: decides on one batch after another, from the beginning of the log."""

    index: KeyIndex
    now_ms: int
    """Tombstones that were marked with an earlier time may go."""
    new_horizon_ms: int
    """What others are marked with."""
    max_bytes: int
    keep_offsets: frozenset[int] = frozenset()
    """Last offsets of batches to be kept for their producer's sake, even without a record."""
    _number: int = 0
    """Of the next dirty record."""
    _has_kept_unread: bool = False
    """Whether a batch of a producer was kept unread: a key that it holds must stay deleted, so no tombstone goes now."""

    def filter(self, header: BatchHeader, batch: memoryview | bytearray) -> Batch | None:
        """The batch as it is to be kept: the same, a smaller one, an empty one, or None."""
        index = self.index
        if header.base_offset >= index.end_offset or header.base_offset in index.unreadable:
            return self._unread(header, batch)
        if header.next_offset <= index.first_dirty_offset:
            table = index.table
            return self._rebuild(header, batch, lambda _, record: record.key is not None and record.key not in table)
        states, start = index.states, self._number
        self._number = end = start + header.record_count
        if states.count(DEAD, start, end) == header.record_count:
            return self._without_records(header, batch)
        if states.find(DEAD, start, end) < 0 and states.find(TOMBSTONE, start, end) < 0:
            return header, batch
        return self._rebuild(header, batch, lambda slot, _: states[start + slot] != DEAD)

    def _rebuild(
        self, header: BatchHeader, batch: memoryview | bytearray, is_last: Callable[[int, ScannedRecord], bool]
    ) -> Batch | None:
        contents = _read(header, batch, self.max_bytes)
        if contents is None:
            return self._unread(header, batch)
        payload, records = contents
        horizon = header.delete_horizon_ms
        expired = horizon is not None and self.now_ms >= horizon and not self._has_kept_unread
        kept = [
            record for slot, record in enumerate(records) if is_last(slot, record) and (record.has_value or not expired)
        ]
        if not kept:
            return self._without_records(header, batch)
        needs_horizon = horizon is None and not all(record.has_value for record in kept)
        if len(kept) == len(records) and not needs_horizon:
            return header, batch
        new_horizon = self.new_horizon_ms if needs_horizon else None
        smaller, header = retain_records(header, payload, kept, delete_horizon_ms=new_horizon)
        return header, smaller

    def _unread(self, header: BatchHeader, batch: memoryview | bytearray) -> Batch:
        self._has_kept_unread = self._has_kept_unread or not header.is_control
        return header, batch

    def _without_records(self, header: BatchHeader, batch: memoryview | bytearray) -> Batch | None:
        if header.producer_id < 0 or header.last_offset not in self.keep_offsets:
            return None
        if not header.record_count:
            return header, batch
        emptied, header = empty_batch(header)
        return header, emptied
