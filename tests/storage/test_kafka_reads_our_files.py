"""Kafka's DumpLogSegments finds no fault in our segments and indexes, however they came about, and finds planted ones."""

import random
import re
from pathlib import Path

import pytest

from minibroker.records.compression import Codec
from minibroker.storage.files import INDEX
from minibroker.storage.filesystem import OsFileSystem
from minibroker.storage.log import Log
from minibroker.storage.settings import LogSettings
from tests.clients.kafka_tools import KafkaTools, find_tools
from tests.storage.logs import NOW, TOPIC_ID, append, at_once, checkpoint, contents

pytestmark = pytest.mark.foreign

FAULTS = r"mismatch|isvalid: false|non-consecutive|out of order|corrupt|exception|not found|error"
SETTINGS = LogSettings(segment_bytes=30_000, index_interval_bytes=1000)


@pytest.fixture(scope="module")
def tools() -> KafkaTools:
    return find_tools()


def make(directory: Path) -> Log:
    """Segments with batches of every codec and timestamps out of order."""
    rng = random.Random(1)
    log = Log.create(OsFileSystem(), f"{directory}/t-0", SETTINGS, TOPIC_ID, NOW)
    for number in range(800):
        times = [NOW + number * 10 + rng.randrange(-200, 200) for _ in range(rng.randint(1, 5))]
        append(log, timestamps=times, size=rng.randrange(300), codec=rng.choice(list(Codec)))
    checkpoint(log)
    return log


def dump(tools: KafkaTools, log: Log, *options: str) -> str:
    names = sorted(name for name in log.fs.list_sizes(log.directory) if name.endswith((".log", "index")))
    assert len(names) > 10
    return tools.dump(*options, "--files", ",".join(f"{log.directory}/{name}" for name in names))


@pytest.mark.parametrize("options", [(), ("--deep-iteration",), ("--index-sanity-check",), ("--verify-index-only",)])
def test_no_fault_is_found(tools: KafkaTools, tmp_path: Path, options: tuple[str, ...]) -> None:
    """In files as they were written."""
    log = make(tmp_path)
    dumped = dump(tools, log, *options)
    assert not re.search(FAULTS, dumped, re.IGNORECASE)
    assert dumped.count("baseOffset: ") == len(contents(log))


def test_no_fault_is_found_after_recoveries(tools: KafkaTools, tmp_path: Path) -> None:
    """Without checkpoint and indexes, with a torn tail; then with indexes rebuilt on demand."""
    log = make(tmp_path)
    for name in log.fs.list_sizes(log.directory):
        if name.endswith("index"):
            log.fs.unlink(f"{log.directory}/{name}")
    log.fs.open(log.active.log_path).pwrite(b"torn", log.active.size_bytes)
    again, report = Log.open(log.fs, log.directory, SETTINGS, None, NOW)
    assert report.cut_bytes == 4
    append(again)
    checkpoint(again)
    assert not re.search(FAULTS, dump(tools, again), re.IGNORECASE)
    again.needs_checkpoint = True
    state = again.begin_checkpoint()
    for name in log.fs.list_sizes(log.directory):
        if name.endswith("index"):
            log.fs.unlink(f"{log.directory}/{name}")
    once_more, report = Log.open(log.fs, log.directory, SETTINGS, state, NOW)
    assert report.is_clean
    for segment in once_more.segments:
        once_more.read(segment.base_offset, 1000, once_more.log_end_offset)
    at_once(once_more.offset_for_timestamp(NOW + 4000, once_more.log_end_offset))
    once_more.needs_checkpoint = True
    checkpoint(once_more)
    assert not re.search(FAULTS, dump(tools, once_more), re.IGNORECASE)


def test_planted_faults_are_found(tools: KafkaTools, tmp_path: Path) -> None:
    """Or the tests above would show nothing."""
    log = make(tmp_path)
    index = f"{log.directory}/{log.segments[0].base_offset:020}{INDEX}"
    file = log.fs.open(index)
    file.pwrite((int.from_bytes(file.pread(4, 80), "big") + 1).to_bytes(4, "big"), 80)
    assert re.search(FAULTS, dump(tools, log), re.IGNORECASE)
