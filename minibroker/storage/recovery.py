"""Opening a log: what is known to be durable is trusted, what lies beyond is read batch by batch.

    D, the durable end of the last checkpoint, divides the log:

    below D    not read. A segment that is missing or has another size than the checkpoint says is looked through, and
               what is damaged is quarantined.
    from D on  the first bad byte ends the log. It was never acknowledged; what is cut is kept in a `.torn` file. What
               is kept is written again in place, for a page that a failed sync left clean may not be on the disk.

Without a trustworthy checkpoint there is no D: all is read, and only what no good batch follows is cut. A log that is
exactly as its checkpoint says is opened without reading anything. Every step may be killed and done again; the result
is the same.
"""

import uuid
from typing import TYPE_CHECKING

import attrs

from minibroker.records.batch import BatchHeader
from minibroker.storage import damages
from minibroker.storage.errors import DiskFull, MissingFile
from minibroker.storage.files import (
    CLEANED,
    INDEX,
    LOG,
    PARTITION_METADATA,
    SWAP,
    TIME_INDEX,
    TORN,
    base_offset_of,
    decode_partition_metadata,
    encode_partition_metadata,
    segment_name,
)
from minibroker.storage.filesystem import File, FileSystem
from minibroker.storage.integrity import Damage, Expectation, check_range, find_batch, missing_segment
from minibroker.storage.log_checkpoint import NEVER_CHECKPOINTED, ORIGIN, LogCheckpoint, LogPosition, SegmentState
from minibroker.storage.producer_state import ProducerState
from minibroker.storage.segment import Segment
from minibroker.storage.settings import LogSettings
from minibroker.storage.swap import recover_compaction
from minibroker.storage.walk import CHUNK_BYTES, BadBatch, walk_batches

if TYPE_CHECKING:
    from minibroker.storage.log import Log

END_OF_TIME = 2**63 - 1


@attrs.define(kw_only=True)
class RecoveryReport:
    """What opening a log found and did."""

    name: str
    read_bytes: int = 0
    """Bytes that were read and checked."""
    recovered_batches: int = 0
    """Good batches beyond what the checkpoint knew."""
    cut_bytes: int = 0
    """Bytes cut from the end: never acknowledged."""
    cut_offset: int | None = None
    """The offset they claimed."""
    cut_reason: str = ""
    preallocated_bytes: int = 0
    """Zeros at the end, which are nobody's data."""
    quarantined: list[Damage] = attrs.field(factory=list)
    """Damage found now."""
    completed_swaps: list[int] = attrs.field(factory=list)
    """Compacted segments put in place."""
    is_doubtful: bool = False
    """There was no checkpoint to trust."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing had to be read or changed."""
        return not (self.read_bytes or self.cut_bytes or self.quarantined or self.completed_swaps or self.is_doubtful)

    def __str__(self) -> str:
        parts = [f"read {self.read_bytes} bytes, recovered {self.recovered_batches} batches"]
        if self.cut_bytes:
            parts.append(f"cut {self.cut_bytes} bytes at offset {self.cut_offset} ({self.cut_reason})")
        parts += [f"quarantined {damage}" for damage in self.quarantined]
        return f"{self.name}: " + ", ".join(parts)


def open_log(
    make: "type[Log]",
    fs: FileSystem,
    directory: str,
    settings: LogSettings,
    checkpoint: LogCheckpoint | None,
    now_ms: int,
    topic_id: uuid.UUID | None,
) -> "tuple[Log, RecoveryReport]":
    """`Log.open`."""
    report = RecoveryReport(name=directory.rpartition("/")[2], is_doubtful=checkpoint is None)
    sizes = fs.list_sizes(directory)
    if any(name.endswith((CLEANED, SWAP)) for name in sizes):
        report.completed_swaps = recover_compaction(fs, directory)
        sizes = fs.list_sizes(directory)
    if topic_id is None:
        topic_id = _read_topic_id(fs, directory)
    if checkpoint is not None and checkpoint.topic_id not in (None, topic_id):
        checkpoint = NEVER_CHECKPOINTED
    bases = sorted(base for name in sizes if (base := base_offset_of(name)) is not None)
    if checkpoint is not None:
        bases = _remove_leftovers(fs, directory, bases, checkpoint.log_start_offset)
        if _is_as_checkpointed(checkpoint, bases, sizes) and PARTITION_METADATA in sizes:
            return _open_checkpointed(make, fs, directory, settings, checkpoint, topic_id), report
    recovery = _Recovery(fs, directory, settings, checkpoint, now_ms, bases, sizes, report)
    return recovery.run(make, topic_id), report


