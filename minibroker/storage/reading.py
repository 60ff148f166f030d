"""Reading a log: from an offset to bytes that `sendfile` can send, without reading them.

A lookup goes: the hint that the previous slice left; else the index, and a few headers from there. A slice ends at an
index entry, for those are batch boundaries known without a read; so a slice may fall short of its limit by one index
interval, and the reader that comes back starts at an entry. Headers on the way must follow each other exactly: neither
their offsets nor their lengths are under a CRC.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import attrs

from minibroker.protocol.errors import CorruptMessage
from minibroker.records.batch import HEADER_BYTES, BatchHeader, decode_header
from minibroker.storage import damages
from minibroker.storage.errors import CorruptLog
from minibroker.storage.filesystem import File
from minibroker.storage.integrity import Damage, Expectation, check_range
from minibroker.storage.segment import Segment
from minibroker.storage.walk import BadBatch, walk_batches, walk_headers

if TYPE_CHECKING:
    from minibroker.storage.log import Log

MAX_HINTS = 16

Located = tuple[Segment, int, BatchHeader]
"""A segment, and position and header of a batch in it."""


@attrs.frozen(eq=False)
class FileSlice:
    """Whole record batches in a segment's file. Keeps the file open, even if the segment is deleted meanwhile."""

    file: File
    position: int
    size_bytes: int
    base_offset: int
    segment: Segment
    expectation: Expectation | None
    """What to check it against; None if every batch in it was written or checked of late."""

    @property
    def checked(self) -> bool:
        """Whether it may be served."""
        return self.expectation is None

    def read(self) -> bytes:
        """The bytes."""
        return self.file.pread(self.size_bytes, self.position)

    def fileno(self) -> int:
        """The descriptor to send from."""
        return self.file.fileno()

    def is_cached(self) -> bool:
        """Whether it lies in the page cache, as far as a few probes tell."""
        return self.file.is_cached(self.position, self.size_bytes)

    def find_damage(self) -> list[Damage]:
        """Read and check every batch; this warms the page cache too. Blocks, and is safe in any thread.

        Hand the result to `Log.finish_check` in the log's own thread.
        """
        if self.expectation is None:
            return []
        end_position = self.position + self.size_bytes
        return check_range(self.file, self.position, end_position, self.base_offset, self.expectation)


def read_slice(log: "Log", offset: int, max_bytes: int, end_offset: int, min_one_batch: bool) -> FileSlice | None:
    """`Log.read` for an offset below the end."""
    found = locate(log, offset)
    if found is None:
        return None
    segment, position, header = found
    if log.damaged:  # behind a gap that compaction has left, the batch found may be a damaged one
        damages.refuse_damaged(log, header.base_offset)
    limit_position = _limit_position(log, segment, header.base_offset, end_offset)
    end_position = position + header.batch_length + 12
    if end_position > limit_position:
        return None
    if end_position - position > max_bytes:
        if not min_one_batch:
            return None
    elif limit_position - position <= max_bytes:
        end_position = limit_position
        remember(log, end_offset, segment, end_position)
    else:
        end_position = _last_boundary(segment, end_position, position + max_bytes)
    is_checked = segment.is_checked(position, end_position)
    return FileSlice(
        segment.file(),
        position,
        end_position - position,
        header.base_offset,
        segment,
        None if is_checked else damages.expectation(log, segment),
    )


def _limit_position(log: "Log", segment: Segment, offset: int, end_offset: int) -> int:
    """Where a slice that begins at `offset` in a segment must end for the sake of `end_offset` and of damage."""
    return min(_position_of_end(log, segment, end_offset), _damage_limit(log, segment, offset))


def _damage_limit(log: "Log", segment: Segment, offset: int) -> int:
    damage_position = damages.next_damage_position(log, segment, offset) if log.damaged else None
    return segment.size_bytes if damage_position is None else damage_position


def _position_of_end(log: "Log", segment: Segment, end_offset: int) -> int:
    if end_offset >= log.log_end_offset or end_offset >= log.next_base_offset(segment):
        return segment.size_bytes
    if end_offset == log.durable.offset and log.durable.segment == segment.base_offset:
        return log.durable.position
    hint = log.hints.get(end_offset)
    if hint is not None and hint[0] is segment:
        return hint[1]
    located = locate(log, end_offset)
    return located[1] if located is not None and located[0] is segment else segment.size_bytes


def _last_boundary(segment: Segment, position: int, limit_position: int) -> int:
    """The last batch boundary from `position` on that is not beyond `limit_position`, going by the index."""
    index = segment.offset_index
    slot = index.floor_of_position(limit_position)
    if slot >= 0 and (entry_position := index.entry(slot)[1]) >= position:
        return entry_position
    try:
        for at, header in walk_headers(segment.file(), position, segment.size_bytes):
            if at + header.batch_length + 12 > limit_position:
                break
            position = at + header.batch_length + 12
    except BadBatch:
        pass  # whoever reads on from there will find out
    return position


def remember(log: "Log", offset: int, segment: Segment, position: int) -> None:
    """Leave a hint that the batch at `offset` begins at a position."""
    if position >= segment.size_bytes and segment is not log.segments[-1]:
        return
    hints = log.hints
    hints[offset] = (segment, position)
    if len(hints) > MAX_HINTS:
        del hints[next(iter(hints))]


