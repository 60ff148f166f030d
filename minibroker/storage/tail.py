"""Recovering what lies from the durable end on: read batch by batch, kept as long as each continues the one before.

The first bad byte ends the log, for what is not durable was never acknowledged. What is cut is kept in a `.torn` file.
That comes before the cut: if a recovery is killed between the two and the sync, the next one knows that there is
something to be synced, or a power cut could bring the bytes back, behind new ones. What is kept is written again in
place: a page that a failed sync left clean may not be on the disk. Without a checkpoint nothing is known to be durable,
so in doubt a good batch behind the bad one makes it damage in place of an end.
"""

import attrs

from minibroker.records.batch import LEADER_EPOCH, BatchHeader
from minibroker.storage.errors import DiskFull
from minibroker.storage.files import INDEX, LOG, TIME_INDEX, TORN, segment_name
from minibroker.storage.filesystem import File, FileSystem
from minibroker.storage.integrity import Damage, Expectation, find_batch
from minibroker.storage.log_checkpoint import SegmentState
from minibroker.storage.producer_state import ProducerState
from minibroker.storage.segment import Segment
from minibroker.storage.settings import LogSettings
from minibroker.storage.walk import CHUNK_BYTES, BadBatch, walk_batches

MAX_OFFSET = 2**63 - 1


@attrs.define(kw_only=True)
class RecoveryReport:
    """What opening a log found and did."""

    name: str
    read_bytes: int = 0
    """Bytes that were read and checked."""
    recovered_batches: int = 0
    """Good batches beyond the durable end that the checkpoint knew."""
    cut_bytes: int = 0
    """Bytes cut from the end: never acknowledged."""
    cut_offset: int | None = None
    """The offset they claimed."""
    cut_reason: str = ""
    preallocated_bytes: int = 0
    """Zeros at the end, which are nobody's data."""
    quarantined: list[Damage] = attrs.field(factory=list)
    """Damage found now."""
    completed_swaps: list[tuple[int, int]] = attrs.field(factory=list)
    """Base and end offsets of compacted segments put in place."""
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


