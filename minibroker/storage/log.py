"""The log of one partition: segments in a directory, appended to now, durable later, readable below the durable end.

    append            volatile: in the page cache, lost by a power cut
    begin_flush       says which files to sync; whoever calls it syncs them, in any thread
    complete_flush    moves the durable end; only below it may anything be acknowledged or served

A segment rolled in between is part of the next flush point, with its directory entry. All methods belong to one thread;
only the files of a flush point and file slices may go to others. After a failed sync the log refuses everything.
"""

import contextlib
import uuid
from bisect import bisect_right
from collections.abc import Iterator

import attrs

from minibroker.protocol.errors import OffsetOutOfRange
from minibroker.records.batch import BatchHeader
from minibroker.storage import damages, reading, recovery, retention, timestamps
from minibroker.storage.errors import LogOffline, MissingFile, StorageError
from minibroker.storage.files import PARTITION_METADATA, decode_partition_metadata, encode_partition_metadata
from minibroker.storage.filesystem import Buffer, File, FileSystem, parent_directory
from minibroker.storage.integrity import Damage
from minibroker.storage.log_checkpoint import ORIGIN, Capture, LogCheckpoint, LogPosition, SegmentState
from minibroker.storage.producer_state import ProducerState
from minibroker.storage.reading import FileSlice
from minibroker.storage.segment import Segment
from minibroker.storage.settings import LogSettings
from minibroker.storage.tail import RecoveryReport


@attrs.frozen(kw_only=True)
class FlushPoint:
    """What must be synced to make the log durable up to an offset. Every file and every directory, in any order."""

    files: tuple[File, ...]
    directories: tuple[str, ...]
    end: LogPosition

    @property
    def end_offset(self) -> int:
        """The durable end once all is synced."""
        return self.end.offset


