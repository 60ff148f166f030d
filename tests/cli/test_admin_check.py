"""`minibroker admin check`: what it says of brokers whose data is whole, and of ones whose data is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trio

from minibroker.client import Admin, TopicPartition
from minibroker.testing import BrokerThread
from tests.cli.program import Programs


def test_whole_topics_are_good(program: Programs, topic: str) -> None:
    """Everything in them is read and counted, whatever its codec; compacted topics too."""
    program.succeed(f"admin topics create {topic} --partitions 2")
    program.succeed(f"admin topics create {topic}-compacted --config cleanup.policy=compact")
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        program.succeed(f"produce {topic} --partition 1 --compression {codec} a b c")
    program.succeed(f"produce {topic}-compacted --key k a b")
    outcome = program.succeed(f"admin check {topic} {topic}-compacted")
    rows = [line.split() for line in outcome.lines]
    assert rows[0] == ["partition", "batches", "records", "bytes", "begin", "end", "verdict"]
    assert {row[0]: (row[2], row[4], row[5], row[6]) for row in rows[1:]} == {
        f"{topic}-0": ("0", "0", "0", "good"),
        f"{topic}-1": ("15", "0", "15", "good"),
        f"{topic}-compacted-0": ("2", "0", "2", "good"),
    }
    assert "3 partitions, " in outcome.err
    assert outcome.err.endswith("nothing is wrong\n")


def test_what_does_not_exist_is_refused(program: Programs, topic: str) -> None:
    """One line, with the name."""
    outcome = program(f"admin check {topic}")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert f"UNKNOWN_TOPIC_OR_PARTITION: topic '{topic}'" in outcome.err


@pytest.fixture
def broker(tmp_path: Path) -> BrokerThread:
    """One of our own, to be stopped, hurt and started again."""
    return BrokerThread(data_dir=str(tmp_path / "data"))


def produce(broker: BrokerThread, capfd: pytest.CaptureFixture[str], topic: str, batches: int) -> Programs:
    """A topic with so many batches of four records; returns the programs."""
    program = Programs(broker.address, capfd)
    for number in range(batches):
        program.succeed(f"produce {topic}", *(f"{number} {index}" for index in range(4)))
    return program


def test_damage_is_explained(broker: BrokerThread, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The range that is damaged is told, the rest is counted, other partitions are good, the status is 1."""
    with broker:
        produce(broker, capfd, "hurt", 6)
        produce(broker, capfd, "whole", 2)
        broker.stop()
        file = tmp_path / "data" / "hurt-0" / f"{0:020}.log"
        content = bytearray(file.read_bytes())
        content[content.index(b"3 1")] ^= 1  # the record at offset 13
        file.write_bytes(content)
        broker.start()
        outcome = Programs(broker.address, capfd)("admin check --json")
    assert outcome.status == 1
    found: Any = outcome.json
    (problem,) = found["problems"]
    limits = re.match(r"hurt-0: offsets (\d+) to (\d+): ", problem)
    assert limits, problem
    first, last = map(int, limits.groups())
    assert 12 <= first <= 13 <= last <= 15  # its batch
    rows = {row["partition"]: row for row in found["partitions"]}
    assert (rows["hurt-0"]["records"], rows["hurt-0"]["verdict"]) == (24 - (last - first + 1), "damaged")
    assert (rows["whole-0"]["records"], rows["whole-0"]["verdict"]) == (8, "good")


def test_an_offset_beyond_the_end_is_told(broker: BrokerThread, capfd: pytest.CaptureFixture[str]) -> None:
    """A group that has committed what the partition does not have has lost records, or was set wrongly."""
    with broker:
        program = produce(broker, capfd, "t", 1)
        program.succeed("consume t --group billing --max 4")
        assert program("admin check").status == 0
        trio.run(commit_too_far, broker.address)
        outcome = program("admin check")
        assert outcome.status == 1
        assert "group billing: offset 7 is committed for t-0, which ends at 4" in outcome.lines
        assert program("admin check t").status == 0  # of the topic alone


async def commit_too_far(bootstrap: str) -> None:
    """What the programs refuse to do."""
    async with Admin(bootstrap) as admin:
        await admin.alter_group_offsets("billing", {TopicPartition("t", 0): 7})
