"""Producer and consumer against a broker: what goes in comes out, from wherever it is asked for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from tests.cli.program import Programs


def test_messages_go_in_and_come_out(program: Programs, topic: str) -> None:
    """The arguments are records; the consumer prints their values and stops at the end when told to."""
    sent = program.succeed(f"produce {topic} first second")
    assert sent.out == ""
    assert sent.err == f"2 records sent to {topic}\n"
    read = program.succeed(f"consume {topic} --exit")
    assert read.out == "first\nsecond\n"
    assert read.err == f"2 records from {topic}\n"


def test_one_record_is_told_with_its_offset(program: Programs, topic: str) -> None:
    """Who sends a single record learns where it went."""
    program.succeed(f"produce {topic} before")
    assert program.succeed(f"produce {topic} it").err == f"1 record sent to {topic}: partition 0, offset 1\n"


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_a_file_keeps_its_lines_and_their_order(program: Programs, topic: str, codec: str, tmp_path: Path) -> None:
    """Every line is a record, whatever the codec, and the order in the partition is that of the file."""
    lines = [f"line {number}" for number in range(5000)]
    (tmp_path / "input").write_text("\n".join(lines))
    program.succeed(f"produce {topic} --compression {codec} --file", str(tmp_path / "input"))
    assert program.succeed(f"consume {topic} --exit").lines == lines


def test_every_byte_passes_through_a_pipe(program: Programs, topic: str, tmp_path: Path) -> None:
    """Values are bytes: nothing is decoded, translated or added on the way but the newline."""
    (tmp_path / "input").write_bytes(bytes(range(256)).replace(b"\n", b"") + b"\n")
    program.succeed(f"produce {topic} --file", str(tmp_path / "input"))
    program.succeed(f"produce {topic} --null ''", "")
    sizes = program.succeed(f"consume {topic} --exit --format", r"%S\n").lines
    assert sizes == ["255", "-1"]


@pytest.mark.parametrize(
    ("start", "values"),
    [
        ("beginning", "0 1 2 3 4 5 6 7 8 9"),
        ("end", ""),
        ("4", "4 5 6 7 8 9"),
        ("0", "0 1 2 3 4 5 6 7 8 9"),
        ("1000", ""),
        ("-3", "7 8 9"),
        ("-99", "0 1 2 3 4 5 6 7 8 9"),
        ("1970-01-01T00:00:07Z", "7 8 9"),
        ("2999-01-01", ""),
    ],
)
def test_reading_starts_where_it_is_told(
    program: Programs, topic: str, tmp_path: Path, start: str, values: str
) -> None:
    """The ends, an offset, the last N, a time; what does not exist is brought to the nearest that does."""
    lines = b"".join(orjson.dumps({"value": str(n), "timestamp": n * 1000}) + b"\n" for n in range(10))
    (tmp_path / "input").write_bytes(lines)
    program.succeed(f"admin topics create {topic} --config retention.ms=-1")
    program.succeed(f"produce {topic} --json --file", str(tmp_path / "input"))
    assert program.succeed(f"consume {topic} --exit --from={start}").lines == values.split()


def test_max_stops_in_the_middle(program: Programs, topic: str) -> None:
    """So many records and no more, though they came in one batch."""
    program.succeed(f"produce {topic} a b c d")
    assert program.succeed(f"consume {topic} --max 3").lines == ["a", "b", "c"]
    assert program.succeed(f"consume {topic} --max 0").lines == []


def test_partitions_are_chosen_by_key_or_by_hand(program: Programs, topic: str) -> None:
    """Records of a key go to one partition, --partition overrides; reading can be confined to partitions."""
    program.succeed(f"admin topics create {topic} --partitions 4")
    program.succeed(f"produce {topic} --key k a b c")
    program.succeed(f"produce {topic} --key k --partition 3 d")
    lines = program.succeed(f"consume {topic} --exit --format", r"%p %k %s\n").lines
    by_key = {line.split()[0] for line in lines if line.split()[2] in "abc"}
    assert len(by_key) == 1
    assert program.succeed(f"consume {topic} --exit --partition 3 --from -1").lines == ["d"]


def test_several_topics_are_read_together(program: Programs, topic: str) -> None:
    """Each record says where it is from."""
    program.succeed(f"produce {topic}-1 a")
    program.succeed(f"produce {topic}-2 b")
    lines = program.succeed(f"consume {topic}-1 {topic}-2 --exit --format", r"%t=%s\n").lines
    assert sorted(lines) == [f"{topic}-1=a", f"{topic}-2=b"]


def test_json_lines_carry_everything_over(program: Programs, topic: str, tmp_path: Path) -> None:
    """What the consumer prints as JSON, the producer makes the same records of, in the same partitions."""
    program.succeed(f"admin topics create {topic} {topic}-copy --partitions 2")
    program.succeed(f"produce {topic} --key-separator : --null NULL -H a=1 -H b= k:v :NULL 'é:☃' plain")
    (tmp_path / "raw").write_bytes(b"\xff\x00:\xfe\n")
    program.succeed(f"produce {topic} --key-separator : --file", str(tmp_path / "raw"))
    dumped = program.succeed(f"consume {topic} --exit --json").out
    (tmp_path / "dump").write_text(dumped)
    program.succeed(f"produce {topic}-copy --json --file", str(tmp_path / "dump"))
    copied = program.succeed(f"consume {topic}-copy --exit --json").out
    assert sorted(copied.replace(f"{topic}-copy", topic).splitlines()) == sorted(dumped.splitlines())


def test_a_group_goes_on_where_it_stopped(program: Programs, topic: str, group: str) -> None:
    """What was printed is committed at the end, where the next run of the group begins; --from is for new groups."""
    program.succeed(f"produce {topic} a b c d")
    assert program.succeed(f"consume {topic} --group {group} --from 1 --max 2").lines == ["b", "c"]
    assert program.succeed(f"consume {topic} --group {group} --exit").lines == ["d"]
    assert program.succeed(f"consume {topic} --group {group} --exit").lines == []


def test_a_topic_that_does_not_exist_is_an_error_for_who_cannot_wait(program: Programs, topic: str) -> None:
    """With --exit there is nothing to read and nothing to wait for; and reading creates no topic."""
    outcome = program(f"consume {topic} --exit")
    assert outcome.status == 1
    assert outcome.err == f"minibroker: expected an existing topic, found no '{topic}'\n"
    assert topic not in program.succeed("admin topics").out


def test_records_that_are_refused_are_told_by_their_line(program: Programs, topic: str, tmp_path: Path) -> None:
    """One record too large does not keep the others from being sent, and the exit status says that it failed."""
    program.succeed(f"admin topics create {topic} --config max.message.bytes=1000")
    (tmp_path / "input").write_text("small\n" + "x" * 2000 + "\nsmall too\n")
    outcome = program(f"produce {topic} --linger-ms 0 --file", str(tmp_path / "input"))
    assert outcome.status == 1
    assert "line 2 was not acknowledged: MESSAGE_TOO_LARGE" in outcome.err
    assert program.succeed(f"consume {topic} --exit").lines == ["small", "small too"]


def test_a_partition_that_does_not_exist_is_refused(program: Programs, topic: str) -> None:
    """By the producer and by the consumer, in a line that says which there are."""
    program.succeed(f"produce {topic} a")
    assert "found 7" in program(f"produce {topic} --partition 7 b").err
    outcome = program(f"consume {topic} --partition 7")
    assert outcome.err == f"minibroker: --partition expects 0 to 0 for topic {topic}, found 7\n"


def test_no_broker_is_told_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    """An address where nobody listens is one line that names it, not a long wait."""
    nobody = Programs("127.0.0.1:1", capfd)
    for command in ("produce t v", "consume t", "admin topics"):
        outcome = nobody(command)
        assert outcome.status == 1
        assert outcome.err.startswith("minibroker: no broker can be reached: cannot connect to 127.0.0.1:1: ")
        assert outcome.err.count("\n") == 1


def start(bootstrap: str, *arguments: str, **more: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "minibroker", *arguments, "--broker", bootstrap]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)  # type: ignore[call-overload,no-any-return]


def test_ctrl_c_while_following_is_an_orderly_end(program: Programs, bootstrap: str, topic: str, group: str) -> None:
    """A consumer that follows prints what comes as it comes; Ctrl-C commits what was printed, and is no failure."""
    program.succeed(f"produce {topic} a")
    with start(bootstrap, "consume", topic, "--group", group) as consumer:
        assert consumer.stdout is not None
        assert consumer.stdout.readline() == "a\n"
        program.succeed(f"produce {topic} b")
        assert consumer.stdout.readline() == "b\n"
        consumer.send_signal(signal.SIGINT)
        assert consumer.communicate(timeout=30) == ("", f"2 records from {topic}\n")
    assert consumer.returncode == 0
    assert program.succeed(f"consume {topic} --group {group} --exit").lines == []


def test_a_reader_that_goes_away_ends_the_consumer(program: Programs, bootstrap: str, topic: str) -> None:
    """`consume | head` ends as if by SIGPIPE, without a word."""
    program.succeed(f"produce {topic} a b")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "minibroker", "consume", topic, "--broker", bootstrap]
    consumer = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writing)
    assert consumer.returncode == 141
    assert consumer.stderr == b""


def test_ctrl_c_while_producing_loses_nothing_silently(program: Programs, bootstrap: str, topic: str) -> None:
    """What was read is delivered and counted; the status says that the input was not read to its end."""
    with start(bootstrap, "produce", topic, stdin=subprocess.PIPE) as producer:
        assert producer.stdin is not None
        assert producer.stderr is not None
        producer.stdin.write("a\nb\n")
        producer.stdin.flush()
        deadline = time.monotonic() + 30
        while program(f"consume {topic} --exit").lines != ["a", "b"]:
            assert time.monotonic() < deadline
        producer.send_signal(signal.SIGINT)
        assert producer.stderr.read() == f"2 records sent to {topic}, stopped after line 2\n"
        assert producer.wait(30) == 130