@attrs.define(eq=False)
class Log:
    """An append-only sequence of record batches with dense offsets (until compaction thins them out)."""

    fs: FileSystem
    directory: str
    settings: LogSettings
    topic_id: uuid.UUID
    segments: list[Segment]
    """Ascending and never empty; the last one is the active one."""
    log_start_offset: int
    log_end_offset: int
    durable: LogPosition
    """The durable end. What lies beyond may be neither acknowledged nor served."""
    producer_state: ProducerState = attrs.field(factory=ProducerState)
    damaged: list[Damage] = attrs.field(factory=list)
    """Quarantined ranges, ascending and disjoint."""
    removed: list[Segment] = attrs.field(factory=list)
    """Segments below the log start, ascending; their files go once a checkpoint says so."""
    compacted_offset: int = 0
    """Below it compaction has been."""
    in_compaction: frozenset[int] = frozenset()
    """Base offsets of segments that may be replaced at any time: what is found damaged in them is in no checkpoint yet,
    for a restart could not tell to which file it belongs."""
    checkpointed: LogPosition = ORIGIN
    """The durable end that the checkpoint on disk knows: its segment, and what follows, must keep its bytes."""
    needs_checkpoint: bool = True
    captured: Capture | None = None
    """What is to be said of the durable end in the next checkpoint; None until the first flush is complete."""
    failure: StorageError | None = None
    is_unmade: bool = False
    """Whether there is no directory yet, for nothing was ever appended."""
    hints: dict[int, tuple[Segment, int]] = attrs.field(factory=dict)
    """Where slices ended: the reader that follows asks for exactly that offset."""
    _unsynced_files: list[File] = attrs.field(factory=list)
    _unsynced_directories: list[str] = attrs.field(factory=list)
    _capturing: Capture | None = None
    """Becomes `captured` when the flush that it was taken for is complete."""
    _capture_wanted: bool = False
    _flushing: LogPosition = attrs.field()

    @_flushing.default
    def _nothing_in_flight(self) -> LogPosition:
        return self.durable

    @classmethod
    def create(
        cls, fs: FileSystem, directory: str, settings: LogSettings, topic_id: uuid.UUID, now_ms: int = 0
    ) -> "Log":
        """The log of a new partition.

        Its directory is made with the first append: a hundred thousand partitions can be asked for in a few bytes, and
        must take neither descriptors nor space before somebody writes to them.
        """
        return cls(
            fs=fs,
            directory=directory,
            settings=settings,
            topic_id=topic_id,
            segments=[Segment(fs, directory, 0, created_ms=now_ms)],
            log_start_offset=0,
            log_end_offset=0,
            durable=LogPosition(0, 0, 0),
            is_unmade=True,
        )

    @classmethod
    def open(
        cls,
        fs: FileSystem,
        directory: str,
        settings: LogSettings,
        checkpoint: LogCheckpoint | None,
        now_ms: int,
        *,
        topic_id: uuid.UUID | None = None,
    ) -> "tuple[Log, RecoveryReport]":
        """Open a partition's directory, recovering what lies beyond the durable end that the checkpoint knows.

        `checkpoint` None means doubt: everything is read, and damage quarantined rather than cut. What was recovered is
        volatile: flush the log before anything of it is served. `topic_id` saves a read; a checkpoint of another id is
        that of a deleted namesake. Raises StorageError.
        """
        return recovery.open_log(cls, fs, directory, settings, checkpoint, now_ms, topic_id)

    @property
    def name(self) -> str:
        """Name of the partition's directory."""
        return self.directory.rpartition("/")[2]

    @property
    def active(self) -> Segment:
        """The segment that is appended to."""
        return self.segments[-1]

    @property
    def durable_end_offset(self) -> int:
        """What lies below survives a power cut."""
        return self.durable.offset

    @property
    def size_bytes(self) -> int:
        """Bytes of record batches in all segments."""
        return sum(segment.size_bytes for segment in self.segments)

    # -- Writing

    def append(self, batch: Buffer, header: BatchHeader, now_ms: int) -> None:
        """Append a validated batch that carries its final offsets; volatile until the next flush.

        Raises DiskFull or StorageError, and then the log is as it was.
        """
        if self.failure is not None:
            self._refuse()
        segment = self.segments[-1]
        if segment.size_bytes and self._roll_due(segment, header, now_ms):
            self.roll(now_ms)
            segment = self.segments[-1]
        assert header.base_offset >= self.log_end_offset, (header, self.log_end_offset)
        if self.is_unmade:
            self._check_nobody_is_there()
        try:
            if self.is_unmade:
                self._make(segment)
            segment.append(batch, header, self.settings.index_interval_bytes)
        except StorageError:
            if segment.is_torn:
                self.fail(StorageError(f"{segment.log_path} could not be taken back to where it was"))
            elif self.is_unmade:
                self._unmake(segment)
            raise
        self.is_unmade = False
        self.log_end_offset = header.base_offset + header.last_offset_delta + 1
        if header.producer_id >= 0:
            self.producer_state.update(header, now_ms)

    def _check_nobody_is_there(self) -> None:
        """Where file systems ignore case, the directory of another topic may have this name. Raises StorageError."""
        with contextlib.suppress(MissingFile):
            found = decode_partition_metadata(self.fs.read(f"{self.directory}/{PARTITION_METADATA}"))
            if found not in (None, self.topic_id):
                raise StorageError(f"{self.directory} is another topic's: this file system ignores case")

    def _make(self, segment: Segment) -> None:
        """Make the directory. It is durable after the next flush, like everything else."""
        self.fs.mkdir(self.directory)
        metadata = self.fs.open(f"{self.directory}/{PARTITION_METADATA}", create=True)
        metadata.truncate(0)
        metadata.pwrite(encode_partition_metadata(self.topic_id), 0)
        self._unsynced_files = [metadata, segment.create()]
        self._unsynced_directories = [self.directory, parent_directory(self.directory)]

    def _unmake(self, segment: Segment) -> None:
        """Leave nothing of what the first append could not complete, neither files nor descriptors of them."""
        segment.release()
        self._unsynced_files, self._unsynced_directories = [], []
        with contextlib.suppress(StorageError):  # what stays is made anew by the next append
            for path in (segment.log_path, f"{self.directory}/{PARTITION_METADATA}"):
                self.fs.unlink(path)
            self.fs.rmdir(self.directory)

    def _roll_due(self, segment: Segment, header: BatchHeader, now_ms: int) -> bool:
        """Kafka's rule: too large, too old by the records' own clock (or ours without one), or out of 31 bits."""
        settings = self.settings
        if segment.size_bytes + header.batch_length + 12 > settings.segment_bytes:
            return True
        if not segment.fits(header.last_offset):
            return True
        first_ms = segment.first_timestamp_ms
        if first_ms is None:
            first_ms = segment.load_first_timestamp()
        age_ms = header.max_timestamp - first_ms if first_ms >= 0 else now_ms - segment.created_ms
        return age_ms > settings.segment_ms - segment.jitter_ms(settings.segment_jitter_ms)

    def roll(self, now_ms: int) -> None:
        """Close the active segment and begin a new one at the log end. On failure nothing has changed."""
        if self.failure is not None:
            self._refuse()
        if self.segments[-1].size_bytes:
            self._begin_segment(now_ms)

    def continue_at(self, offset: int, now_ms: int) -> None:
        """Go on at an offset beyond the end, for what was before it is deleted, and then lost. Raises StorageError.

        Volatile until the next flush, like what is appended.
        """
        assert offset > self.log_end_offset
        self.log_end_offset = offset
        if self.is_unmade:
            self.segments = [Segment(self.fs, self.directory, offset, created_ms=now_ms)]
            self._make(self.segments[0])
            self.is_unmade = False
        else:
            self._begin_segment(now_ms)

    def _begin_segment(self, now_ms: int) -> None:
        old = self.segments[-1]
        files = [old.writable()] if self._flushing.offset != self.log_end_offset else []
        files += old.seal()
        new = Segment(self.fs, self.directory, self.log_end_offset, created_ms=now_ms)
        # The last that can fail: an empty file that stays behind would, once the log has passed it, look like its end.
        files.append(self._create(new))
        old.release()
        self._unsynced_files += files
        self._unsynced_directories.append(self.directory)
        self.segments.append(new)
        self.needs_checkpoint = True

    def _create(self, segment: Segment) -> File:
        try:
            return segment.create()
        except StorageError:
            try:
                self.fs.unlink(segment.log_path)
            except StorageError as error:
                self.fail(error)
            raise

    # -- Making durable

    @property
    def _is_dirty(self) -> bool:
        return (
            self._flushing.offset != self.log_end_offset
            or bool(self._unsynced_files)
            or bool(self._unsynced_directories)
        )

    def begin_flush(self) -> FlushPoint | None:
        """What to sync so that everything appended so far is durable; None if that is so, or being done, already.

        A log that is offline because a write failed still owes that to whoever wrote before; one of which all is durable,
        for it was never open perhaps, owes nothing.
        """
        if self.failure is not None:
            if self.log_end_offset == self.durable.offset:
                return None
            if not self.segments[-1].is_torn:
                self._refuse()
        active = self.segments[-1]
        files, directories = self._unsynced_files, self._unsynced_directories
        if not self._is_dirty:
            return None
        if self._flushing.offset != self.log_end_offset and active.size_bytes:
            files.append(active.writable())
        self._unsynced_files, self._unsynced_directories = [], []
        self._flushing = LogPosition(self.log_end_offset, active.base_offset, active.size_bytes)
        if self._capture_wanted:
            self._capture_wanted = False
            self._capturing = self._capture()
        return FlushPoint(
            files=tuple(dict.fromkeys(files)), directories=tuple(dict.fromkeys(directories)), end=self._flushing
        )

    def complete_flush(self, point: FlushPoint) -> None:
        """Everything in `point` was synced without an error. Points complete in the order in which they began."""
        assert point.end.offset >= self.durable.offset, (point, self.durable)
        if self.failure is None:
            self.durable = point.end
            self.needs_checkpoint = True
            if self._capturing is not None and self._capturing.end.offset <= point.end.offset:
                self.captured, self._capturing = self._capturing, None

    def flush(self) -> None:
        """Make everything durable at once, in this thread. A failure takes the log offline."""
        point = self.begin_flush()
        if point is None:
            return
        try:
            for file in point.files:
                file.sync_data()
            for directory in point.directories:
                self.fs.sync_directory(directory)
        except StorageError as error:
            self.fail(error)
            raise
        self.complete_flush(point)

    def fail(self, error: StorageError) -> None:
        """Refuse everything from now on: a sync failed, so what the page cache shows may not be on the disk."""
        self.failure = self.failure or error

    def _refuse(self) -> None:
        raise LogOffline(f"{self.name} is offline: {self.failure}") from self.failure

    # -- Checkpoints

    def begin_checkpoint(self) -> LogCheckpoint | None:
        """What the checkpoint file should say of this log; None if nothing changed since the last time.

        An idle log is described as it is, and has no descriptor if it is idle still the next time. A busy one as it was
        in a flush round since the last call: what is volatile has no place in a checkpoint.
        """
        if self.failure is not None or self.is_unmade:
            return None
        is_idle = self._flushing is self.durable and not self._is_dirty
        self._capture_wanted = not is_idle
        if not self.needs_checkpoint:
            if is_idle:
                self.segments[-1].rest()
            return None
        if is_idle:
            self.captured = self._capture()
            self.needs_checkpoint = False
        captured = self.captured
        if captured is None:
            return None
        end = captured.end
        closed = [SegmentState.of(segment) for segment in self.segments if segment.base_offset < end.segment]
        return LogCheckpoint(
            topic_id=self.topic_id,
            log_start_offset=self.log_start_offset,
            durable=end,
            compacted_offset=self.compacted_offset,
            segments=(*closed, captured.active),
            producers=captured.producers,
            damaged=tuple(damage for damage in self.damaged if damage.segment not in self.in_compaction),
        )

    def _capture(self) -> Capture:
        active = self.segments[-1]
        end = LogPosition(self.log_end_offset, active.base_offset, active.size_bytes)
        return Capture(end, SegmentState.of(active), self.producer_state.snapshot())

    def complete_checkpoint(self, checkpoint: LogCheckpoint) -> None:
        """The checkpoint file with this is durable: files below its log start may go. Raises StorageError."""
        if self.failure is not None:
            return  # deleted meanwhile, perhaps, and the files with these names are a namesake's
        self.checkpointed = checkpoint.durable
        retention.remove_files(self, checkpoint)

    # -- Reading

    def read(self, offset: int, max_bytes: int, end_offset: int, *, min_one_batch: bool = True) -> FileSlice | None:
        """Whole batches of one segment from the one that holds `offset`, ending at or before `end_offset`.

        At most `max_bytes`, save for a single larger batch if `min_one_batch`. None if there is nothing. A slice that
        is not `checked` may not be served: `find_damage` in any thread, `finish_check`, and read again. Raises
        OffsetOutOfRange and CorruptLog.
        """
        if self.failure is not None:
            self._refuse()
        if not self.log_start_offset <= offset <= self.log_end_offset:
            raise OffsetOutOfRange(
                f"offset {offset} of {self.name}, which holds {self.log_start_offset} to {self.log_end_offset}"
            )
        if offset >= end_offset:
            return None
        return reading.read_slice(self, offset, max_bytes, end_offset, min_one_batch)

    def finish_check(self, checked: FileSlice, found: list[Damage]) -> None:
        """Take in what `FileSlice.find_damage` found: mark the slice as good, or quarantine what is not."""
        damages.finish_check(self, checked, found)

    def read_batches(self, start_offset: int, end_offset: int) -> Iterator[tuple[BatchHeader, memoryview]]:
        """Every batch with an offset in the range, CRC checked, in big reads. Quarantined ranges are passed over."""
        return reading.read_batches(self, start_offset, end_offset)

    def segment_slot(self, offset: int) -> int:
        """Index in `segments` of the one whose range holds an offset."""
        return max(bisect_right(self.segments, offset, key=_base_offset) - 1, 0)

    def next_base_offset(self, segment: Segment) -> int:
        """The first offset beyond a segment."""
        slot = bisect_right(self.segments, segment.base_offset, key=_base_offset)
        return self.segments[slot].base_offset if slot < len(self.segments) else self.log_end_offset

    def offset_for_timestamp(self, timestamp_ms: int, end_offset: int) -> timestamps.Search:
        """Find (offset, timestamp in ms) of the first record at or after a time; None if there is none below the end."""
        return timestamps.offset_for_timestamp(self, timestamp_ms, end_offset)

    def offset_of_max_timestamp(self, end_offset: int) -> timestamps.Search:
        """Find (offset, timestamp in ms) of the first record with the largest timestamp; None in an empty log."""
        return timestamps.offset_of_max_timestamp(self, end_offset)

    # -- Removing

    def advance_log_start(self, offset: int) -> None:
        """Make everything below `offset` unreadable. Durable with the next checkpoint, which also removes the files.

        Raises OffsetOutOfRange beyond the durable end.
        """
        retention.advance_log_start(self, offset)

    def delete_old_segments(self, now_ms: int) -> list[str]:
        """Apply retention by time and size; returns one line per segment that went, with the reason.

        `now_ms` must come from a clock that does not jump.
        """
        return retention.delete_old_segments(self, now_ms)

    def release_idle(self) -> None:
        """Forget the loaded indexes of closed segments in which nobody looked anything up since the last call."""
        for segment in self.segments[:-1]:
            if not segment.in_use:
                segment.release()
            segment.in_use = False

    def close(self) -> None:
        """Flush, and let go of every descriptor. The last checkpoint comes after it."""
        if self.failure is None:
            self.flush()
        for segment in self.segments:
            segment.release()


def _base_offset(segment: Segment) -> int:
    return segment.base_offset
