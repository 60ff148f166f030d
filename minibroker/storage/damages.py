"""Quarantine: what to do once damage was found.

A damaged range stays in its file and in the checkpoint. Reads below and above it go on; a read in it is a CorruptLog.
Its offsets are never given out again.
"""

import logging
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING

from minibroker.protocol.errors import CorruptMessage
from minibroker.records.batch import HEADER_BYTES, decode_header, verify_crc
from minibroker.storage.errors import CorruptLog
from minibroker.storage.index import IndexDamaged, SparseIndex
from minibroker.storage.integrity import Damage, Expectation, check_range
from minibroker.storage.segment import Segment
from minibroker.storage.walk import BadBatch, walk_headers

if TYPE_CHECKING:
    from minibroker.storage.log import Log
    from minibroker.storage.reading import FileSlice

logger = logging.getLogger(__name__)


def expectation(log: "Log", segment: Segment) -> Expectation:
    """What the batches of a segment must look like."""
    return Expectation(
        segment=segment.base_offset,
        end_position=segment.size_bytes,
        end_offset=log.next_base_offset(segment),
        gaps_allowed=segment.compacted,
        anchors=_anchors(segment),
    )


def _anchors(segment: Segment) -> "array[int] | None":
    try:
        words = segment.offset_index.words()
    except IndexDamaged:
        return None
    return words if segment.has_anchors else None


def damage_of(log: "Log", offset: int) -> Damage | None:
    """The quarantined range that holds an offset."""
    return next((damage for damage in log.damaged if damage.start_offset <= offset < damage.end_offset), None)


def refuse_damaged(log: "Log", offset: int) -> None:
    """Raise CorruptLog if an offset is quarantined."""
    damage = damage_of(log, offset)
    if damage is not None:
        raise CorruptLog(f"{log.name}: {damage}")


def skip_position(log: "Log", segment: Segment, offset: int) -> int:
    """Where the last damage before an offset ends in a segment; 0 without one."""
    return max((damage.end_position for damage in _within(log, segment) if damage.end_offset <= offset), default=0)


def damage_at_position(log: "Log", segment: Segment, position: int) -> Damage | None:
    """The known damage that a byte of a segment belongs to."""
    damages = _within(log, segment)
    return next((damage for damage in damages if damage.position <= position < damage.end_position), None)


def next_damage_position(log: "Log", segment: Segment, offset: int) -> int | None:
    """Where the first damage beyond an offset begins in a segment; None without one."""
    return next((damage.position for damage in _within(log, segment) if damage.start_offset > offset), None)


def _within(log: "Log", segment: Segment) -> Iterator[Damage]:
    return (damage for damage in log.damaged if damage.segment == segment.base_offset)


def quarantine(log: "Log", found: list[Damage]) -> bool:
    """Remember damaged ranges; False if all of them were known."""
    news = False
    for damage in found:
        merged = damage
        for known in [known for known in log.damaged if _touch(known, merged)]:
            if known.start_offset <= merged.start_offset and merged.end_offset <= known.end_offset:
                break
            log.damaged.remove(known)
            merged = _union(known, merged)
        else:
            news = True
            log.damaged.append(merged)
            log.damaged.sort(key=lambda known: known.start_offset)
            log.needs_checkpoint = True
            logger.error("%s: quarantined %s", log.name, damage)
    return news


def _touch(known: Damage, other: Damage) -> bool:
    """Whether they overlap. Two that hold no offset at all, only bytes to be skipped, overlap if they are the same."""
    if known.segment != other.segment:
        return False
    if (known.start_offset, known.end_offset) == (other.start_offset, other.end_offset):
        return True
    return known.start_offset < other.end_offset and other.start_offset < known.end_offset


def _union(known: Damage, other: Damage) -> Damage:
    return Damage(
        start_offset=min(known.start_offset, other.start_offset),
        end_offset=max(known.end_offset, other.end_offset),
        segment=known.segment,
        position=min(known.position, other.position),
        end_position=max(known.end_position, other.end_position),
        reason=known.reason,
    )


def finish_check(log: "Log", checked: "FileSlice", found: list[Damage]) -> None:
    """`Log.finish_check`."""
    segment = log.segments[log.segment_slot(checked.base_offset)]
    if segment is not checked.segment:
        return  # compaction or retention was faster; what is there now has its own state
    quarantine(log, found)
    segment.mark_checked(checked.position, checked.position + checked.size_bytes)


def inspect(log: "Log", segment: Segment, bad_position: int) -> bool:
    """Check the surroundings of a suspicious position, quarantine what is damaged; False if nothing new was found."""
    index = segment.offset_index
    slot = index.floor_of_position(bad_position) + 1
    end_position = index.entry(slot)[1] if slot < len(index) else segment.size_bytes
    position, offset = trusted_start(segment, bad_position)
    end_position = max(end_position, bad_position + 1)
    return quarantine(log, check_range(segment.file(), position, end_position, offset, expectation(log, segment)))


def trusted_start(segment: Segment, position: int) -> tuple[int, int]:
    """Where to begin a check that covers a position, and the offset there: a good batch that the index knows."""
    index = segment.offset_index
    for slot in range(index.floor_of_position(position), -1, -1):
        last_offset, start = index.entry(slot)
        base_offset = _base_offset_at(segment, start, segment.base_offset + last_offset)
        if base_offset is not None:
            return start, base_offset
    return 0, segment.base_offset


def _base_offset_at(segment: Segment, position: int, last_offset: int) -> int | None:
    """Base offset of the batch at an index entry; None if it is not good."""
    try:
        header = decode_header(segment.file().pread(HEADER_BYTES, position))
        if header.last_offset != last_offset or header.size_bytes > segment.size_bytes - position:
            return None
        verify_crc(segment.file().pread(header.size_bytes, position))
    except CorruptMessage:
        return None
    return header.base_offset


def ensure_index(log: "Log", segment: Segment, index: SparseIndex) -> None:
    """Load one of a segment's indexes, or make both again from its batches."""
    segment.in_use = True
    try:
        index.words()
    except IndexDamaged as error:
        logger.info("%s: rebuilding an index: %s", log.name, error)
        rebuild_indexes(log, segment)


def rebuild_indexes(log: "Log", segment: Segment) -> None:
    """Make a segment's indexes and timestamps again from its headers.

    Where these do not fit together, only a CRC tells which one is wrong: then everything is read, and what is damaged is
    quarantined. If a read fails, the segment is as before: a part of its timestamps would have it deleted too early.
    """
    expect = expectation(log, segment)
    file, size, interval = segment.file(), segment.size_bytes, log.settings.index_interval_bytes
    offset, fresh = segment.base_offset, segment.blank()
    try:
        for at, header in walk_headers(file, 0, size):
            reason = expect.complaint(header, offset)
            if reason is not None:
                raise BadBatch(at, reason)
            fresh.note(header, at, interval)
            offset = header.next_offset
    except BadBatch:
        fresh = segment.blank()
        found = check_range(file, 0, size, segment.base_offset, expect)
        quarantine(log, found)
        position = 0
        for end, following in [*((damage.position, damage.end_position) for damage in found), (size, size)]:
            for at, header in walk_headers(file, position, end):
                fresh.note(header, at, interval)
            position = following
    segment.take_contents(fresh)
    if segment is not log.active:
        segment.seal()
