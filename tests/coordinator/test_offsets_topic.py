"""Where a group's records are."""

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from minibroker.coordinator import offsets_topic
from minibroker.coordinator.offsets_topic import java_hash, read_latest
from minibroker.storage.compaction import Compaction, plan_compaction
from minibroker.storage.errors import CorruptLog
from tests.simulation.disk import SimulatedDisk
from tests.storage.compacting import MIB, NOW, PATIENT, append, close_segment, make_log


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0),
        ("a", 97),
        ("hello", 99162322),
        ("billing", 109829509),  # the hash is negative: Kafka takes its absolute value
        ("polygenelubricants", 0),  # the smallest int32, which has none
        ("\U0001f600", 1772899),
    ],
)
def test_strings_hash_as_in_java(text: str, value: int) -> None:
    """String.hashCode over UTF-16 units, then Kafka's abs."""
    assert java_hash(text) == value


async def test_damage_that_was_read_around_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though a compaction ends meanwhile, which has read the record that this reading has passed over."""
    log = make_log(Path("/"), SimulatedDisk())
    for key in (b"a", b"a", b"b", b"c", b"d"):
        append(log, [(key, b"x" * 100)])
    close_segment(log)
    plan = plan_compaction(log, NOW, NOW)
    assert plan is not None
    steps = Compaction(log, plan, MIB, PATIENT).steps()
    for work in islice(steps, 2):
        work()
    log.fs.open(log.segments[0].log_path).pwrite(b"\xff", 300)

    async def finish() -> None:
        for work in steps:
            work()

    monkeypatch.setattr(offsets_topic, "RECORDS_PER_TURN", 2)
    monkeypatch.setattr(trio.lowlevel, "checkpoint", finish)
    partition: Any = SimpleNamespace(log=log)
    with pytest.raises(CorruptLog):
        await read_latest(partition)
