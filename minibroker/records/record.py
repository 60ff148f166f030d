"""The records inside a batch, decoded for whoever consumes them.

    length           varint    of what follows
    attributes       1 byte    unused
    timestamp delta  varint    to the batch's base timestamp
    offset delta     varint    to its base offset
    key              varint length (-1: null), bytes
    value            varint length (-1: null), bytes
    headers          varint count, each a key (varint length, UTF-8) and a value as above

Source: https://kafka.apache.org/documentation/#record
"""

from typing import NamedTuple

from minibroker.protocol.errors import CorruptMessage, InvalidRecord
from minibroker.records.batch import HEADER_BYTES, TIMESTAMP_TYPE_BIT, BatchHeader, decode_header
from minibroker.records.compression import Buffer, decompress
from minibroker.records.varint import read_varint_tail

Headers = tuple[tuple[str, bytes | None], ...]


class Record(NamedTuple):
    """One record. A tuple: consumers make hundreds of thousands a second, and a frozen class takes longer to build.

    Header keys that are not UTF-8 come with replacement characters, as in the Java client.
    """

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def read_payload(batch: Buffer, header: BatchHeader, max_bytes: int) -> bytes:
    """The records of a whole batch as plain bytes; raises CorruptMessage and UnsupportedCompressionType."""
    if len(batch) < header.size_bytes:
        raise CorruptMessage(f"a batch of {header.size_bytes} bytes is cut short at {len(batch)}")
    return decompress(header.codec, memoryview(batch)[HEADER_BYTES : header.size_bytes], max_bytes)


def read_records(batch: Buffer, *, max_bytes: int, header: BatchHeader | None = None) -> list[Record]:
    """Decode all records of a batch whose CRC is already checked, control records included.

    `header` is the batch's own, from whoever has decoded it already. `max_bytes` bounds the decompressed size. Raises
    CorruptMessage for a damaged or too large stream, InvalidRecord for records that do not fill it exactly,
    UnsupportedCompressionType.
    """
    if header is None:
        header = decode_header(batch)
    payload = read_payload(batch, header, max_bytes)
    try:
        records, end = _decode_records(payload, header)
    except IndexError:
        raise InvalidRecord(f"records end before the batch's count of {header.record_count}") from None
    if end != len(payload):
        raise InvalidRecord(f"{len(payload) - end} bytes follow the last record")
    return records


def _decode_records(payload: bytes, header: BatchHeader) -> tuple[list[Record], int]:
    """The hot loop of a consumer: one byte of a varint is read here, two as well, more elsewhere.

    A position only grows, so one that runs over is found by an IndexError or by the check at the record's end.
    """
    base_offset, base_timestamp = header.base_offset, header.base_timestamp
    append_timestamp = header.max_timestamp if header.attributes & TIMESTAMP_TYPE_BIT else None
    if header.record_count < 0:
        raise InvalidRecord(f"a batch cannot hold {header.record_count} records")
    records: list[Record] = []
    append = records.append
    new, cls = tuple.__new__, Record
    position = 0
    headers: Headers
    for _ in range(header.record_count):
        length = payload[position]
        position += 1
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
            start, position = position, position + (size >> 1)
            key = payload[start:position]
            length |= size
        size = payload[position]
        position += 1
        if size == 1:
            value = None
        else:
            if size > 127:
                if (byte := payload[position]) < 128:
                    size += (byte << 7) - 128
                    position += 1
                else:
                    size, position = read_varint_tail(payload, position, size)
            start, position = position, position + (size >> 1)
            value = payload[start:position]
            length |= size
        if payload[position]:
            headers, position = _decode_headers(payload, position, end)
        else:
            headers = ()
            position += 1
        # An odd zigzag number is negative: here all three lengths are checked at once.
        if position != end or length & 1:
            raise InvalidRecord(f"record {len(records)} does not fit its length")
        timestamp = append_timestamp if append_timestamp is not None else base_timestamp + (delta >> 1 ^ -(delta & 1))
        append(new(cls, (base_offset + (offset >> 1 ^ -(offset & 1)), timestamp, key, value, headers)))
    return records, position


def _decode_headers(payload: bytes, position: int, end: int) -> tuple[Headers, int]:
    """The headers of one record that ends at `end`; raises InvalidRecord and IndexError."""
    count, position = _read_varint(payload, position)
    if not 0 <= 2 * count <= end - position:  # each has two bytes at least
        raise InvalidRecord(f"{count} headers cannot fit in {end - position} bytes")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        size, start = _read_varint(payload, position)
        position = start + size
        if size < 0 or position > end:
            raise InvalidRecord(f"a header key of {size} bytes does not fit its record")
        name = payload[start:position].decode(errors="replace")
        size, start = _read_varint(payload, position)
        position = start + max(size, 0)
        if size < -1 or position > end:
            raise InvalidRecord(f"a header value of {size} bytes does not fit its record")
        headers.append((name, None if size < 0 else payload[start:position]))
    return tuple(headers), position


def _read_varint(payload: bytes, position: int) -> tuple[int, int]:
    number = payload[position]
    position += 1
    if number > 127:
        number, position = read_varint_tail(payload, position, number)
    return number >> 1 ^ -(number & 1), position