def locate(log: "Log", offset: int) -> Located | None:
    """The first batch that ends beyond an offset; None at the end of the log. Raises CorruptLog."""
    hint = log.hints.get(offset)
    if hint is not None:
        segment, position = hint
        header = _header_at(segment, position)
        if header is not None and header.base_offset == offset:
            return segment, position, header
    slot = log.segment_slot(offset)
    while slot < len(log.segments):
        segment = log.segments[slot]
        damages.ensure_index(log, segment, segment.offset_index)
        if log.damaged:
            damages.refuse_damaged(log, offset)
        try:
            found = _find(log, segment, offset)
        except BadBatch as bad:
            if damages.inspect(log, segment, bad.position) or _drop_misleading_entry(segment, offset):
                continue
            raise CorruptLog(f"{log.name}: {bad} in segment {segment.base_offset}") from bad
        if found is not None:
            if log.damaged and damages.damage_at_position(log, segment, found[0]):
                raise CorruptLog(
                    f"{log.name}: where offset {offset} should be, segment {segment.base_offset} is damaged"
                )
            return segment, *found
        slot += 1
        offset = max(offset, log.next_base_offset(segment))
    return None


def _header_at(segment: Segment, position: int) -> BatchHeader | None:
    if segment.size_bytes - position < HEADER_BYTES:
        return None
    try:
        header = decode_header(segment.file().pread(HEADER_BYTES, position))
    except CorruptMessage:
        return None
    return header if header.size_bytes <= segment.size_bytes - position else None


def _find(log: "Log", segment: Segment, offset: int) -> tuple[int, BatchHeader] | None:
    """Position and header of the first batch in a segment that ends beyond an offset. Raises BadBatch."""
    index = segment.offset_index
    relative = offset - segment.base_offset
    slot = index.floor(relative)
    if slot + 1 < len(index):
        # A reader that goes on where its last slice ended wants exactly the next entry.
        last_offset, position = index.entry(slot + 1)
        header = _header_at(segment, position)
        if (
            header is not None
            and header.base_offset <= offset
            and header.last_offset - segment.base_offset == last_offset
        ):
            return position, header
    expected: int | None = segment.base_offset
    position = 0
    if slot >= 0:
        expected, position = None, index.entry(slot)[1]
    skipped = damages.skip_position(log, segment, offset) if log.damaged else 0
    if skipped and skipped >= position:
        expected, position, slot = None, skipped, -1
    end_offset = log.next_base_offset(segment)
    for at, header in walk_headers(segment.file(), position, segment.size_bytes):
        if header.next_offset > end_offset:
            raise BadBatch(at, f"offset {header.last_offset} where the segment ends at {end_offset}")
        if slot >= 0 and expected is None and header.last_offset - segment.base_offset != index.entry(slot)[0]:
            raise BadBatch(at, f"offset {header.last_offset} where the index has another")
        if expected is not None and not _follows(header, expected, segment.compacted):
            raise BadBatch(at, f"offset {header.base_offset} where {expected} was expected")
        expected = header.next_offset
        if expected > offset:
            return at, header
    return None


def _drop_misleading_entry(segment: Segment, offset: int) -> bool:
    """Behind damage batches may lie where the index has none; an entry that leads to no batch is of no use."""
    slot = segment.offset_index.floor(offset - segment.base_offset)
    if slot < 0:
        return False
    segment.offset_index.remove(slot)
    return True


def _follows(header: BatchHeader, expected: int, gaps_allowed: bool) -> bool:
    return header.base_offset == expected or (gaps_allowed and header.base_offset > expected)


def read_batches(log: "Log", start_offset: int, end_offset: int) -> Iterator[tuple[BatchHeader, memoryview]]:
    """`Log.read_batches`."""
    for _, _, header, batch in _walk_log(log, start_offset, end_offset, walk_batches):
        yield header, batch


def read_headers(log: "Log", start_offset: int, end_offset: int) -> Iterator[Located]:
    """The headers of the batches with an offset in the range, as `read_batches` but without reading the records."""
    for segment, position, header, _ in _walk_log(log, start_offset, end_offset, _walk_headers):
        yield segment, position, header


Walk = Callable[[File, int, int], Iterator[tuple[int, BatchHeader, memoryview]]]


def _walk_headers(file: File, position: int, end_position: int) -> Iterator[tuple[int, BatchHeader, memoryview]]:
    nothing = memoryview(b"")
    for at, header in walk_headers(file, position, end_position):
        yield at, header, nothing


def _walk_log(
    log: "Log", start_offset: int, end_offset: int, walk: Walk
) -> Iterator[tuple[Segment, int, BatchHeader, memoryview]]:
    """From batch to batch over segments and around damage, old and new."""
    offset = max(start_offset, log.log_start_offset)
    while offset < end_offset:
        found = _locate_good(log, offset)
        if found is None:
            return
        segment, start, header = found
        offset = header.base_offset
        expect = damages.expectation(log, segment)
        limit = _damage_limit(log, segment, offset)
        last = start
        try:
            for position, header, batch in walk(segment.file(), start, limit):
                reason = expect.complaint(header, offset)
                if reason is not None:
                    raise BadBatch(position, reason)
                if header.base_offset >= end_offset:
                    return
                offset, last = header.next_offset, position
                yield segment, position, header, batch
        except BadBatch as bad:
            # It may be the length of the batch before that is damaged; and the caller may have found that itself.
            places = (bad.position, last)
            # In a segment that was replaced meanwhile there is nothing to find: the reading goes on in the new one.
            if segment in log.segments and not any(
                damages.inspect(log, segment, at) or damages.damage_at_position(log, segment, at) for at in places
            ):
                raise CorruptLog(f"{log.name}: {bad} in segment {segment.base_offset}") from bad


def _locate_good(log: "Log", offset: int) -> Located | None:
    """Like `locate`, from the end of the damage if the offset is in one."""
    while True:
        damage = damages.damage_of(log, offset) if log.damaged else None
        if damage is not None:
            offset = damage.end_offset
            continue
        if offset >= log.log_end_offset:
            return None
        try:
            return locate(log, offset)
        except CorruptLog:
            if damages.damage_of(log, offset) is None:
                raise
