"""Produce with ready-made requests: the broker is all that is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from minibroker.load.specs import ACKS_ALL, ACKS_LEADER, ProduceSpec
from tests.benchmarks.case import KAFKA, KAFKA_SYNCED, LIMIT, OURS, SYNCED, Bench, Case, Sample, Turn, limit_turn
from tests.benchmarks.processes import run_load

MEGABYTE: Final = 1_000_000
ONE_RECORD: Final = 1
MAX_BYTES: Final = 1_500_000_000
MANY_PARTITIONS: Final = 1_000
FIRST_WRITES_S: Final = 3.0
"""Warm-up for many new files: the first write to each has the kernel look for space, which on a disk that is in use takes
it a millisecond of processor time or more, once."""


def produce_turn(side: str, *, partitions: int = 1, **spec: Any) -> Turn:
    """Produce to a new topic; on the synced side with the setting that makes Kafka sync."""
    configs = SYNCED if side == KAFKA_SYNCED else {}

    def turn(bench: Bench) -> Sample:
        broker = bench.broker(side)
        span = bench.span(MAX_BYTES)
        if partitions >= MANY_PARTITIONS:
            span = attrs.evolve(span, warm_up_s=FIRST_WRITES_S)
        with bench.topic(broker, partitions, configs) as topic:
            load = ProduceSpec(
                address=broker.address,
                topic=topic,
                partitions=partitions,
                span=span,
                pid=broker.pid,
                **spec,
            )
            return run_load("produce", load)

    return turn


def produce_sides(*sides: str, **spec: Any) -> Mapping[str, Turn]:
    """The same work for several sides."""
    return {side: produce_turn(side, **spec) for side in sides}


CASES: Final = (
    Case(
        name="produce-1mb-acks1",
        work="produce, 1 MB batches, acks=1",
        sides={
            **produce_sides(OURS, KAFKA, acks=ACKS_LEADER, batch_bytes=MEGABYTE),
            LIMIT: limit_turn("receive-and-write"),
        },
    ),
    Case(
        name="produce-1mb",
        work="produce, 1 MB batches, acks=all",
        sides={
            **produce_sides(OURS, KAFKA, acks=ACKS_ALL, batch_bytes=MEGABYTE),
            LIMIT: limit_turn("synced-append"),
        },
    ),
    Case(
        name="produce-1mb-of-1kib",
        work="produce, 1 MB batches of 1 KiB records, acks=all",
        sides=produce_sides(OURS, KAFKA, acks=ACKS_ALL, batch_bytes=MEGABYTE, record_bytes=1024),
    ),
    Case(
        name="produce-16kb-1",
        work="produce, 16 KB batches, 1 connection, acks=all",
        sides=produce_sides(OURS, KAFKA, acks=ACKS_ALL),
    ),
    Case(
        name="produce-16kb-10",
        work="produce, 16 KB batches, 10 connections, acks=all",
        sides=produce_sides(OURS, KAFKA, acks=ACKS_ALL, connections=10),
    ),
    Case(
        name="single-1",
        work="single records, 1 connection, one at a time, acks=all",
        sides={
            **produce_sides(OURS, KAFKA_SYNCED, KAFKA, acks=ACKS_ALL, batch_bytes=ONE_RECORD, in_flight=1),
            LIMIT: limit_turn("small-synced-append"),
        },
    ),
    Case(
        name="single-50",
        work="single records, 50 connections, acks=all",
        sides=produce_sides(
            OURS, KAFKA_SYNCED, KAFKA, acks=ACKS_ALL, batch_bytes=ONE_RECORD, in_flight=1, connections=50
        ),
    ),
    Case(
        name="single-1-acks1",
        work="single records, 1 connection, one at a time, acks=1",
        sides=produce_sides(OURS, KAFKA, acks=ACKS_LEADER, batch_bytes=ONE_RECORD, in_flight=1),
    ),
    Case(
        name="single-50-acks1",
        work="single records, 50 connections, acks=1",
        sides=produce_sides(OURS, KAFKA, acks=ACKS_LEADER, batch_bytes=ONE_RECORD, in_flight=1, connections=50),
    ),
    Case(
        name="produce-1000-partitions",
        work="produce to 1,000 partitions in one request, 1 KiB each, acks=all",
        # One request at a time: pipelined, such requests make Kafka's receive window (100 KB) close, and the
        # connection stalls for seconds on TCP's persist timer. That is a trap of Kafka's defaults, not its speed.
        sides=produce_sides(
            OURS,
            KAFKA,
            KAFKA_SYNCED,
            acks=ACKS_ALL,
            batch_bytes=ONE_RECORD,
            record_bytes=1024,
            in_flight=1,
            partitions=MANY_PARTITIONS,
            partitions_per_request=MANY_PARTITIONS,
        ),
    ),
)
