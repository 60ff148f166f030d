"""What a case is: one kind of work, and the sides that do it in turns."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from minibroker.load.process import ProcessReading, read_process
from minibroker.load.specs import ACKS_LEADER, FetchSpec, ProduceSpec, Span
from minibroker.load.topics import temporary_topic
from tests.benchmarks.brokers import KafkaPeer, our_broker
from tests.benchmarks.loads.limits import LimitName, LimitSpec
from tests.benchmarks.processes import BenchmarkError, BrokerProcess, run_load

OURS: Final = "minibroker"
KAFKA: Final = "kafka"
KAFKA_SYNCED: Final = "kafka-synced"
LIMIT: Final = "limit"

SYNCED: Final = {"flush.messages": "1"}
"""The topic setting by which Kafka makes the promise that our broker always makes: on disk before the answer."""

SETTLE_PATIENCE_S: Final = 15.0
LOOK_S: Final = 0.1
REST_SHARE: Final = 0.15
"""A broker that uses less of a core than this has nothing left to do."""

Sample = dict[str, float]
"""The figures of one turn of one side."""


@attrs.define(eq=False)
class Bench:
    """What cases are run with: brokers that are started when first asked for, and a place for their data."""

    directory: Path
    peer: KafkaPeer | None
    quick: bool = False
    command: tuple[str, ...] = ()
    """What starts our broker, in place of this checkout's."""

    _brokers: dict[tuple[str, str], BrokerProcess] = attrs.field(factory=dict, init=False)
    _names: int = attrs.field(default=0, init=False)

    @property
    def seconds(self) -> float:
        """How long one turn is measured."""
        return 0.5 if self.quick else 1.5

    def span(self, max_bytes: int | None = None) -> Span:
        """A measured part of the usual length."""
        return Span(warm_up_s=0.3 if self.quick else 0.5, seconds=self.seconds, max_bytes=max_bytes)

    def fresh(self, name: str) -> str:
        """A name nobody has used in this run."""
        self._names += 1
        return f"{name}-{self._names}"

    def broker(self, side: str, purpose: str = "main") -> BrokerProcess:
        """The broker of a side, started and warm. Cases with the same purpose share it."""
        kind = OURS if side == OURS else KAFKA
        if (kind, purpose) not in self._brokers:
            process = self.new_broker(kind, purpose)
            process.start()
            self._brokers[kind, purpose] = process
            if purpose == "main":
                self._warm(process)
        return self._brokers[kind, purpose]

    def new_broker(self, side: str, purpose: str) -> BrokerProcess:
        """A broker on a new directory, not started. Raises BenchmarkError if it is Kafka and there is none."""
        directory = self.directory / self.fresh(f"{side}-{purpose}")
        if side == OURS:
            return our_broker(directory, side, self.command)
        if self.peer is None:
            raise BenchmarkError("there is no Kafka to compare with")
        return self.peer.broker(directory, side)

    def discard(self, purpose: str) -> None:
        """Stop the brokers of a purpose, and delete their data."""
        for key in [key for key in self._brokers if key[1] == purpose]:
            process = self._brokers.pop(key)
            process.kill()
            shutil.rmtree(process.directory)

    def close(self) -> None:
        """Stop everything."""
        for purpose in {purpose for _, purpose in self._brokers}:
            self.discard(purpose)

    @contextmanager
    def topic(
        self, broker: BrokerProcess, partitions: int = 1, configs: Mapping[str, str] | None = None
    ) -> Iterator[str]:
        """A topic for one turn, which begins once what its creation set off is over."""
        with temporary_topic(broker.address, self.fresh("benchmark"), partitions, configs) as name:
            self.settle()
            yield name

    def settle(self) -> None:
        """Wait until the brokers are at rest and the disk has what was written: turns must not pay for each other."""
        os.sync()
        deadline = time.monotonic() + SETTLE_PATIENCE_S
        while time.monotonic() < deadline and not self._is_at_rest():
            pass

    def _is_at_rest(self) -> bool:
        before = self._readings()
        time.sleep(LOOK_S)
        used = [after.cpu_s - at.cpu_s for at, after in zip(before, self._readings(), strict=True) if at and after]
        return all(cpu_s < REST_SHARE * LOOK_S for cpu_s in used)

    def _readings(self) -> list[ProcessReading | None]:
        return [read_process(process.pid) for process in self._brokers.values() if process.process is not None]

    def _warm(self, broker: BrokerProcess) -> None:
        """Let a JVM compile what it will need; ours gets the same, so that neither has an excuse.

        It takes its time: with large batches Kafka needs ten seconds to become three times as fast as it began.
        """
        span = Span(warm_up_s=0, seconds=1.0 if self.quick else 4.0)
        for _ in range(1 if self.quick else 2):
            with self.topic(broker) as topic:
                spec = ProduceSpec(address=broker.address, topic=topic, span=span, acks=ACKS_LEADER)
                run_load("produce", attrs.evolve(spec, batch_bytes=1_000_000))
                run_load("produce", attrs.evolve(spec, connections=10))
                run_load("produce", attrs.evolve(spec, batch_bytes=1, connections=50, in_flight=1))
                run_load("fetch", FetchSpec(address=broker.address, topic=topic, span=span))


Turn = Callable[[Bench], Sample]


@attrs.frozen(kw_only=True)
class Case:
    """Work, with what each side does of it."""

    name: str
    work: str
    """In words, for the table."""

    sides: Mapping[str, Turn]
    """In the order of each round."""

    done: Callable[[Bench], None] | None = None
    """Puts away what the turns shared, after the last."""

    max_rounds: int | None = None
    """For what costs more than its figures are worth."""


def limit_turn(limit: LimitName, **changes: Any) -> Turn:
    """What the machine can do, as a side of a case."""

    def turn(bench: Bench) -> Sample:
        total = (256 << 20) if bench.quick else (1 << 30)
        spec = LimitSpec(limit=limit, directory=str(bench.directory), seconds=bench.seconds, total_bytes=total)
        return run_load("limit", attrs.evolve(spec, **changes))

    return turn


@contextmanager
def bench_in(directory: Path | None, **settings: Any) -> Iterator[Bench]:
    """A bench whose data is deleted at the end. The directory should be on a real disk: /tmp may be memory."""
    with tempfile.TemporaryDirectory(prefix="minibroker-benchmark-", dir=directory) as name:
        bench = Bench(Path(name), **settings)
        try:
            yield bench
        finally:
            bench.close()
