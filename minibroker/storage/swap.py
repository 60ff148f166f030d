"""A compacted segment takes the place of the segments it was made from, so that a crash at any step loses nothing.

    1  NNN.cleaned       written and synced     a crash leaves garbage
    2  NNN-MMM.swap      renamed                from here on a restart completes the swap
    3  the old files with base offsets from NNN up to MMM are removed
    4  NNN.log           renamed

Each step is durable before the next: else a crash could leave an old index beside the new segment, an old segment
within its offsets, or a swap without its content. `recover_compaction` is what a restart does first in a directory.
"""

import attrs

from minibroker.records.batch import BatchHeader
from minibroker.storage.files import (
    CLEANED,
    INDEX,
    LOG,
    TIME_INDEX,
    base_offset_of,
    parse_swap_name,
    segment_name,
    swap_name,
)
from minibroker.storage.filesystem import File, FileSystem
from minibroker.storage.segment import Segment

WRITE_BYTES = 1_048_576


def cleaned_path(directory: str, base_offset: int) -> str:
    """Path of the file that step 1 writes."""
    return f"{directory}/{segment_name(base_offset)}{CLEANED}"


def swap_path(directory: str, base_offset: int, end_offset: int) -> str:
    """Path of the file between steps 2 and 4."""
    return f"{directory}/{swap_name(base_offset, end_offset)}"


@attrs.define(eq=False)
class SegmentWriter:
    """Step 1: writes a new segment's file in big pieces; its indexes stay in memory."""

    file: File
    segment: Segment
    index_interval_bytes: int
    _buffer: bytearray = attrs.field(factory=bytearray)

    def __attrs_post_init__(self) -> None:
        self.file.truncate(0)  # whatever an earlier attempt left

    def append(self, header: BatchHeader, batch: memoryview | bytearray) -> None:
        """Add a batch at the end."""
        self.segment.note(header, self.segment.size_bytes, self.index_interval_bytes)
        self.segment.size_bytes += len(batch)
        self._buffer += batch
        if len(self._buffer) >= WRITE_BYTES:
            self._write()

    def finish(self) -> None:
        """Make the file durable."""
        self._write()
        self.file.sync_data()
        self.segment.mark_checked(0, self.segment.size_bytes)

    def _write(self) -> None:
        self.file.pwrite(self._buffer, self.segment.size_bytes - len(self._buffer))
        self._buffer = bytearray()


def begin_swap(fs: FileSystem, directory: str, base_offset: int, end_offset: int) -> None:
    """Step 2, for the file of step 1."""
    fs.rename(cleaned_path(directory, base_offset), swap_path(directory, base_offset, end_offset))


def cancel_swap(fs: FileSystem, directory: str, base_offset: int, end_offset: int) -> None:
    """Undo step 2. Not durable: a restart may still complete the swap."""
    fs.unlink(swap_path(directory, base_offset, end_offset))


def complete_swap(fs: FileSystem, directory: str, base_offset: int, end_offset: int) -> None:
    """Step 4."""
    fs.rename(swap_path(directory, base_offset, end_offset), f"{directory}/{segment_name(base_offset)}{LOG}")


def recover_compaction(fs: FileSystem, directory: str) -> list[tuple[int, int]]:
    """Bring a directory in order before its log is opened: unfinished files go, begun swaps are completed.

    Returns base and end offsets of the segments that were put in place. May be killed at any point and done again.
    """
    swaps = []
    for name in fs.list_sizes(directory):
        swap = parse_swap_name(name)
        if swap is not None:
            swaps.append(swap)
        elif base_offset_of(name, CLEANED) is not None:
            fs.unlink(f"{directory}/{name}")
    if swaps:  # of a process that was killed step 2 may still be volatile
        fs.sync_directory(directory)
    for base_offset, end_offset in sorted(swaps):
        _remove_replaced(fs, directory, base_offset, end_offset)
        fs.sync_directory(directory)
        complete_swap(fs, directory, base_offset, end_offset)
        fs.sync_directory(directory)
    return swaps


def _remove_replaced(fs: FileSystem, directory: str, base_offset: int, end_offset: int) -> None:
    """Step 3, as a restart does it: by the names alone."""
    for name in fs.list_sizes(directory):
        for suffix in (LOG, INDEX, TIME_INDEX):
            base = base_offset_of(name, suffix)
            if base is not None and base_offset <= base < end_offset:
                fs.unlink(f"{directory}/{name}")