def _read_topic_id(fs: FileSystem, directory: str) -> uuid.UUID:
    """From `partition.metadata`; the nil id if that is lost, for only who knows the topic can tell then."""
    try:
        found = decode_partition_metadata(fs.read(f"{directory}/{PARTITION_METADATA}"))
    except MissingFile:
        found = None
    return found or uuid.UUID(int=0)


def _remove_leftovers(fs: FileSystem, directory: str, bases: list[int], log_start_offset: int) -> list[int]:
    """Remove segments that lie wholly below the log start: a crash came before their files went."""
    while len(bases) > 1 and bases[1] <= log_start_offset:
        for suffix in (LOG, INDEX, TIME_INDEX):
            fs.unlink(f"{directory}/{segment_name(bases[0])}{suffix}")
        bases = bases[1:]
    return bases


def _is_as_checkpointed(checkpoint: LogCheckpoint, bases: list[int], sizes: dict[str, int]) -> bool:
    states = checkpoint.segments
    if not states or len(states) != len(bases) or checkpoint.durable.offset != checkpoint.log_end_offset:
        return False
    last = states[-1]
    if (checkpoint.durable.segment, checkpoint.durable.position) != (last.base_offset, last.size_bytes):
        return False
    return all(
        state.base_offset == base and sizes[segment_name(base) + LOG] == state.size_bytes
        for state, base in zip(states, bases, strict=True)
    )


def _open_checkpointed(
    make: "type[Log]",
    fs: FileSystem,
    directory: str,
    settings: LogSettings,
    checkpoint: LogCheckpoint,
    topic_id: uuid.UUID,
) -> "Log":
    segments = []
    for state in checkpoint.segments:
        segment = Segment(fs, directory, state.base_offset)
        state.apply(segment)
        segments.append(segment)
    return make(
        fs=fs,
        directory=directory,
        settings=settings,
        topic_id=topic_id,
        segments=segments,
        log_start_offset=checkpoint.log_start_offset,
        log_end_offset=checkpoint.log_end_offset,
        durable=checkpoint.durable,
        producer_state=ProducerState.restore(checkpoint.producers),
        epochs=list(checkpoint.epochs),
        damaged=list(checkpoint.damaged),
        compacted_offset=checkpoint.compacted_offset,
        checkpointed=checkpoint.durable,
        needs_checkpoint=False,
    )


