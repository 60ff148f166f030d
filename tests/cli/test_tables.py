"""Rows for people and for programs."""

import attrs
import orjson
import pytest

from minibroker.cli.tables import columns_of, show


@attrs.frozen(kw_only=True)
class Row:
    name: str
    is_open: bool
    size_bytes: int | None
    tags: list[str] = attrs.Factory(list)


ROWS = [
    Row(name="a", is_open=True, size_bytes=1234567, tags=["x", "y"]),
    Row(name="long", is_open=False, size_bytes=None),
]


def test_columns_are_aligned() -> None:
    """A heading of words, numbers in groups, dashes for what is not there, no spaces at the end of a line."""
    assert columns_of(Row, ROWS) == (
        "name  is open  size bytes  tags\n"
        "a     yes      1,234,567   x, y\n"
        "long  no       -\n"
    )  # fmt: skip
    assert columns_of(Row, []) == "name  is open  size bytes  tags\n"


def test_json_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get numbers, null and lists, on one line in a pipe."""
    show(Row, ROWS, as_json=True)
    printed = capsys.readouterr().out
    assert orjson.loads(printed)[0] == {"name": "a", "is_open": True, "size_bytes": 1234567, "tags": ["x", "y"]}
    assert printed.count("\n") == 1
