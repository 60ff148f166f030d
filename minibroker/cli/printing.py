"""Consumed records as bytes for standard output: plain values, a format string, or JSON lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from minibroker.cli.formats import Formatter, Text, compile_format
from minibroker.cli.jsonlines import record_to_json
from minibroker.cli.terminal import printable
from minibroker.client.partition_state import ConsumerRecord
from minibroker.records.record import Record

STANDARD_OUTPUT: Final = 1

Printer = Callable[[str, int, Sequence[Record]], bytes]
"""Makes bytes of records of one partition: (topic, partition, records)."""


def shown_text(null: bytes, *, on_terminal: bool) -> Text:
    """How a key or value appears: null as `null`; on a terminal made safe, anywhere else byte for byte."""
    if on_terminal:
        return lambda data: null if data is None else printable(data)
    return lambda data: null if data is None else data


def plain_printer(show: Text, *, on_terminal: bool) -> Printer:
    """The value and a newline. A million a second, when nothing has to be replaced."""

    def printed(_topic: str, _partition: int, records: Sequence[Record]) -> bytes:
        values = [record.value for record in records]
        if on_terminal or None in values:
            values = [show(value) for value in values]
        values.append(b"")
        return b"\n".join(values)  # type: ignore[arg-type]  # no None is left

    return printed


def format_printer(format_text: str, show: Text) -> Printer:
    """What the format string makes of each record, and nothing in between; raises CommandError."""
    one: Formatter = compile_format(format_text, show)

    def printed(topic: str, partition: int, records: Sequence[Record]) -> bytes:
        return b"".join([one(ConsumerRecord(topic, partition, *record)) for record in records])

    return printed


def json_printer(topic: str, partition: int, records: Sequence[Record]) -> bytes:
    """One JSON object per line."""
    return b"".join([record_to_json(ConsumerRecord(topic, partition, *record)) for record in records])


def write_all(data: bytes) -> None:
    """Write to standard output past Python's buffers, so that what was written has left the process.

    Raises BrokenPipeError when nobody reads any more.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(STANDARD_OUTPUT, rest) :]
