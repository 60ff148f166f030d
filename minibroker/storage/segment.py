"""One segment of a log: a file of record batches, its two indexes, and what is known of it without reading.

A segment does not open its file before somebody needs it, and closed segments share a small cache of descriptors, so
thousands of idle partitions cost memory only. Offsets are absolute here; the indexes hold them relative to the base.
"""

from bisect import insort

import attrs
from fastcrc import crc32

from minibroker.protocol.errors import CorruptMessage
from minibroker.records.batch import HEADER_BYTES, BatchHeader, decode_header
from minibroker.storage.errors import StorageError
from minibroker.storage.files import INDEX, LOG, TIME_INDEX, segment_name
from minibroker.storage.filesystem import Buffer, File, FileSystem
from minibroker.storage.index import MAX_RELATIVE_OFFSET, OffsetIndex, SavedIndex, TimeIndex


@attrs.define(eq=False)
class Segment:
    """The batches from `base_offset` up to the next segment."""

    fs: FileSystem
    directory: str
    base_offset: int
    size_bytes: int = 0
    """Bytes of whole batches; the file may be longer after a failed write."""
    max_timestamp_ms: int = -1
    """The largest timestamp of any batch; -1 if none has one."""
    max_timestamp_offset: int = -1
    """The last offset of the batch that has it."""
    compacted: bool = False
    """Whether records were removed, so that gaps in the offsets are no damage."""
    created_ms: int = 0
    first_timestamp_ms: int | None = None
    """The largest timestamp of the first batch; None while nobody has looked."""
    bytes_since_index: int = 0
    offset_index: OffsetIndex = attrs.field()
    time_index: TimeIndex = attrs.field()
    checked: list[tuple[int, int]] = attrs.field(factory=list)
    """Ranges of positions whose batches were written or checked of late, sorted and disjoint."""
    in_use: bool = False
    """Whether somebody looked something up since the last `release` was considered."""
    has_anchors: bool = True
    """Whether the offset index was made of good batches; one that was made again from headers alone proves nothing."""
    is_torn: bool = False
    """A failed write could not be taken back."""
    is_nameless: bool = False
    """A compaction has not given the file its name yet, so it can only be reached through the open descriptor."""
    _file: File | None = None

    @offset_index.default
    def _make_offset_index(self) -> OffsetIndex:
        return OffsetIndex(self.fs, self._path(INDEX))

    @time_index.default
    def _make_time_index(self) -> TimeIndex:
        return TimeIndex(self.fs, self._path(TIME_INDEX))

    def _path(self, suffix: str) -> str:
        return f"{self.directory}/{segment_name(self.base_offset)}{suffix}"

    @property
    def log_path(self) -> str:
        """Path of the file with the batches."""
        return self._path(LOG)

    @property
    def paths(self) -> tuple[str, str, str]:
        """The segment's files, the batches first."""
        return self._path(LOG), self._path(INDEX), self._path(TIME_INDEX)

    def file(self) -> File:
        """The open file; a closed segment's descriptor is shared through a cache."""
        return self._file or self.fs.open_shared(self._path(LOG))

    def writable(self) -> File:
        """The open file of the active segment; stays open until `rest` or `release`."""
        if self._file is None:
            self._file = self.fs.open(self._path(LOG))
        return self._file

    def create(self) -> File:
        """Make the file, empty whatever was there."""
        self._file = self.fs.open(self._path(LOG), create=True)
        if self._file.size():
            self._file.truncate(0)
        return self._file

    def fits(self, last_offset: int) -> bool:
        """Whether an offset can be indexed here: 31 bits above the base."""
        return last_offset - self.base_offset <= MAX_RELATIVE_OFFSET

    def append(self, batch: Buffer, header: BatchHeader, index_interval_bytes: int) -> None:
        """Write a batch at the end; on failure the segment is as before, unless even the clean-up fails."""
        position = self.size_bytes
        file = self._file or self.writable()
        try:
            file.pwrite(batch, position)
        except StorageError:
            self._take_back(file, position)
            raise
        self.note(header, position, index_interval_bytes)
        size_bytes = self.size_bytes = position + header.batch_length + 12
        ranges = self.checked
        if ranges and ranges[-1][1] == position:
            ranges[-1] = (ranges[-1][0], size_bytes)
        else:
            ranges.append((position, size_bytes))

    def _take_back(self, file: File, position: int) -> None:
        try:
            file.truncate(position)
        except StorageError:
            self.is_torn = True

    def note(self, header: BatchHeader, position: int, index_interval_bytes: int) -> None:
        """Bring indexes and timestamps up to date with a batch at `position`, in Kafka's way."""
        last_offset = header.base_offset + header.last_offset_delta
        if position == 0:
            self.first_timestamp_ms = header.max_timestamp
        if header.max_timestamp > self.max_timestamp_ms and header.record_count:  # else compaction has emptied it
            self.max_timestamp_ms = header.max_timestamp
            self.max_timestamp_offset = last_offset
        if self.bytes_since_index > index_interval_bytes:
            self.offset_index.append(last_offset - self.base_offset, position)
            self._append_time_entry()
            self.bytes_since_index = 0
        self.bytes_since_index += header.batch_length + 12

    def _append_time_entry(self) -> None:
        if self.max_timestamp_ms >= 0:
            self.time_index.maybe_append(self.max_timestamp_ms, self.max_timestamp_offset - self.base_offset)

    def seal(self) -> list[File]:
        """Complete the indexes when the segment becomes a closed one; returns the files to sync with it."""
        self._append_time_entry()
        return [
            self.fs.open(index.path, create=True)
            for index in (self.offset_index, self.time_index)
            if index.save() and index.size_bytes
        ]

    def save_indexes(self) -> tuple[SavedIndex | None, SavedIndex | None]:
        """Write unsaved index entries and say what is good on disk; None for an index that could not be written."""
        return (
            self.offset_index.saved if self.offset_index.save() else None,
            self.time_index.saved if self.time_index.save() else None,
        )

    def is_checked(self, position: int, end_position: int) -> bool:
        """Whether every batch of a range was written or checked of late."""
        return any(start <= position and end_position <= end for start, end in self.checked)

    def mark_checked(self, position: int, end_position: int) -> None:
        """Remember that a range holds good batches."""
        touching = [r for r in self.checked if r[0] <= end_position and position <= r[1]]
        for start, end in touching:
            self.checked.remove((start, end))
            position, end_position = min(position, start), max(end_position, end)
        insort(self.checked, (position, end_position))

    def load_first_timestamp(self) -> int:
        """`first_timestamp_ms`, from the first batch if it is not known; -1 if there is none or it has none."""
        if self.first_timestamp_ms is None:
            try:
                self.first_timestamp_ms = decode_header(self.file().pread(HEADER_BYTES, 0)).max_timestamp
            except CorruptMessage:
                self.first_timestamp_ms = -1
        return self.first_timestamp_ms

    def jitter_ms(self, max_jitter_ms: int) -> int:
        """This segment's share of `segment.jitter.ms`: always the same, but another for each segment."""
        if max_jitter_ms <= 0:
            return 0
        return crc32.iscsi(self.log_path.encode()) % max_jitter_ms

    def blank(self) -> "Segment":
        """One of which `note` is to be told all batches again, for `take_contents`."""
        return Segment(self.fs, self.directory, self.base_offset, first_timestamp_ms=self.first_timestamp_ms)

    def take_contents(self, fresh: "Segment") -> None:
        """Take over the indexes and what else was learnt from the batches."""
        self.offset_index, self.time_index = fresh.offset_index, fresh.time_index
        self.has_anchors = False
        self.first_timestamp_ms = fresh.first_timestamp_ms
        self.max_timestamp_ms, self.max_timestamp_offset = fresh.max_timestamp_ms, fresh.max_timestamp_offset
        self.bytes_since_index = fresh.bytes_since_index

    def rest(self) -> None:
        """Let go of the descriptor, when all that was written through it is durable."""
        if not self.is_nameless:
            self._file = None

    def release(self) -> None:
        """Let go of the descriptor and the loaded indexes, once nothing is written here any more."""
        self.rest()
        self.offset_index.unload()
        self.time_index.unload()
