"""Throughput as one thing grows: batches, connections, partitions, idle connections. The plots show these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from minibroker.load.specs import ACKS_ALL, ProduceSpec
from tests.benchmarks.case import KAFKA, OURS, Bench, Case, Sample, Turn
from tests.benchmarks.cases.produce import produce_turn
from tests.benchmarks.loads.idle import IdleSpec
from tests.benchmarks.processes import run_load, start_load

BATCH_SIZES: Final = (1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000)
CONNECTIONS: Final = (1, 5, 20, 100, 500)
PARTITIONS: Final = (1, 10, 100, 1_000, 5_000)
IDLE: Final = (0, 5_000)
SWEEP_ROUNDS: Final = 3


def at(side: str, value: int) -> str:
    """The name of one point of a sweep."""
    return f"{side}@{value}"


def sweep(parameter: str, values: Sequence[int], **spec: Any) -> Mapping[str, Turn]:
    """Produce with each value of one parameter, our side and Kafka's next to each other."""
    return {
        at(side, value): produce_turn(side, acks=ACKS_ALL, **{**spec, parameter: value})
        for value in values
        for side in (OURS, KAFKA)
    }


def idle_turn(side: str, connections: int) -> Turn:
    """Produce over one connection, with so many others that are there and silent."""

    def turn(bench: Bench) -> Sample:
        broker = bench.broker(side)
        crowd = start_load("idle", IdleSpec(address=broker.address, connections=connections))
        try:
            if crowd.line().strip() != "ready":
                crowd.result()
            with bench.topic(broker) as topic:
                load = ProduceSpec(address=broker.address, topic=topic, span=bench.span(), pid=broker.pid)
                return run_load("produce", load)
        finally:
            crowd.stop()

    return turn


CASES: Final = (
    Case(
        name="sweep-batch-size",
        work="produce, 1 connection, acks=all, by batch size",
        sides=sweep("batch_bytes", BATCH_SIZES),
        max_rounds=SWEEP_ROUNDS,
    ),
    Case(
        name="sweep-connections",
        work="single records one at a time, acks=all, by connections",
        sides=sweep("connections", CONNECTIONS, batch_bytes=1, in_flight=1),
        max_rounds=SWEEP_ROUNDS,
    ),
    Case(
        name="sweep-partitions",
        work="produce, 16 KB batches, 10 connections, acks=all, by partitions",
        sides=sweep("partitions", PARTITIONS, connections=10),
    ),
    Case(
        name="idle-connections",
        work="produce, 16 KB batches, 1 connection, beside idle connections",
        sides={at(side, count): idle_turn(side, count) for count in IDLE for side in (OURS, KAFKA)},
    ),
)
