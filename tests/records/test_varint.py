"""Variable-length integers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.protocol.errors import InvalidRecord
from minibroker.records.varint import SMALL_VARINTS, encode_varint, read_varint_tail


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (-1, "01"), (1, "02"), (63, "7e"), (-64, "7f"), (64, "8001"), (300, "d804"), (2**31 - 1, "feffffff0f")],
)
def test_known_encodings(value: int, encoded: str) -> None:
    """Zigzag and groups of seven bits, lowest first, as Protocol Buffers define them."""
    assert encode_varint(value).hex() == encoded


@given(st.integers(-(2**63), 2**63 - 1))
def test_round_trip(value: int) -> None:
    """Every 64-bit number comes back, and the reader stops where the writer did."""
    encoded = encode_varint(value)
    zigzag, end = (encoded[0], 1) if len(encoded) == 1 else read_varint_tail(encoded, 1, encoded[0])
    assert (zigzag >> 1 ^ -(zigzag & 1), end) == (value, len(encoded))


def test_the_table_holds_exactly_the_short_ones() -> None:
    """The table agrees with the function, and ends where three bytes begin."""
    assert [encode_varint(value) for value in range(len(SMALL_VARINTS))] == list(SMALL_VARINTS)
    assert (len(SMALL_VARINTS[-1]), len(encode_varint(len(SMALL_VARINTS)))) == (2, 3)


def test_a_varint_without_end_is_refused() -> None:
    """Eleven bytes are no number, however many follow."""
    with pytest.raises(InvalidRecord):
        read_varint_tail(b"\xff" * 100, 1, 0xFF)
