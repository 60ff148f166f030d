"""Log compaction: of all records with a key only the last one stays. Offsets and order never change.

`plan_compaction` decides, in the log's thread. `Compaction.steps` then hands out pieces of work for a worker thread;
what lies between two of them runs in the log's thread and is short:

    for work in compaction.steps():
        await run_in_thread(work)

Only closed, durable segments are read, and none is changed: each group of neighbours that fit into one segment becomes
a new file (`cleaning`), which takes their place (`swap`). Between steps 2 and 3 of the swap the log begins to read the
new segment; readers in flight keep the files they have. Groups are swapped in ascending order, each durably before the
next, so a tombstone never goes before the records it deletes.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

from minibroker.records.batch import BatchHeader
from minibroker.records.retention import empty_batch
from minibroker.storage import damages
from minibroker.storage.cleaning import BatchFilter, CompactionCancelled, KeyIndex, Pace, Source, read_source
from minibroker.storage.files import COMPACTED
from minibroker.storage.filesystem import File, FileSystem
from minibroker.storage.index import MAX_RELATIVE_OFFSET
from minibroker.storage.segment import Segment
from minibroker.storage.swap import SegmentWriter, begin_swap, cancel_swap, cleaned_path, complete_swap

if TYPE_CHECKING:
    from minibroker.storage.log import Log

DEDUPE_BUFFER_BYTES = 128 * 1024 * 1024
FOREVER_MS = 2**63 - 1

Work = Callable[[], None]


@attrs.frozen(kw_only=True)
class CompactionPlan:
    """What one compaction will do."""

    segments: tuple[Segment, ...]
    """Closed and durable, from the first of the log on."""
    first_dirty_offset: int
    now_ms: int
    retention_now_ms: int
    """Tombstones are marked by the date and removed by this one, which does not jump."""


@attrs.frozen(kw_only=True)
class CompactionReport:
    """What one compaction did."""

    end_offset: int
    """Below it every key is there once."""
    bytes_before: int
    bytes_after: int


def roll_if_overdue(log: "Log", now_ms: int) -> bool:
    """Close the active segment if its first record has waited for `max.compaction.lag.ms`, so that it can be compacted.

    Returns whether it did. Raises StorageError.
    """
    if not log.active.size_bytes or "compact" not in log.settings.cleanup_policy:
        return False
    if not _is_overdue(log, log.active, now_ms):
        return False
    log.roll(now_ms)
    return True


def plan_compaction(log: "Log", now_ms: int, retention_now_ms: int) -> CompactionPlan | None:
    """Decide whether a log is worth compacting now; None if not.

    Due is a log whose uncompacted share has reached `min.cleanable.dirty.ratio`, or that holds an uncompacted record
    older than `max.compaction.lag.ms`. Never touched are the active segment, what no checkpoint calls durable, what is
    younger than `min.compaction.lag.ms`, and everything from the first damaged segment on.
    """
    if "compact" not in log.settings.cleanup_policy or log.failure is not None:
        return None
    segments = _cleanable_segments(log, retention_now_ms)
    first_dirty_offset = max(log.compacted_offset, log.segments[0].base_offset)
    dirty = [segment for segment in segments if log.next_base_offset(segment) > first_dirty_offset]
    if not dirty:
        return None
    ratio = sum(segment.size_bytes for segment in dirty) / max(sum(segment.size_bytes for segment in segments), 1)
    if ratio < log.settings.min_cleanable_dirty_ratio and not _is_overdue(log, dirty[0], now_ms):
        return None
    return CompactionPlan(
        segments=tuple(segments),
        first_dirty_offset=first_dirty_offset,
        now_ms=now_ms,
        retention_now_ms=retention_now_ms,
    )


def _cleanable_segments(log: "Log", now_ms: int) -> list[Segment]:
    lag_ms = log.settings.min_compaction_lag_ms
    cleanable: list[Segment] = []
    for segment in log.segments[:-1]:
        # A restart goes by the durable end that the checkpoint knows: its segment, even if closed, must keep its bytes.
        if segment.base_offset >= log.checkpointed.segment:
            break
        # A swap that failed half-way, for a restart to complete: until then the name is that of another file.
        if segment.is_nameless:
            break
        newest_ms = segment.max_timestamp_ms if segment.max_timestamp_ms >= 0 else segment.created_ms
        if lag_ms and now_ms - newest_ms < lag_ms:
            break
        if any(damage.segment == segment.base_offset for damage in log.damaged):
            break
        cleanable.append(segment)
    return cleanable


def _is_overdue(log: "Log", segment: Segment, now_ms: int) -> bool:
    lag_ms = log.settings.max_compaction_lag_ms
    if lag_ms >= FOREVER_MS:
        return False
    first_ms = segment.load_first_timestamp()
    return now_ms - (first_ms if first_ms >= 0 else segment.created_ms) >= lag_ms


@attrs.define(eq=False)
class _Group:
    """Neighbouring segments that become one."""

    segments: list[Segment]
    sources: list[Source]
    files: list[File] = attrs.field(factory=list)
    """The old files, held open so that their blocks are not freed in the log's thread."""
    result: Segment | None = None

    @property
    def base_offset(self) -> int:
        return self.sources[0].base_offset

    @property
    def end_offset(self) -> int:
        return self.sources[-1].end_offset


