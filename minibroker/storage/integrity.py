"""Finding out which offsets of a log are damaged, and where the next good batch begins.

A batch is good if its chain of lengths, its CRC, its leader epoch and its place in the order of offsets are right; the
CRC alone covers neither base offset nor length nor epoch. Everything between the offset that was expected and the next
good batch is one `Damage`.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice

import attrs

from minibroker.protocol.errors import CorruptMessage
from minibroker.records.batch import HEADER_BYTES, LEADER_EPOCH, MAGIC, BatchHeader, decode_header, verify_crc
from minibroker.storage.filesystem import File
from minibroker.storage.walk import CHUNK_BYTES, BadBatch, walk_batches, walk_headers

MARK = LEADER_EPOCH.to_bytes(4, "big") + bytes([MAGIC])
"""What precedes every CRC."""
MAX_BAD_BATCHES = 1_000
"""In a row, before it is no use to follow their headers."""


@attrs.frozen(kw_only=True)
class Damage:
    """A range of offsets that is lost, and the bytes of one segment it lies in."""

    start_offset: int
    end_offset: int
    segment: int
    """Base offset of the segment."""
    position: int
    end_position: int
    reason: str

    def holds_only_below(self, offset: int) -> bool:
        """Whether it holds offsets, all of them below one."""
        return self.start_offset < self.end_offset <= offset

    def __str__(self) -> str:
        return f"offsets {self.start_offset} to {self.end_offset - 1}: {self.reason} in segment {self.segment}"


@attrs.frozen(kw_only=True)
class Expectation:
    """What the batches of one segment must look like."""

    segment: int
    """Base offset of the segment."""
    end_position: int
    """Where its good bytes end."""
    end_offset: int
    """No batch reaches beyond: the next segment's base offset, or the log end."""
    gaps_allowed: bool
    """Compaction has been here."""
    anchors: "array[int] | None" = attrs.field(default=None, repr=False)
    """The words of the offset index: (relative last offset, position) of batches, true before anything was damaged."""

    def complaint(self, header: BatchHeader, expected_offset: int) -> str | None:
        """Why a batch cannot be the one that begins at `expected_offset`; None if it can."""
        if header.base_offset < expected_offset or header.next_offset > self.end_offset:
            return f"a batch of offsets {header.base_offset} to {header.last_offset} out of its place"
        if header.base_offset > expected_offset and not self.gaps_allowed:
            return f"offset {header.base_offset} follows where {expected_offset} should"
        if header.partition_leader_epoch != LEADER_EPOCH:
            return f"leader epoch {header.partition_leader_epoch} at offset {header.base_offset}"
        return None


def check_range(file: File, position: int, end_position: int, offset: int, expect: Expectation) -> list[Damage]:
    """Read and check the batches of a range that begins with the one at `offset`.

    The last damage may reach beyond the range, to the next good batch. Safe in any thread.
    """
    damages: list[Damage] = []
    while position < end_position:
        try:
            for at, header, _ in walk_batches(file, position, expect.end_position):
                if at >= end_position:
                    return damages
                reason = expect.complaint(header, offset)
                if reason is not None:
                    raise BadBatch(at, reason)
                offset = header.next_offset
        except BadBatch as bad:
            damage = damage_at(file, bad, offset, expect)
            damages.append(damage)
            position, offset = damage.end_position, damage.end_offset
        else:
            position = expect.end_position
            if offset < expect.end_offset and not expect.gaps_allowed:
                reason = f"offset {offset} is missing before {expect.end_offset}"
                damages.append(_damage(offset, expect.end_offset, position, position, reason, expect))
    return damages


def damage_at(file: File, bad: BadBatch, offset: int, expect: Expectation) -> Damage:
    """The damage that begins at a bad batch where `offset` was expected, up to the next good batch."""
    found = find_batch(file, bad.position, expect, offset)
    if found is None:
        return _damage(offset, expect.end_offset, bad.position, expect.end_position, str(bad), expect)
    position, header = found
    return _damage(offset, header.base_offset, bad.position, position, str(bad), expect)


def _damage(
    start_offset: int, end_offset: int, position: int, end_position: int, reason: str, expect: Expectation
) -> Damage:
    return Damage(
        start_offset=start_offset,
        end_offset=end_offset,
        segment=expect.segment,
        position=position,
        end_position=end_position,
        reason=reason,
    )


def missing_segment(expect: Expectation) -> Damage:
    """The damage of a segment whose file is gone."""
    return _damage(expect.segment, expect.end_offset, 0, 0, "the file of the segment is missing", expect)


Found = tuple[int, BatchHeader]
"""Position and header of a batch."""