@attrs.define(eq=False, kw_only=True)
class Recovered:
    """A log in the making: what is known of it so far."""

    fs: FileSystem
    directory: str
    settings: LogSettings
    now_ms: int
    in_doubt: bool
    was_cut: bool
    """There is a `.torn` file; whether the cut that left it has reached the disk nobody knows."""
    was_compacted: bool
    """Compaction may have been here, so that missing offsets are no damage."""
    sizes: dict[str, int]
    """Of the files that were found."""
    report: RecoveryReport
    producer_state: ProducerState
    damaged: list[Damage]
    segments: list[Segment] = attrs.field(factory=list)
    offset: int = 0
    """Where the log ends as far as it is known."""
    files: list[File] = attrs.field(factory=list)
    """To be synced with the next flush."""
    directories: list[str] = attrs.field(factory=list)

    def file_size(self, base_offset: int) -> int:
        """Size of a segment's file when it was found, 0 without one."""
        return self.sizes.get(segment_name(base_offset) + LOG, 0)

    def add_segment(self, base_offset: int, state: SegmentState | None = None) -> Segment:
        """A segment whose file exists."""
        segment = Segment(self.fs, self.directory, base_offset, created_ms=self.now_ms)
        if state is not None:
            state.apply(segment)
        self.segments.append(segment)
        return segment

    def create_segment(self, base_offset: int) -> Segment:
        """A new, empty one."""
        segment = self.add_segment(base_offset)
        self.files.append(segment.create())
        self.directories.append(self.directory)
        return segment

    def quarantine(self, segment: Segment, end_offset: int, position: int, end_position: int, reason: str) -> None:
        """Everything from `offset` up to `end_offset` is damaged; the log goes on behind it."""
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

    # -- The tail

    def recover_segments(self, bases: list[int]) -> None:
        """Add segments one after another as long as each begins where the one before ended; the rest is set aside."""
        while bases:
            base, bases = bases[0], bases[1:]
            if base != self.offset and not self._bridge(base):
                self._set_aside([base, *bases])
                return
            self.recover_segment(self.add_segment(base), 0, bases)
            self.directories.append(self.directory)

    def _bridge(self, base_offset: int) -> bool:
        """In doubt, a segment that begins later than the one before ended makes the offsets between a damage."""
        if not self.in_doubt or base_offset < self.offset:
            return False
        last = self.segments[-1]
        if self.was_compacted:
            last.compacted = True
            self.offset = base_offset
        else:
            self.quarantine(last, base_offset, last.size_bytes, last.size_bytes, "the end of the segment is missing")
        return True

    def _set_aside(self, bases: list[int]) -> None:
        """Segments beyond the end were never acknowledged; they stay as `.torn` files."""
        for base in bases:
            stem = f"{self.directory}/{segment_name(base)}"
            self.fs.rename(stem + LOG, stem + TORN)
            self.fs.unlink(stem + INDEX)
            self.fs.unlink(stem + TIME_INDEX)
            self._report_cut(self.offset, self.file_size(base), f"segment {base} does not follow")
        self.directories.append(self.directory)

    def _report_cut(self, offset: int, size_bytes: int, reason: str) -> None:
        if size_bytes and self.report.cut_offset is None:
            self.report.cut_offset, self.report.cut_reason = offset, reason
        self.report.cut_bytes += size_bytes

    def recover_segment(self, segment: Segment, start: int, later: list[int]) -> None:
        """Read a segment from the position `start`, where `offset` is. `later`: base offsets of those behind it."""
        size = self.file_size(segment.base_offset)
        if size <= start:  # exactly as the checkpoint says, or new and empty
            if self.was_cut:
                self.files.append(segment.writable())
            return
        file = segment.writable()
        position = start
        while position < size:
            try:
                for at, header, batch in walk_batches(file, position, size):
                    self._check_order(at, header, segment, has_later=bool(later))
                    segment.note(header, at, self.settings.index_interval_bytes)
                    self._replay(header)
                    self.offset = header.next_offset
                    position = at + len(batch)
            except BadBatch as bad:
                position = self._next_good_position(segment, file, bad, size, later)
                if position < 0:
                    position = size = self._cut(file, bad, size)
        segment.size_bytes = size
        self.report.read_bytes += size - start
        if size > start:
            _write_again(file, start, size)
            segment.checked = [(start, size)]
            if later:  # of a large log in doubt not all can be open at once
                file.sync_data()
                segment.rest()
            else:
                self.files.append(file)

    def _check_order(self, position: int, header: BatchHeader, segment: Segment, *, has_later: bool) -> None:
        """Raise BadBatch unless a batch continues the log."""
        if header.base_offset != self.offset:
            may_have_gaps = self.in_doubt and has_later and self.was_compacted
            if header.base_offset < self.offset or not may_have_gaps:
                raise BadBatch(position, f"offset {header.base_offset} follows where {self.offset} should")
            segment.compacted = True
        if header.partition_leader_epoch != LEADER_EPOCH:
            raise BadBatch(position, f"leader epoch {header.partition_leader_epoch} and not {LEADER_EPOCH}")

    def _replay(self, header: BatchHeader) -> None:
        """Bring producers up to date with a batch."""
        self.report.recovered_batches += 1
        self.producer_state.update(header, self.now_ms)

    def _next_good_position(self, segment: Segment, file: File, bad: BadBatch, size: int, later: list[int]) -> int:
        """In doubt, where reading goes on behind a bad batch, which is quarantined; -1 to cut there."""
        if not self.in_doubt:
            return -1
        expect = Expectation(
            segment=segment.base_offset,
            end_position=size,
            end_offset=later[0] if later else MAX_OFFSET,
            gaps_allowed=True,
        )
        found = find_batch(file, bad.position, expect, self.offset)
        if found is not None:
            position, header = found
            self.quarantine(segment, header.base_offset, bad.position, position, str(bad))
            return position
        if later and later[0] > self.offset:
            self.quarantine(segment, later[0], bad.position, size, str(bad))
            return size
        return -1

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


def _write_again(file: File, position: int, end_position: int) -> None:
    for at in range(position, end_position, CHUNK_BYTES):
        file.pwrite(file.pread(min(CHUNK_BYTES, end_position - at), at), at)


def _is_zero(file: File, position: int, end_position: int) -> bool:
    steps = range(position, end_position, CHUNK_BYTES)
    return not any(any(file.pread(min(CHUNK_BYTES, end_position - at), at)) for at in steps)
