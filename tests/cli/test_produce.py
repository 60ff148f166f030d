"""What the producer's flags make of a line, and which flags it refuses before it sends anything."""

import pytest

from minibroker.cli import USAGE, run
from minibroker.cli.jsonlines import InputRecord
from minibroker.cli.problems import CommandError
from minibroker.cli.produce import ProduceOptions, record_reader


@pytest.mark.parametrize(
    ("options", "line", "record"),
    [
        (ProduceOptions(), b"v", InputRecord(b"v")),
        (ProduceOptions(), b"", InputRecord(b"")),
        (ProduceOptions(null=""), b"", InputRecord(None)),
        (ProduceOptions(null="NULL", key="NULL"), b"NULL", InputRecord(None)),
        (ProduceOptions(key="k", partition=2), b"\xff", InputRecord(b"\xff", b"k", partition=2)),
        (ProduceOptions(header=("a=1", "b==")), b"v", InputRecord(b"v", headers=(("a", b"1"), ("b", b"=")))),
        (ProduceOptions(key_separator=":"), b"k:v:w", InputRecord(b"v:w", b"k")),
        (ProduceOptions(key_separator=":"), b"no separator", InputRecord(b"no separator")),
        (ProduceOptions(key_separator=r"\t", null="-"), b"k\t-", InputRecord(None, b"k")),
        (ProduceOptions(key_separator=":", key="d"), b"v", InputRecord(b"v", b"d")),
        (ProduceOptions(json=True, partition=1), b'{"value":"v","partition":7}', InputRecord(b"v", partition=1)),
        (ProduceOptions(json=True, header=("a=1",)), b'{"value":"v"}', InputRecord(b"v", headers=(("a", b"1"),))),
    ],
)  # fmt: skip
def test_a_line_becomes_a_record(options: ProduceOptions, line: bytes, record: InputRecord) -> None:
    """Keys, nulls, headers and partitions come from the flags and, in JSON, from the line; flags win."""
    assert record_reader(options)(line) == record


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (ProduceOptions(header=("a",)), "--header expects NAME=VALUE, found 'a'"),
        (ProduceOptions(key_separator=""), "--key-separator expects at least one character"),
        (ProduceOptions(key_separator=r"\q"), r"--key-separator knows"),
        (ProduceOptions(json=True, key_separator=":"), "--json lines carry their own keys"),
    ],
)
def test_flags_that_make_no_sense_are_refused(options: ProduceOptions, problem: str) -> None:
    """The error says what was expected, before a line is read."""
    with pytest.raises(CommandError, match=problem):
        record_reader(options)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["produce"], "TOPIC"),
        (["produce", "t", "v", "--file", "/nowhere"], "expected messages or --file, found both"),
        (["produce", "t", "--file", "/nowhere/at/all"], "/nowhere/at/all: cannot be read: No such file or directory"),
        (["produce", "t", "v", "--acks", "2"], "--acks"),
        (["produce", "t", "v", "--compression", "zip"], "--compression"),
        (["produce", "t", "v", "--broker", "here:there"], "--broker: expected HOST:PORT"),
        (["produce", "t", "v", "--delimiter", ""], "--delimiter expects at least one character"),
        (["produce", "t", "v", "--frobnicate"], "--frobnicate"),
        (["prodcue", "t"], "prodcue"),
    ],
)
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