@attrs.define(eq=False)
class _Recovery:
    """One recovery: first the segments from the disk, then the log they make."""

    fs: FileSystem
    directory: str
    settings: LogSettings
    checkpoint: LogCheckpoint | None
    now_ms: int
    bases: list[int]
    """Base offsets of the segments found."""
    sizes: dict[str, int]
    report: RecoveryReport
    segments: list[Segment] = attrs.field(factory=list)
    suspicious: list[Segment] = attrs.field(factory=list)
    """To be looked through, once there is a log."""
    stale: list[Segment] = attrs.field(factory=list)
    """What the checkpoint says of them is not true any more: indexes and timestamps are to be made again."""
    producer_state: ProducerState = attrs.field(factory=ProducerState)
    epochs: list[tuple[int, int]] = attrs.field(factory=list)
    damaged: list[Damage] = attrs.field(factory=list)
    files: list[File] = attrs.field(factory=list)
    """To be synced with the next flush."""
    directories: list[str] = attrs.field(factory=list)
    offset: int = 0
    """Where the log ends as far as it is known."""

    def run(self, make: "type[Log]", topic_id: uuid.UUID) -> "Log":
        """Recover and return the log; what was recovered is dirty."""
        checkpoint = self.checkpoint or self._nothing_known()
        self.producer_state = ProducerState.restore(checkpoint.producers)
        self.epochs = list(checkpoint.epochs)
        self.damaged = list(checkpoint.damaged)
        known = {state.base_offset: state for state in checkpoint.segments}
        durable = checkpoint.durable
        self._adopt_durable(known, checkpoint.log_start_offset, durable)
        durable = self._recover_tail(known, durable)
        if self.offset < checkpoint.log_end_offset:
            self.producer_state.forget_from(self.offset)
            self.epochs = [entry for entry in self.epochs if entry[1] < self.offset]
        if checkpoint.topic_id is None or self.checkpoint is None or PARTITION_METADATA not in self.sizes:
            self._write_metadata(topic_id)
        log = make(
            fs=self.fs,
            directory=self.directory,
            settings=self.settings,
            topic_id=topic_id,
            segments=self.segments,
            log_start_offset=checkpoint.log_start_offset,
            log_end_offset=self.offset,
            durable=durable,
            producer_state=self.producer_state,
            epochs=self.epochs,
            damaged=self.damaged,
            compacted_offset=checkpoint.compacted_offset,
            checkpointed=durable if self.checkpoint is not None else ORIGIN,
            unsynced_files=self.files,
            unsynced_directories=self.directories,
        )
        self._look_through(log)
        return log

    def _nothing_known(self) -> LogCheckpoint:
        first = self.bases[0] if self.bases else 0
        return LogCheckpoint(log_start_offset=first, durable=LogPosition(first, first, 0))

    def _write_metadata(self, topic_id: uuid.UUID) -> None:
        file = self.fs.open(f"{self.directory}/{PARTITION_METADATA}", create=True)
        file.truncate(0)
        file.pwrite(encode_partition_metadata(topic_id), 0)
        self.files.append(file)
        self.directories += [self.directory, self.directory.rpartition("/")[0] or "."]

    def _file_size(self, base_offset: int) -> int:
        return self.sizes.get(segment_name(base_offset) + LOG, 0)

    def _segment(self, base_offset: int, state: SegmentState | None) -> Segment:
        segment = Segment(self.fs, self.directory, base_offset, created_ms=self.now_ms)
        if state is not None:
            state.apply(segment)
        self.segments.append(segment)
        return segment

    def _create_segment(self, base_offset: int) -> Segment:
        segment = self._segment(base_offset, None)
        self.files.append(segment.create())
        self.directories.append(self.directory)
        return segment

    # -- Below the durable end

    def _adopt_durable(self, known: dict[int, SegmentState], log_start_offset: int, durable: LogPosition) -> None:
        """The segments below the one with the durable end; those that are not as they were are suspicious."""
        expected = {base for base in known if base < durable.segment}
        found = {base for base in self.bases if base < durable.segment}
        for base in sorted(expected | found):
            state = known.get(base)
            if base not in found:
                if not self._was_merged():
                    self._replace_missing(base)
                continue
            segment = self._segment(base, state)
            size = self._file_size(base)
            if state is None or state.size_bytes != size:
                segment.size_bytes = size
                segment.compacted = segment.compacted or "compact" in self.settings.cleanup_policy
                self.suspicious.append(segment)

    def _was_merged(self) -> bool:
        """Whether a missing segment may have gone into the one before it by compaction."""
        return bool(self.segments) and self.segments[-1] in self.suspicious and self.segments[-1].compacted

    def _replace_missing(self, base_offset: int) -> None:
        """An empty segment in the place of a lost one; its offsets are quarantined when it is looked through."""
        segment = self._create_segment(base_offset)
        self.suspicious.append(segment)

    # -- From the durable end on

    def _recover_tail(self, known: dict[int, SegmentState], durable: LogPosition) -> LogPosition:
        """Returns the durable end, which moves to a new segment if its own has lost bytes below it."""
        tail = [base for base in self.bases if base >= durable.segment]
        self.offset = durable.offset
        if tail[:1] == [durable.segment] and self._file_size(durable.segment) >= durable.position:
            segment = self._segment(durable.segment, known.get(durable.segment))
            self._recover_segment(segment, known.get(durable.segment), durable.position, tail[1:])
            tail = tail[1:]
        elif durable.position:
            if tail[:1] == [durable.segment]:
                segment = self._segment(durable.segment, known.get(durable.segment))
                segment.size_bytes = self._file_size(durable.segment)
                self.suspicious.append(segment)
                tail = tail[1:]
            else:
                self._replace_missing(durable.segment)
            durable = LogPosition(durable.offset, durable.offset, 0)
        while tail:
            base = tail[0]
            if base != self.offset and not self._bridge(base):
                self._set_aside(tail)
                break
            tail = tail[1:]
            self._recover_segment(self._segment(base, known.get(base)), known.get(base), 0, tail)
            self.directories.append(self.directory)
        active = self.segments[-1] if self.segments else None
        if active is None or active in self.suspicious or active.base_offset < durable.segment:
            self._create_segment(self.offset)
        for segment in self.segments[:-1]:
            if segment.base_offset >= durable.segment:
                self.files += segment.seal()
                segment.release()
        return durable

    def _bridge(self, base_offset: int) -> bool:
        """In doubt, a segment that begins later than the one before ended makes the offsets between a damage."""
        if self.checkpoint is not None or base_offset < self.offset:
            return False
        last = self.segments[-1]
        if "compact" not in self.settings.cleanup_policy:
            self._quarantine(last, base_offset, last.size_bytes, last.size_bytes, "the end of the segment is missing")
        last.compacted = last.compacted or "compact" in self.settings.cleanup_policy
        self.offset = base_offset
        return True

    def _set_aside(self, bases: list[int]) -> None:
        """Segments beyond a cut were never acknowledged; they stay as `.torn` files."""
        for base in bases:
            stem = f"{self.directory}/{segment_name(base)}"
            self.fs.rename(stem + LOG, stem + TORN)
            self.fs.unlink(stem + INDEX)
            self.fs.unlink(stem + TIME_INDEX)
            self._report_cut(self.offset, self._file_size(base), f"segment {base} does not follow")
        self.directories.append(self.directory)

    def _report_cut(self, offset: int, size_bytes: int, reason: str) -> None:
        if size_bytes and self.report.cut_offset is None:
            self.report.cut_offset, self.report.cut_reason = offset, reason
        self.report.cut_bytes += size_bytes

    def _recover_segment(self, segment: Segment, state: SegmentState | None, start: int, later: list[int]) -> None:
        """Read a segment from `start`, where `self.offset` is; cut or quarantine what is bad; write the rest again."""
        file = segment.writable()
        size = self._file_size(segment.base_offset)
        known_bytes = state.size_bytes if state is not None else 0
        position, saw_known_end = start, start == known_bytes
        while position < size:
            try:
                for at, header, batch in walk_batches(file, position, size):
                    self._check_order(at, header, segment, has_later=bool(later))
                    saw_known_end = saw_known_end or at == known_bytes
                    if at >= known_bytes:
                        segment.note(header, at, self.settings.index_interval_bytes)
                    self._replay(header)
                    self.offset = header.next_offset
                    position = at + len(batch)
            except BadBatch as bad:
                position = self._next_good_position(segment, file, bad, size, later)
                if position < 0:
                    size = self._cut(file, bad, size)
                    position = size
        segment.size_bytes = size
        self.report.read_bytes += size - start
        if not saw_known_end and size != known_bytes:
            self.stale.append(segment)
        if size > start:
            _write_again(file, start, size)
            segment.checked = [(start, size)]
            self.files.append(file)

    def _check_order(self, position: int, header: BatchHeader, segment: Segment, *, has_later: bool) -> None:
        """Raise BadBatch unless a batch continues the log."""
        base_offset, epoch = header.base_offset, header.partition_leader_epoch
        if base_offset != self.offset:
            may_be_compacted = self.checkpoint is None and has_later and "compact" in self.settings.cleanup_policy
            if base_offset < self.offset or not may_be_compacted:
                raise BadBatch(position, f"offset {base_offset} follows where {self.offset} should")
            segment.compacted = True
        if self.epochs and epoch < self.epochs[-1][0]:
            raise BadBatch(position, f"leader epoch {epoch} after {self.epochs[-1][0]}")

    def _replay(self, header: BatchHeader) -> None:
        """Bring producers and epochs up to date with a batch, unless the checkpoint was taken after it."""
        self.report.recovered_batches += 1
        if self.checkpoint is not None and header.base_offset < self.checkpoint.log_end_offset:
            return
        self.producer_state.update(header, self.now_ms)
        if not self.epochs or header.partition_leader_epoch > self.epochs[-1][0]:
            self.epochs.append((header.partition_leader_epoch, header.base_offset))

    def _next_good_position(self, segment: Segment, file: File, bad: BadBatch, size: int, later: list[int]) -> int:
        """In doubt, where reading goes on behind a bad batch, which is quarantined; -1 to cut there."""
        if self.checkpoint is not None:
            return -1
        expect = Expectation(
            segment=segment.base_offset,
            end_position=size,
            end_offset=later[0] if later else END_OF_TIME,
            gaps_allowed=True,
            epochs=tuple(self.epochs) or ((0, 0),),
        )
        found = find_batch(file, bad.position, expect, self.offset)
        if found is not None:
            position, header = found
            self._quarantine(segment, header.base_offset, bad.position, position, str(bad))
            return position
        if later and later[0] > self.offset:
            self._quarantine(segment, later[0], bad.position, size, str(bad))
            return size
        return -1

    def _quarantine(self, segment: Segment, end_offset: int, position: int, end_position: int, reason: str) -> None:
        """Everything from `self.offset` up to `end_offset` is damaged; the log goes on behind it."""
        damage = Damage(
            start_offset=self.offset,
            end_offset=end_offset,
            segment=segment.base_offset,
            position=position,
            end_position=end_position,
            reason=reason,
        )
        self.damaged.append(damage)
        self.report.quarantined.append(damage)
        self.offset = end_offset

    def _cut(self, file: File, bad: BadBatch, size: int) -> int:
        """Cut the file at a bad batch; what was there is kept aside, unless it is only zeros. Returns the new size."""
        if _is_zero(file, bad.position, size):
            self.report.preallocated_bytes += size - bad.position
        else:
            self._report_cut(self.offset, size - bad.position, str(bad))
            self._keep_torn(file, bad.position, size)
        file.truncate(bad.position)
        self.files.append(file)
        return bad.position

    def _keep_torn(self, file: File, position: int, size: int) -> None:
        try:
            torn = self.fs.open(f"{self.directory}/{segment_name(self.offset)}{TORN}", create=True)
            torn.truncate(0)
            for at in range(position, size, CHUNK_BYTES):
                torn.pwrite(file.pread(min(CHUNK_BYTES, size - at), at), at - position)
        except DiskFull:
            return  # a full disk must not keep the log from opening, and nobody was promised these bytes
        self.files.append(torn)
        self.directories.append(self.directory)

    # -- With the log

    def _look_through(self, log: "Log") -> None:
        """Find out what is damaged in the suspicious segments, and make again what the checkpoint cannot tell."""
        for segment in self.suspicious:
            expect = damages.expectation(log, segment)
            found = check_range(segment.file(), 0, segment.size_bytes, segment.base_offset, expect)
            if not segment.size_bytes and segment.base_offset < expect.end_offset:
                found = [missing_segment(expect)]
            self.report.read_bytes += segment.size_bytes
            self.report.quarantined += found
            damages.quarantine(log, found)
            segment.mark_checked(0, segment.size_bytes)
        for segment in self.suspicious + self.stale:
            damages.rebuild_indexes(log, segment)


def _write_again(file: File, position: int, end_position: int) -> None:
    for at in range(position, end_position, CHUNK_BYTES):
        file.pwrite(file.pread(min(CHUNK_BYTES, end_position - at), at), at)


def _is_zero(file: File, position: int, end_position: int) -> bool:
    return all(
        not any(file.pread(min(CHUNK_BYTES, end_position - at), at))
        for at in range(position, end_position, CHUNK_BYTES)
    )
