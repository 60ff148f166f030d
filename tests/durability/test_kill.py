"""kill -9 of a real broker under load by foreign clients: nothing is lost, doubled, or gone that was read.

The default run kills 20 times. The long run takes TEST_KILLS (1000 without it) and TEST_SEED.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from minibroker.config.load import structure
from minibroker.storage.filesystem import OsFileSystem
from tests.durability.load import Load, Member, Reader, Writer
from tests.durability.process import BrokerProcess
from tests.simulation.broker_life import describe
from tests.simulation.history import History, Scan
from tests.simulation.inspection import open_disk, scan

SETTINGS = {
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.segment.bytes": "16384",
    "log.segment.bytes": "32768",
    "log.flush.offset.checkpoint.interval.ms": "50",
    "log.cleaner.backoff.ms": "100",
    "log.cleaner.min.cleanable.ratio": "0.1",
}
PLACES = [("a", 0), ("a", 1)]


def run_kills(directory: Path, kills: int, seed: int) -> History:
    """Kill a broker under load `kills` times, and hold what is there in the end against what clients were told."""
    rng = random.Random(seed)
    broker = BrokerProcess(directory, SETTINGS)
    broker.start()
    broker.wait_listening()
    load = Load(broker.address)
    load.history.place(("c", 0)).compacted = True
    try:
        load.create({"a": (2, {}), "c": (1, {"cleanup.policy": "compact"})})
        load.start(
            Writer(load, 1, PLACES),
            Writer(load, 2, PLACES),
            Writer(load, 3, [("c", 0)], keys=20),
            Reader(load, "reader", [*PLACES, ("c", 0)]),
            Member(load, "group", "a"),
        )
        load.wait_read()
        for _ in range(kills):
            load.wait_acked(rng.choice((1, 30, 300)))
            broker.kill()
            broker.start()
            while rng.random() < 0.2:  # in the middle of its start, too
                time.sleep(rng.random() * 0.4)
                broker.kill()
                broker.start()
            broker.wait_listening()
        load.wait_acked(1)
    finally:
        load.done = True
    load.finish()
    broker.kill()
    anomalies = load.history.check(_scan(directory))
    assert not anomalies, f"seed {seed}: {describe(anomalies)}"
    return load.history


def _scan(directory: Path) -> Scan:
    settings = structure({**SETTINGS, "log.dirs": str(directory / "data")})
    data = open_disk(OsFileSystem(), settings, time.time_ns() // 1_000_000)
    try:
        return scan(data)
    finally:
        data.directory.release()


def test_nothing_is_lost_when_the_broker_is_killed(tmp_path: Path) -> None:
    """What idempotent producers, consumers and a group were told holds after 20 kills, at the same offsets, once."""
    history = run_kills(tmp_path, 20, 1)
    assert sum(len(place.acked) for place in history.places.values()) > 100


@pytest.mark.slow
def test_nothing_is_lost_when_the_broker_is_killed_a_thousand_times(tmp_path: Path) -> None:
    """The same for longer."""
    seed = int(os.environ.get("TEST_SEED", "0")) or random.randrange(1, 1 << 30)
    kills = int(os.environ.get("TEST_KILLS", "1000"))
    print(f"TEST_SEED={seed} TEST_KILLS={kills}, in {tmp_path}", flush=True)
    history = run_kills(tmp_path, kills, seed)
    acked = sum(len(place.acked) for place in history.places.values())
    polled = sum(len(place.polled) for place in history.places.values())
    print(f"{acked} records acknowledged, {polled} polled, none lost")
