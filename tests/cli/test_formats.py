"""Format strings: kcat's directives, what they show of a record, and what is refused."""

import pytest

from minibroker.cli.formats import compile_format
from minibroker.cli.problems import CommandError
from minibroker.client.partition_state import ConsumerRecord

RECORD = ConsumerRecord(
    topic="orders",
    partition=3,
    offset=42,
    timestamp_ms=1700000000000,
    key=b"k\xff",
    value=b"100%\n",
    headers=(("a", b"1"), ("b", None)),
)


def show(data: bytes | None) -> bytes:
    return b"NULL" if data is None else data


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("%t-%p@%o", b"orders-3@42"),
        ("%T", b"1700000000000"),
        ("%k=%s", b"k\xff=100%\n"),
        ("%K %S", b"2 5"),
        ("%R", b"\x00\x00\x00\x05"),
        ("%h", b"a=1,b=NULL"),
        ("100%%%%", b"100%%"),
        (r"a\tb\n\r\\\0\x41", b"a\tb\n\r\\\0A"),
        (r"\x25s", b"%s"),
        ("é", "é".encode()),
        ("", b""),
    ],
)
def test_directives_show_the_record(text: str, shown: bytes) -> None:
    """Each directive is replaced by its part of the record, everything else stands as it is."""
    assert compile_format(text, show)(RECORD) == shown


def test_nulls_have_their_own_text_and_length() -> None:
    """A null is not an empty value: its length is -1, and what is shown for it is the caller's choice."""
    record = RECORD._replace(key=None, value=None)
    assert compile_format("%k %K %s %S %R", show)(record) == b"NULL -1 NULL -1 \xff\xff\xff\xff"


@pytest.mark.parametrize(
    ("text", "problem"), [("%x", "found %x"), ("50%", "found %"), (r"\q", r"found \\q"), ("\\", r"found \\")]
)
def test_what_is_no_directive_is_refused(text: str, problem: str) -> None:
    """An unknown directive or escape is an error that lists the known ones, not text that passes through."""
    with pytest.raises(CommandError, match=problem):
        compile_format(text, show)
