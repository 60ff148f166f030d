"""Looking for damage before a reader finds it: what nobody has checked of late, piece by piece.

Readers check what they read for the first time; a scrub checks the rest. Whoever runs it decides how fast:

    while (piece := next_unchecked(log, max_bytes)) is not None:
        found = await run_in_thread(piece.find_damage)
        log.finish_check(piece, found)
"""

from typing import TYPE_CHECKING

from minibroker.storage import damages
from minibroker.storage.reading import FileSlice
from minibroker.storage.segment import Segment

if TYPE_CHECKING:
    from minibroker.storage.log import Log


def next_unchecked(log: "Log", max_bytes: int) -> FileSlice | None:
    """Durable batches of one segment that were neither written nor checked of late; None if there are none left.

    About `max_bytes`, and then up to the next entry of the index.
    """
    for segment in list(log.segments):
        if segment.base_offset >= log.durable_end_offset or log.failure is not None:
            break
        end_position = segment.size_bytes
        if segment.base_offset == log.durable.segment:
            end_position = log.durable.position
        position = _first_unchecked(log, segment)
        if position < end_position:
            return _piece(log, segment, position, min(position + max_bytes, end_position), end_position)
    return None


def forget_checks(log: "Log") -> None:
    """Have everything checked again: what was good when it was written or read may have rotted since."""
    for segment in log.segments:
        segment.checked.clear()


def _first_unchecked(log: "Log", segment: Segment) -> int:
    """The first unchecked position in a segment; known damage needs no other check."""
    while True:
        first = segment.checked[0] if segment.checked else (0, 0)
        position = first[1] if first[0] == 0 else 0
        damage = damages.damage_at_position(log, segment, position) if log.damaged else None
        if damage is None:
            return position
        segment.mark_checked(position, damage.end_position)


def _piece(log: "Log", segment: Segment, position: int, target: int, end_position: int) -> FileSlice:
    damages.ensure_index(log, segment, segment.offset_index)
    index = segment.offset_index
    slot = index.floor_of_position(target) + 1
    if slot < len(index) and target < end_position:
        end_position = min(index.entry(slot)[1], end_position)
    start, offset = damages.trusted_start(segment, position)
    return FileSlice(segment.file(), start, end_position - start, offset, segment, damages.expectation(log, segment))
