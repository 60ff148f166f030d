"""Rows of values for people and for programs.

A row is an attrs object, or anything with attributes of these names: the fields of its kind are the columns of a table
and the keys of a JSON object.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import orjson

if TYPE_CHECKING:
    from rich.table import Table


def show(kind: type, rows: Sequence[Any], *, as_json: bool) -> None:
    """Print rows of one kind: a JSON array, a table on a terminal, or plain columns into a pipe."""
    if as_json:
        show_json([{name: getattr(row, name) for name in _names(kind)} for row in rows])
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(table_of(kind, rows))
    else:
        sys.stdout.write(columns_of(kind, rows))
    sys.stdout.flush()


def show_json(value: object) -> None:
    """Print one JSON document of attrs objects, lists and dicts."""
    import cattrs

    options = orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0)
    sys.stdout.write(orjson.dumps(cattrs.unstructure(value), option=options).decode())


def table_of(kind: type, rows: Sequence[Any]) -> Table:
    """A rich table; numbers to the right, as they are compared."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in _names(kind):
        is_number = any(isinstance(getattr(row, name), int | float) for row in rows)
        table.add_column(heading(name), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(getattr(row, name)) for name in _names(kind)))
    return table


def columns_of(kind: type, rows: Sequence[Any]) -> str:
    """The same as lines of aligned text, as wide as it has to be."""
    names = _names(kind)
    lines = [list(map(heading, names)), *([cell(getattr(row, name)) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


def _names(kind: type) -> list[str]:
    return [field.name for field in attrs.fields(kind)]


def heading(name: str) -> str:
    """A field's name as a column's."""
    return name.replace("_", " ")


def cell(value: object) -> str:
    """A value as people read it: numbers in groups of three, nothing for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
