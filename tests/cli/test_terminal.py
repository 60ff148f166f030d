"""What a terminal is shown can be read and commands nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.cli.terminal import printable


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain text", b"plain text"),
        ("café 日本 🙂".encode(), "café 日本 🙂".encode()),
        (b"two\tcolumns\nand lines", b"two\tcolumns\nand lines"),
        (b"\x1b[2Jgone", rb"\x1b[2Jgone"),
        (b"\xff\xfe\x00", rb"\xff\xfe\x00"),
        (b"caf\xe9", rb"caf\xe9"),
        ("\u202egnp.exe".encode(), rb"\u202egnp.exe"),
        ("\x9b31m".encode(), rb"\x9b31m"),
        (b"", b""),
    ],
)
def test_text_stays_and_the_rest_is_spelled_out(data: bytes, shown: bytes) -> None:
    """UTF-8 text is untouched; undecodable bytes, control and direction characters become escapes."""
    assert printable(data) == shown


@given(st.binary())
def test_any_bytes_become_harmless_text(data: bytes) -> None:
    """Whatever a record holds, what is shown is UTF-8 without control characters but tab and newline."""
    text = printable(data).decode()
    assert not [one for one in text if one not in "\t\n" and (ord(one) < 0x20 or 0x7F <= ord(one) < 0xA0)]
