"""Varints, the skipping of tagged fields, UUIDs."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.protocol.errors import ProtocolError
from minibroker.protocol.primitives import read_uvarint, skip_tagged_fields, uuid_of, uvarint


@given(st.integers(0, (1 << 32) - 1))
def test_varint_round_trip(value: int) -> None:
    """Every number of 32 bits comes back, from as few bytes as it needs."""
    data = uvarint(value)
    assert read_uvarint(memoryview(data), 0) == (value, len(data))
    assert len(data) == max(1, (value.bit_length() + 6) // 7)


@pytest.mark.parametrize(
    ("value", "data"),
    [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02"), (1 << 28, b"\x80\x80\x80\x80\x01")],
)
def test_varint_bytes(value: int, data: bytes) -> None:
    """The bytes are those of protocol buffers."""
    assert uvarint(value) == data


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff\x10", b"\x80\x80\x80\x80\x80\x00", b"\xff" * 20])
def test_varint_of_more_than_32_bits_is_refused(data: bytes) -> None:
    """A varint ends after five bytes and 32 bits."""
    with pytest.raises(ProtocolError):
        read_uvarint(memoryview(data), 0)


def test_tagged_fields_are_skipped_within_the_buffer_only() -> None:
    """A size that leads past the end is refused, however large."""
    assert skip_tagged_fields(memoryview(b"\x02\x05\x01x\x09\x00rest"), 0, 10) == (6, 8)
    with pytest.raises(ProtocolError):
        skip_tagged_fields(memoryview(b"\x01\x05\xff\xff\xff\xff\x0f"), 0, 10)
    with pytest.raises(ProtocolError):
        skip_tagged_fields(memoryview(b"\x03" + bytes(6)), 0, 2)


@given(st.uuids())
def test_uuid_of_its_bytes(value: UUID) -> None:
    """Sixteen bytes are a UUID, in network order."""
    assert uuid_of(value.bytes) == value
