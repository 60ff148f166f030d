"""Protobuf's variable-length integers with zigzag signs, as records use them: 0 → 00, -1 → 01, 1 → 02, 64 → 80 01.

Hot loops read one and two bytes inline and come here for the rest; writers look the usual values up in a table.
"""

from minibroker.protocol.errors import InvalidRecord

MAX_SHIFT = 63  # of the tenth byte, the last one a 64-bit number can need


def encode_varint(value: int) -> bytes:
    """The shortest encoding of a signed number of at most 64 bits."""
    zigzag = (value << 1) ^ (value >> 63)
    if zigzag < 0x80:
        return bytes((zigzag,))
    encoded = bytearray()
    while zigzag > 0x7F:
        encoded.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    encoded.append(zigzag)
    return bytes(encoded)


def read_varint_tail(payload: bytes, position: int, first: int) -> tuple[int, int]:
    """Read on after a `first` byte that was not the last; return the number, zigzag not undone, and the end position.

    Raises InvalidRecord beyond 64 bits, IndexError at the end of the payload.
    """
    zigzag = first & 0x7F
    shift = 7
    while shift <= MAX_SHIFT:
        byte = payload[position]
        position += 1
        zigzag |= (byte & 0x7F) << shift
        if byte < 0x80:
            return zigzag & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
    raise InvalidRecord("a variable-length integer has more than ten bytes")


_ONE_BYTE = [bytes((byte,)) for byte in range(256)]

# Put together from single bytes rather than encoded one by one: the table is built when the module is imported.
SMALL_VARINTS = (*_ONE_BYTE[0:128:2], *(low + high for high in _ONE_BYTE[1:128] for low in _ONE_BYTE[128::2]))
"""The encodings of 0 to 8191, one or two bytes: most lengths, and the offsets of all but the longest batches."""
