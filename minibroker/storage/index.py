"""The two sparse indexes of a segment, in Kafka's formats.

    .index      8 bytes each:  relative offset int32, position int32      of a batch: its *last* offset, its first byte
    .timeindex  12 bytes each: timestamp int64, relative offset int32     the largest timestamp so far, and the last
                                                                          offset of the batch that brought it

Relative offsets count from the segment's base offset. An entry is made for the first batch that begins more than
`index.interval.bytes` after the batch of the entry before. Both grow strictly, the time index in its timestamps.

Entries gather in memory and reach the file now and then: an index is only a shortcut, rebuilt from the segment whenever
it cannot be trusted. What is trusted is decided by a CRC over the saved bytes which the checkpoint keeps, since Kafka's
format has none.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from struct import Struct

import attrs
from fastcrc import crc32

from minibroker.storage.errors import StorageError
from minibroker.storage.filesystem import FileSystem

MAX_RELATIVE_OFFSET = 2**31 - 1

_OFFSET_ENTRY = Struct(">ii")
_TIME_ENTRY = Struct(">qi")


class IndexDamaged(StorageError):
    """The file does not hold what was saved; the index must be rebuilt from its segment."""


@attrs.frozen
class SavedIndex:
    """How much of an index file is good: its length and CRC-32C."""

    size_bytes: int = 0
    crc: int = 0


@attrs.define(eq=False)
class SparseIndex:
    """Entries of one index file: those saved, those not yet, and, once somebody looked something up, all in memory."""

    fs: FileSystem
    path: str
    saved: SavedIndex | None = SavedIndex()
    """None: the file is not to be trusted, rebuild before use."""
    unsaved: bytearray = attrs.field(factory=bytearray)
    _words: "array[int] | None" = None
    """The loaded entries as 32-bit words in the machine's byte order."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all entries, saved or not."""
        return (self.saved.size_bytes if self.saved else 0) + len(self.unsaved)

    def _append(self, entry: bytes) -> None:
        self.unsaved += entry
        if self._words is not None:
            self._words.extend(_to_words(entry))

    def save(self) -> bool:
        """Write what is unsaved; False if the disk is full or failing (the entries then stay in memory)."""
        if self.saved is None:
            return False
        if not self.unsaved:
            return True
        try:
            file = self.fs.open(self.path, create=True)
            if self.saved.size_bytes == 0:
                file.truncate(0)  # whatever an earlier life left there
            file.pwrite(self.unsaved, self.saved.size_bytes)
        except StorageError:
            return False
        size_bytes = self.saved.size_bytes + len(self.unsaved)
        self.saved = SavedIndex(size_bytes, crc32.iscsi(self.unsaved, self.saved.crc))
        self.unsaved = bytearray()
        return True

    def words(self) -> "array[int]":
        """All entries as 32-bit words, loaded on first use. Raises IndexDamaged."""
        if self._words is None:
            self._words = _to_words(self._read_saved() + self.unsaved)
        return self._words

    def unload(self) -> None:
        """Forget the loaded entries; the next lookup reads them again."""
        self._words = None

    def _read_saved(self) -> bytes:
        if self.saved is None:
            raise IndexDamaged(f"{self.path} is not to be trusted")
        if self.saved.size_bytes == 0:
            return b""
        try:
            content = self.fs.read(self.path)[: self.saved.size_bytes]
        except StorageError as error:
            raise IndexDamaged(str(error)) from error
        if len(content) != self.saved.size_bytes or crc32.iscsi(content) != self.saved.crc:
            raise IndexDamaged(f"{self.path} does not hold the {self.saved.size_bytes} bytes that were saved")
        return content


@attrs.define(eq=False)
class OffsetIndex(SparseIndex):
    """Where batches begin, by their last offset."""

    def append(self, relative_offset: int, position: int) -> None:
        """Add the batch at `position` whose last offset is `relative_offset`."""
        self._append(_OFFSET_ENTRY.pack(relative_offset, position))

    def __len__(self) -> int:
        return self.size_bytes // _OFFSET_ENTRY.size

    def entry(self, slot: int) -> tuple[int, int]:
        """(relative offset, position) of entry `slot`."""
        words = self.words()
        return words[2 * slot], words[2 * slot + 1]

    def floor(self, relative_offset: int) -> int:
        """The slot of the last entry at or below an offset; -1 if there is none."""
        words = self.words()
        return bisect_right(range(len(words) // 2), relative_offset, key=lambda slot: words[2 * slot]) - 1

    def remove(self, slot: int) -> None:
        """Drop an entry that leads nowhere. The next `save` writes the file anew."""
        words = self.words()
        self._words = words[: 2 * slot] + words[2 * slot + 2 :]  # another thread may be reading the old one
        self.saved = SavedIndex()
        self.unsaved = bytearray(_from_words(self._words))

    def floor_of_position(self, position: int) -> int:
        """The slot of the last entry at or below a position; -1 if there is none."""
        words = self.words()
        return bisect_right(range(len(words) // 2), position, key=lambda slot: words[2 * slot + 1]) - 1


@attrs.define(eq=False)
class TimeIndex(SparseIndex):
    """How far one must go to have seen a timestamp."""

    last_timestamp_ms: int = -1
    """Of the last entry."""

    def maybe_append(self, timestamp_ms: int, relative_offset: int) -> None:
        """Add (largest timestamp so far, last offset of its batch), unless the last entry says it already."""
        if timestamp_ms > self.last_timestamp_ms:
            self.last_timestamp_ms = timestamp_ms
            self._append(_TIME_ENTRY.pack(timestamp_ms, relative_offset))

    def __len__(self) -> int:
        return self.size_bytes // _TIME_ENTRY.size

    def entry(self, slot: int) -> tuple[int, int]:
        """(timestamp in ms, relative offset) of entry `slot`."""
        words = self.words()
        return _timestamp(words, slot), words[3 * slot + 2]

    def last_below(self, timestamp_ms: int) -> int:
        """The slot of the last entry below a timestamp; -1 if there is none."""
        words = self.words()
        return bisect_left(range(len(words) // 3), timestamp_ms, key=lambda slot: _timestamp(words, slot)) - 1

    def last_before_offset(self, relative_offset: int) -> int:
        """The slot of the last entry whose offset is below `relative_offset`; -1 if there is none."""
        words = self.words()
        return bisect_left(range(len(words) // 3), relative_offset, key=lambda slot: words[3 * slot + 2]) - 1


def _timestamp(words: "array[int]", slot: int) -> int:
    return (words[3 * slot] << 32) | (words[3 * slot + 1] & 0xFFFF_FFFF)


def _from_words(words: "array[int]") -> bytes:
    words = words[:]
    if sys.byteorder == "little":
        words.byteswap()
    return words.tobytes()


def _to_words(entries: bytes | bytearray) -> "array[int]":
    words = array("i")
    words.frombytes(entries)
    if sys.byteorder == "little":
        words.byteswap()
    return words
