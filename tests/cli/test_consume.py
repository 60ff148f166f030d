"""What the consumer's flags make of records, and which flags it refuses."""

import orjson
import pytest

from minibroker.cli import USAGE, run
from minibroker.cli.consume import ConsumeOptions, record_printer
from minibroker.records.record import Record

RECORDS = (
    Record(40, 0, b"k\xff", b"first"),
    Record(41, 0, None, None),
    Record(42, 0, b"k\xff", b"\x1b[0m\xff"),
)


@pytest.mark.parametrize(
    ("options", "on_terminal", "printed"),
    [
        (ConsumeOptions(), False, b"first\n\n\x1b[0m\xff\n"),
        (ConsumeOptions(null="NULL"), False, b"first\nNULL\n\x1b[0m\xff\n"),
        (ConsumeOptions(), True, b"first\n\n\\x1b[0m\\xff\n"),
        (ConsumeOptions(format=r"%k=%s\0"), False, b"k\xff=first\0=\0k\xff=\x1b[0m\xff\0"),
        (ConsumeOptions(format="%k %s;", null="-"), True, b"k\\xff first;- -;k\\xff \\x1b[0m\\xff;"),
    ],
)
def test_records_are_printed(options: ConsumeOptions, on_terminal: bool, printed: bytes) -> None:
    """A pipe gets every byte as it is; a terminal gets only what is safe on one; nulls get the text asked for."""
    assert record_printer(options, on_terminal=on_terminal)("t", 3, RECORDS) == printed


def test_without_nulls_values_pass_untouched() -> None:
    """The quick way for plain values gives what the careful one gives."""
    printer = record_printer(ConsumeOptions(null="NULL"), on_terminal=False)
    assert printer("t", 3, RECORDS[:1]) + printer("t", 3, RECORDS[2:]) == b"first\n\x1b[0m\xff\n"
    assert printer("t", 3, ()) == b""


def test_json_is_one_object_per_line() -> None:
    """Each line is a whole record."""
    lines = record_printer(ConsumeOptions(json=True), on_terminal=True)("t", 3, RECORDS).splitlines()
    assert [orjson.loads(line)["offset"] for line in lines] == [40, 41, 42]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["consume"], "TOPIC"),
        (["consume", "t", "--from", "middle"], '--from expects beginning, end, an offset, -N for'),
        (["consume", "t", "--format", "%z"], "--format knows %t, %p"),
        (["consume", "t", "--format", "%s", "--json"], "expected --json or --format, found both"),
        (["consume", "t", "--group", "g", "--partition", "0"], "expected --group or --partition, found both"),
        (["consume", "t", "--group-instance-id", "i"], "--group-instance-id expects --group, found none"),
        (["consume", "t", "--max", "-1"], "--max"),
        (["consume", "t", "--partition", "one"], "--partition"),
        (["consume", "t", "--broker", ""], "--broker: expected"),
    ],
)  # fmt: skip
def test_usage_errors_are_one_line_and_status_2(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on standard error that names the program and the problem; nothing on standard output."""
    assert run(arguments) == USAGE
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("minibroker: ")
    assert problem in output.err
    assert output.err.count("\n") == 1
