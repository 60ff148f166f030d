"""A look at the records of a batch without decoding them: where each begins, when, its key, and whether it has a value.

Validation and compaction need no more, and records they keep are copied as they are.
"""

from collections.abc import Iterator
from typing import NamedTuple

from minibroker.protocol.errors import InvalidRecord
from minibroker.records.batch import BatchHeader
from minibroker.records.varint import read_varint_tail


class ScannedRecord(NamedTuple):
    """One record within the payload: `payload[start:end]`; its offset delta is written at `offset_position`."""

    start: int
    end: int
    offset_position: int
    timestamp_delta: int
    offset_delta: int
    key: bytes | None
    has_value: bool


def scan_records(payload: bytes, header: BatchHeader) -> list[ScannedRecord]:
    """Every record of the decompressed `payload`.

    Raises InvalidRecord unless they fill it exactly and their offsets rise within the range the header gives.
    """
    (records,) = scan_pieces(payload, header, max(header.record_count, 1))
    return records


def scan_pieces(payload: bytes, header: BatchHeader, most: int) -> Iterator[list[ScannedRecord]]:
    """`scan_records`, so many at a time: a million at once take 200 MB, and whoever collects garbage stops for them."""
    if header.record_count < 0:
        raise InvalidRecord(f"a batch cannot hold {header.record_count} records")
    end, last_delta = 0, -1
    for first in range(0, header.record_count or 1, most):
        try:
            records, end = _scan(payload, header, first, min(most, header.record_count - first), end, last_delta)
        except IndexError:
            raise InvalidRecord(f"records end before the batch's count of {header.record_count}") from None
        last_delta = records[-1].offset_delta if records else -1
        if first + most >= header.record_count and end != len(payload):
            raise InvalidRecord(f"{len(payload) - end} bytes follow the last record")
        yield records


def scan_times(payload: bytes, header: BatchHeader) -> Iterator[tuple[int, int]]:
    """Offset and timestamp in ms of each record of the decompressed `payload`, nothing else being looked at.

    Raises InvalidRecord where a record ends beyond the payload.
    """
    base_offset, base_timestamp = header.base_offset, header.base_timestamp
    end = 0
    try:
        for _ in range(header.record_count):
            position = end
            length = payload[position]
            position += 1
            if length > 127:
                length, position = read_varint_tail(payload, position, length)
            end = position + (length >> 1)
            delta = payload[position + 1]  # behind the attributes
            position += 2
            if delta > 127:
                delta, position = read_varint_tail(payload, position, delta)
            offset = payload[position]
            if offset > 127:
                offset, _ = read_varint_tail(payload, position + 1, offset)
            if length & 1 or end <= position:
                raise InvalidRecord("a record does not fit its length")
            yield base_offset + (offset >> 1), base_timestamp + (delta >> 1 ^ -(delta & 1))
    except IndexError:
        raise InvalidRecord(f"records end before the batch's count of {header.record_count}") from None


def _scan(
    payload: bytes, header: BatchHeader, first: int, count: int, end: int, previous: int
) -> tuple[list[ScannedRecord], int]:
    """The hot loop, in the manner of `read_records`; the headers of a record are skipped unread.

    Scans `count` records from the one of index `first` on, which begins at `end` and follows the offset delta `previous`.
    """
    records: list[ScannedRecord] = []
    append = records.append
    new, cls = tuple.__new__, ScannedRecord
    last_offset_delta = header.last_offset_delta
    for _ in range(count):
        start = end
        length = payload[start]
        position = start + 1
        if length > 127:
            if (byte := payload[position]) < 128:
                length += (byte << 7) - 128
                position += 1
            else:
                length, position = read_varint_tail(payload, position, length)
        end = position + (length >> 1)
        delta = payload[position + 1]  # behind the attributes
        position += 2
        if delta > 127:
            if (byte := payload[position]) < 128:
                delta += (byte << 7) - 128
                position += 1
            else:
                delta, position = read_varint_tail(payload, position, delta)
        offset_position = position
        offset = payload[position]
        position += 1
        if offset > 127:
            if (byte := payload[position]) < 128:
                offset += (byte << 7) - 128
                position += 1
            else:
                offset, position = read_varint_tail(payload, position, offset)
        size = payload[position]
        position += 1
        if size == 1:
            key = None
        else:
            if size > 127:
                size, position = read_varint_tail(payload, position, size)
            key_start, position = position, position + (size >> 1)
            key = payload[key_start:position]
            length |= size
        has_value = (size := payload[position]) != 1
        # An odd zigzag number is negative: of a length or an offset that is an error, save -1 for null.
        if (length | offset) & 1 or position >= end or not previous < offset >> 1 <= last_offset_delta:
            raise InvalidRecord(f"record {first + len(records)} does not fit its length or its place in the batch")
        previous = offset >> 1
        append(new(cls, (start, end, offset_position, delta >> 1 ^ -(delta & 1), previous, key, has_value)))
    return records, end