@attrs.define(eq=False)
class Compaction:
    """One compaction of one log."""

    log: "Log"
    plan: CompactionPlan
    budget_bytes: int = DEDUPE_BUFFER_BYTES
    """For keys (`log.cleaner.dedupe.buffer.size`); where it does not suffice, less of the log is compacted at once."""
    pace: Pace = attrs.field(factory=Pace)
    report: CompactionReport | None = None
    """There once `steps` is at its end."""
    _index: KeyIndex | None = None
    _bytes_before: int = 0
    _bytes_after: int = 0

    def cancel(self) -> None:
        """Make the work in progress end soon with CompactionCancelled. Call it from any thread."""
        self.pace.cancelled = True

    def steps(self) -> Generator[Work]:
        """Pieces of work, each to be done in another thread before the next is asked for.

        The work raises CorruptLog, CompactionCancelled and other StorageErrors. Then the compaction is over; the log is
        compacted up to some segment, or not at all, but whole. Raises CompactionCancelled itself if segments were
        deleted meanwhile.
        """
        self.log.in_compaction = frozenset(segment.base_offset for segment in self.plan.segments)
        try:
            yield from self._steps()
        finally:
            self.log.in_compaction = frozenset()
            self.log.needs_checkpoint = True

    def _steps(self) -> Iterator[Work]:
        log, plan, fs = self.log, self.plan, self.log.fs
        settings = log.settings
        groups = _group_segments(log, plan.segments)
        sources = [source for group in groups for source in group.sources]
        max_bytes = settings.max_decompressed_bytes
        keep = frozenset(batch[3] for entry in log.producer_state.entries.values() for batch in entry.batches)

        def build_index() -> None:
            self._index = KeyIndex.build(fs, sources, plan.first_dirty_offset, self.budget_bytes, max_bytes, self.pace)

        yield build_index
        assert self._index is not None
        index = self._index
        batch_filter = BatchFilter(
            index, plan.retention_now_ms, plan.now_ms + settings.delete_retention_ms, max_bytes, keep
        )
        for group in groups:
            if group.base_offset >= index.end_offset:
                break
            yield from self._replace(group, batch_filter)
        log.compacted_offset = max(log.compacted_offset, index.end_offset)
        self.report = CompactionReport(
            end_offset=index.end_offset,
            bytes_before=self._bytes_before,
            bytes_after=self._bytes_after,
        )

    def _replace(self, group: _Group, batch_filter: BatchFilter) -> Iterator[Work]:
        """The swap, step by step. Names change only in the log's thread, where no namesake can have been created."""
        log, fs, directory = self.log, self.log.fs, self.log.directory
        base_offset, end_offset = group.base_offset, group.end_offset
        bytes_before = sum(source.size_bytes for source in group.sources)
        self._bytes_before += bytes_before
        yield lambda: self._write(group, batch_filter)
        new = group.result
        if new is None:
            self._bytes_after += bytes_before
            return
        self._refuse_deleted()
        if not fs.exists(f"{directory}/{COMPACTED}"):
            fs.open(f"{directory}/{COMPACTED}", create=True)
            yield lambda: fs.sync_directory(directory)
            self._refuse_deleted()
        begin_swap(fs, directory, base_offset, end_offset)
        yield lambda: fs.sync_directory(directory)
        self._refuse_deleted()
        _adopt(log, group)
        self._bytes_after += new.size_bytes
        for segment in group.segments:
            for path in segment.paths:
                fs.unlink(path)
        yield lambda: _release_and_sync(group, fs, directory)
        self._refuse_deleted()
        if new not in log.segments and new not in log.removed:  # retention has already removed what it found
            cancel_swap(fs, directory, base_offset, end_offset)
            return
        complete_swap(fs, directory, base_offset, end_offset)
        new.is_nameless = False
        new.seal()
        new.release()
        yield lambda: fs.sync_directory(directory)

    def _refuse_deleted(self) -> None:
        if self.log.failure is not None:
            raise CompactionCancelled(f"{self.log.name} went offline while it was compacted")

    def _write(self, group: _Group, batch_filter: BatchFilter) -> None:
        """Write the new segment durably. Leaves no result where nothing would change."""
        log = self.log
        file = log.fs.open(cleaned_path(log.directory, group.base_offset), create=True)
        segment = Segment(
            log.fs,
            log.directory,
            group.base_offset,
            compacted=True,
            created_ms=group.segments[-1].created_ms,
            is_nameless=True,
            file=file,
        )
        writer = SegmentWriter(file, segment, log.settings.index_interval_bytes)
        try:
            if _copy_retained(log.fs, group, batch_filter, writer, self.pace):
                writer.finish()
                group.result = segment
        finally:
            if group.result is None:
                log.fs.unlink(file.path)


