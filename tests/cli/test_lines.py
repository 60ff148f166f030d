"""Lines of a descriptor: each whole, none lost, however the input is cut into reads."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.cli.lines import Input, LineReader


async def all_lines(reader: LineReader) -> list[bytes]:
    lines: list[bytes] = []
    while block := await reader.next_lines():
        lines += block
    return lines


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


@pytest.mark.parametrize(
    ("written", "delimiter", "lines"),
    [
        (b"a\nb\n", b"\n", [b"a", b"b"]),
        (b"a\nb", b"\n", [b"a", b"b"]),
        (b"\n\n", b"\n", [b"", b""]),
        (b"", b"\n", []),
        (b"a--b-c--", b"--", [b"a", b"b-c"]),
        (b"a\0b\nc\0", b"\0", [b"a", b"b\nc"]),
    ],
)
async def test_lines_end_at_the_delimiter(
    pipe: tuple[int, int], written: bytes, delimiter: bytes, lines: list[bytes]
) -> None:
    """The last line needs no delimiter; an empty rest is no line."""
    reading, writing = pipe
    os.write(writing, written)
    os.close(writing)
    assert await all_lines(LineReader(reading, delimiter)) == lines
    os.close(reading)


@given(text=st.binary(max_size=200), block_bytes=st.integers(1, 9), delimiter=st.sampled_from([b"\n", b"ab", b"\0"]))
async def test_where_reads_end_does_not_matter(text: bytes, block_bytes: int, delimiter: bytes) -> None:
    """A delimiter or a line that is cut by the end of a read comes out as if it were not."""
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)
    lines = await all_lines(LineReader(reading, delimiter, block_bytes))
    os.close(reading)
    expected = text.split(delimiter)
    assert lines == (expected if expected[-1] else expected[:-1])


async def test_messages_among_the_arguments_are_one_block() -> None:
    """They are sent as they are, and then the input is at its end."""
    lines = Input(messages=(b"a\nb", b""), path=None, delimiter=b"\n").open()
    assert await lines.next_lines() == [b"a\nb", b""]
    assert await lines.next_lines() == []
