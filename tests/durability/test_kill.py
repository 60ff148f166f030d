"""kill -9 of a real broker under load by foreign clients: nothing is lost, doubled, or gone that was read.

The default run kills 20 times. `python -m tests.soak kills` goes on from there.
"""

from __future__ import annotations

import gc
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.durability.load import Load, Member, Reader, Writer
from tests.durability.process import BrokerProcess
from tests.durability.python_load import AioReader, AioWriter, PythonReader, PythonWriter
from tests.durability.verdict import judge, read_directory

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
COMPACTED = ("c", 0)
CLIENTS = ("librdkafka", "aiokafka", "kafka-python")
IN_ITS_START = 0.2
"""How likely it is that a broker is killed before it listens, and its successor again."""
LONGEST_START_S = 0.05
CYCLES = 20


@attrs.define(eq=False)
class Killing:
    """One directory, its clients, and brokers that are killed one after the other."""

    directory: Path
    seed: int
    foreign: str = "librdkafka"
    """Whose clients write and read; the group and the compacted topic are always librdkafka's."""
    kills: int = 0
    load: Load = attrs.field(init=False)
    broker: BrokerProcess = attrs.field(init=False)
    rng: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.broker = BrokerProcess(self.directory, SETTINGS)
        self.load = Load(self.broker.address)
        self.load.history.place(COMPACTED).compacted = True

    def run(self, kills: int, deadline: Callable[[], bool] = lambda: False) -> None:
        """Kill a broker under load, and hold what is there in the end against what clients were told."""
        load = self.load
        self.broker.start()
        try:
            self.broker.wait_listening()
            load.create({"a": (2, {}), "c": (1, {"cleanup.policy": "compact"})})
            load.start(*self._clients(), Writer(load, 3, [COMPACTED], keys=20), Member(load, "group", "a"))
            load.wait_more(acked=1, polled=1, committed=1)
            while self.kills < kills and not deadline():
                self._kill()
            load.wait_more(acked=1, polled=1, committed=1)
            load.finish()
            self.broker.kill()
            judge(load.history, read_directory(self.directory, SETTINGS))
        except Exception as error:
            load.abandon()
            raise AssertionError(f"seed {self.seed}: {error!r}") from error
        finally:
            self.broker.close()

    def _clients(self) -> list[Any]:
        load, places = self.load, [*PLACES, COMPACTED]
        match self.foreign:
            case "aiokafka":
                return [AioWriter(load, 1, PLACES), AioWriter(load, 2, PLACES), AioReader(load, "reader", places)]
            case "kafka-python":
                return [
                    PythonWriter(load, 1, PLACES),
                    PythonWriter(load, 2, PLACES),
                    PythonReader(load, "reader", places),
                ]
            case _:
                return [Writer(load, 1, PLACES), Writer(load, 2, PLACES), Reader(load, "reader", places)]

    def _kill(self) -> None:
        chance = self.rng.random()
        self.load.wait_more(acked=self.rng.choice((1, 30, 300)), polled=chance < 0.3, committed=chance < 0.05)
        self._restart()
        while self.rng.random() < IN_ITS_START:
            time.sleep(self.rng.random() * LONGEST_START_S)  # somewhere in its recovery, wherever that is
            self._restart()
        self.broker.wait_listening()

    def _restart(self) -> None:
        self.broker.kill()
        self.broker.start()
        self.kills += 1


LEAKS = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
"""kafka-python leaves sockets to the garbage collector whose connections were refused."""


@pytest.mark.parametrize(
    ("foreign", "kills"), [("librdkafka", 10), ("aiokafka", 5), pytest.param("kafka-python", 5, marks=LEAKS)]
)
def test_nothing_is_lost_when_the_broker_is_killed(tmp_path: Path, foreign: str, kills: int) -> None:
    """What idempotent producers, consumers and a group were told holds after kills, at the same offsets, once."""
    killing = Killing(tmp_path, random.randrange(1 << 30), foreign)
    killing.run(kills)
    gc.collect()  # while such warnings are ignored
    assert killing.kills >= kills
    assert sum(len(place.acked) for place in killing.load.history.places.values()) > 100


def soak(seed: int, deadline: Callable[[], bool]) -> int:
    """Twenty kills or a few more, by the clients whose turn it is."""
    with tempfile.TemporaryDirectory(prefix="minibroker-") as name:
        killing = Killing(Path(name), seed, CLIENTS[seed % len(CLIENTS)])
        killing.run(CYCLES, deadline)
        return killing.kills