def _group_segments(log: "Log", segments: Sequence[Segment]) -> list[_Group]:
    """Neighbours together as long as they certainly fit into one segment, in bytes and in 31 bits of offsets."""
    groups: list[_Group] = []
    size_bytes = 0
    for segment in segments:
        end_offset = log.next_base_offset(segment)
        source = Source(
            path=segment.log_path,
            base_offset=segment.base_offset,
            end_offset=end_offset,
            size_bytes=segment.size_bytes,
            expectation=damages.expectation(log, segment),
        )
        size_bytes += segment.size_bytes
        if groups and size_bytes <= log.settings.segment_bytes:
            group = groups[-1]
            if end_offset - 1 - group.base_offset <= MAX_RELATIVE_OFFSET:
                group.segments.append(segment)
                group.sources.append(source)
                continue
        groups.append(_Group([segment], [source]))
        size_bytes = segment.size_bytes
    return groups


def _copy_retained(fs: FileSystem, group: _Group, batch_filter: BatchFilter, writer: SegmentWriter, pace: Pace) -> bool:
    """Write what stays of a group; returns whether that differs from what was there."""
    changed = len(group.sources) > 1
    last: BatchHeader | None = None
    copied_end = 0
    for source in group.sources:
        file = fs.open(source.path)
        group.files.append(file)
        for header, batch in read_source(file, source, pace):
            last = header
            kept = batch_filter.filter(header, batch)
            if kept is None:
                changed = True
                continue
            changed = changed or kept[1] is not batch
            writer.append(*kept)
            copied_end = kept[0].next_offset
    if copied_end <= group.sources[-1].base_offset and last is not None:
        # Something of the last source always stays: by it a restart knows that the sources were merged and not lost, and
        # a reader where to go on behind a segment that would be empty.
        emptied, header = empty_batch(last)
        writer.append(header, emptied)
    return changed


def _release_and_sync(group: _Group, fs: FileSystem, directory: str) -> None:
    group.files.clear()
    fs.sync_directory(directory)


def _adopt(log: "Log", group: _Group) -> None:
    """Step 3: let the log read the new segment in the place of the old ones."""
    assert group.result is not None
    slot = log.segment_slot(group.base_offset)
    end = slot + len(group.segments)
    if log.segments[slot:end] != group.segments:
        # Retention was faster. A swap file that outlives this would only bring back what lies below the log start.
        cancel_swap(log.fs, log.directory, group.base_offset, group.end_offset)
        raise CompactionCancelled(f"segments of {log.name} were deleted while it was compacted")
    log.segments[slot:end] = [group.result]
    # Damage that was found since is of the old files, which were whole when they were read.
    log.damaged = [known for known in log.damaged if not group.base_offset <= known.segment < group.end_offset]
    gone = {id(segment) for segment in group.segments}
    for offset, (segment, _) in list(log.hints.items()):
        if id(segment) in gone:
            del log.hints[offset]
    log.needs_checkpoint = True
