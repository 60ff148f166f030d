"""The parts of the wire format that compiled code calls: varints, records, skipping of tagged fields.

Varints are those of protocol buffers without zigzag (KIP-482): seven bits a byte, lowest first, at most five bytes.
Compact lengths are one more than the length, so that 0 can mean null.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Any, Final, TypeAlias
from uuid import UUID

from minibroker.protocol.errors import ProtocolError, TooManyElements

MAX_VARINT: Final = (1 << 32) - 1
MAX_STRING_BYTES: Final = (1 << 15) - 1
"""Kafka's Java readers refuse longer strings in every version, though a compact length could say more."""

BYTES_LIKE: Final = (memoryview, bytearray, bytes)
_INT32: Final = Struct(">i")

Gathered: TypeAlias = list[Any]
"""Buffers and file ranges in the order in which they go out."""


def read_uvarint(buffer: memoryview, position: int) -> tuple[int, int]:
    """Read an unsigned varint; return it and where it ends. Raises ProtocolError, or IndexError past the end."""
    value = buffer[position]
    position += 1
    if value > 127:
        return read_long_uvarint(buffer, position, value)
    return value, position


def read_long_uvarint(buffer: memoryview, position: int, first: int) -> tuple[int, int]:
    """Read what follows ``first``, a varint's first byte with its continuation bit set."""
    value = first & 127
    for shift in (7, 14, 21, 28):
        byte = buffer[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value > MAX_VARINT:
                break
            return value, position
    raise ProtocolError("a varint has more than 32 bits")


def uvarint(value: int) -> bytes:
    """Encode an unsigned varint."""
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def compact_string_length(length: int) -> bytes:
    """Encode the length of a string in a flexible version. Raises ValueError for one that Java could not read."""
    if length > MAX_STRING_BYTES:
        raise ValueError(f"a string of {length} bytes is longer than {MAX_STRING_BYTES}, the most Kafka reads")
    return uvarint(length + 1)


def skip_tagged_fields(buffer: memoryview, position: int, budget: int) -> tuple[int, int]:
    """Step over a section of tagged fields nobody here knows; return where it ends and the budget left."""
    count, position = read_uvarint(buffer, position)
    budget -= count
    if budget < 0:
        raise too_many_elements("tagged fields", count)
    for _ in range(count):
        _, position = read_uvarint(buffer, position)
        size, position = read_uvarint(buffer, position)
        position += size
        if position > len(buffer):
            raise bad_length("tagged field", size)
    return position, budget


@lru_cache(maxsize=4096)
def uuid_of(raw: bytes) -> UUID:
    """Return the UUID of sixteen bytes. Cached, because the same few topic ids come with every fetch."""
    return UUID(bytes=raw)


def put_records(records: Any, out: bytearray, parts: Gathered, compact: bool) -> bytearray:
    """Append the length of ``records`` to ``out`` and the records themselves, uncopied, to ``parts``.

    Returns the buffer that takes what follows: a new one, already in ``parts``, when there were records.
    """
    if records is None:
        out += b"\0" if compact else b"\xff\xff\xff\xff"
        return out
    several = isinstance(records, (list, tuple))
    total_bytes = sum([size_bytes(piece) for piece in records]) if several else size_bytes(records)
    out += uvarint(total_bytes + 1) if compact else _INT32.pack(total_bytes)
    if not total_bytes:
        return out
    if several:
        parts += records
    else:
        parts.append(records)
    rest = bytearray()
    parts.append(rest)
    return rest


def size_bytes(part: Any) -> int:
    """Return how many bytes a buffer or a file range will put on the wire."""
    return len(part) if isinstance(part, BYTES_LIKE) else part.size_bytes


def bad_length(name: str, length: int) -> ProtocolError:
    """Return the error for a length that the field cannot have: null where null is not allowed, or past the end."""
    return ProtocolError(f"{name}: length {length} is not possible here")


def too_many_elements(name: str, count: int) -> TooManyElements:
    """Return the error for a count beyond what a message may hold in all."""
    return TooManyElements(f"{name}: {count} elements are more than a message may have")


def lacks_field(name: str, version: int) -> ValueError:
    """Return the error for a value that a version cannot carry and must not drop."""
    return ValueError(f"version {version} has no {name}, yet it is set")


def not_nullable(name: str, version: int) -> ValueError:
    """Return the error for None where a version has no null."""
    return ValueError(f"{name} cannot be null in version {version}")