def find_batch(file: File, position: int, expect: Expectation, offset: int) -> Found | None:
    """The first good batch behind a position that begins at or after an offset.

    A good batch may also be one that a misdirected write has put into the wrong place, or one whose base offset, which
    is under no CRC, is wrong. So the one is sought to which the bad batch itself leads, or from which the chain leads to
    the next entry of the index (the anchors). One before it is taken if that one can still follow, or if there is no
    such one up to the anchor; but none that its own successor contradicts.
    """
    followed = _follow_chain(file, position, expect, offset)
    doubtful: list[Found] = []
    anchor: tuple[int, int] | None = None
    for found in _good_batches(file, position + 1, expect, offset):
        if doubtful and anchor is not None and found[0] >= anchor[0]:
            break
        anchor = _anchor_from(expect, found[0])
        is_contradicted = _is_contradicted(file, found, expect)
        if found == followed or (not is_contradicted and (anchor is None or _leads_to(file, found, anchor, expect))):
            return next((before for before in doubtful if _precedes(before, found)), found)
        if not is_contradicted:
            doubtful.append(found)
    return doubtful[0] if doubtful else None


def _precedes(before: Found, found: Found) -> bool:
    return before[0] + before[1].size_bytes <= found[0] and before[1].next_offset <= found[1].base_offset


def _is_contradicted(file: File, found: Found, expect: Expectation) -> bool:
    """Whether a good batch with another offset than the next one follows a batch."""
    position = found[0] + found[1].size_bytes
    successor = _good_batch(file, position, expect, 0)
    return successor is not None and expect.complaint(successor, found[1].next_offset) is not None


def _follow_chain(file: File, position: int, expect: Expectation, offset: int) -> Found | None:
    """The first good batch to which the headers from a position lead, each where the one before ends."""
    try:
        for at, header in islice(walk_headers(file, position, expect.end_position), MAX_BAD_BATCHES):
            if expect.complaint(header, offset) is not None:
                return None
            if at > position and _good_batch(file, at, expect, offset) is not None:
                return at, header
            offset = header.next_offset
    except BadBatch:
        pass
    return None


def _good_batches(file: File, position: int, expect: Expectation, offset: int) -> Iterator[Found]:
    """All good batches that may be in their place, at any position.

    Looks for `MARK`, so the search runs at the speed of `bytes.find`.
    """
    while position < expect.end_position:
        chunk = file.pread(min(CHUNK_BYTES, expect.end_position - position), position)
        for at in _candidates(chunk):
            header = _good_batch(file, position + at, expect, offset)
            if header is not None:
                yield position + at, header
        if position + len(chunk) >= expect.end_position or len(chunk) < HEADER_BYTES:
            break
        position += len(chunk) - HEADER_BYTES + 1


def _anchor_from(expect: Expectation, position: int) -> tuple[int, int] | None:
    """(position, last offset) of the first anchor at or after a position; None behind the last."""
    if expect.anchors is None:
        return None
    words = expect.anchors
    slot = bisect_left(range(len(words) // 2), position, key=lambda slot: words[2 * slot + 1])
    return (words[2 * slot + 1], expect.segment + words[2 * slot]) if 2 * slot < len(words) else None


def _leads_to(file: File, found: Found, anchor: tuple[int, int], expect: Expectation) -> bool:
    """Whether the chain of headers from a batch arrives exactly at an anchor."""
    offset = found[1].base_offset
    try:
        for at, header in walk_headers(file, found[0], expect.end_position):
            if expect.complaint(header, offset) is not None:
                return False
            if at >= anchor[0]:
                return (at, header.last_offset) == anchor
            offset = header.next_offset
    except BadBatch:
        pass
    return False


def _is_among_anchors(expect: Expectation, position: int, header: BatchHeader) -> bool:
    """Whether the anchors before and after a position have offsets before and after those of a batch."""
    if expect.anchors is None:
        return True
    words = expect.anchors
    slot = bisect_left(range(len(words) // 2), position, key=lambda slot: words[2 * slot + 1])
    if slot and expect.segment + words[2 * slot - 2] >= header.base_offset:
        return False
    if 2 * slot == len(words):
        return True
    last_offset = expect.segment + words[2 * slot]
    return header.last_offset == last_offset if words[2 * slot + 1] == position else header.last_offset < last_offset


def _candidates(chunk: bytes) -> Iterator[int]:
    """Positions in `chunk` where a header may begin, ascending."""
    at = chunk.find(MARK, 12)
    while at >= 0:
        yield at - 12
        at = chunk.find(MARK, at + 1)


def _good_batch(file: File, position: int, expect: Expectation, offset: int) -> BatchHeader | None:
    try:
        header = decode_header(file.pread(HEADER_BYTES, position))
        if header.size_bytes > expect.end_position - position or header.base_offset < offset:
            return None
        relaxed = attrs.evolve(expect, gaps_allowed=True)
        if relaxed.complaint(header, offset) is not None or not _is_among_anchors(expect, position, header):
            return None
        verify_crc(file.pread(header.size_bytes, position))
    except CorruptMessage:
        return None
    return header
