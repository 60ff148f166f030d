"""Start, stop, crash and memory; and ten gigabytes in a thousand partitions: recovered, and read beside a producer."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Final

import attrs

from minibroker.load.specs import ACKS_LEADER, FetchSpec, ProduceSpec, Span
from minibroker.load.topics import create_topic, end_offsets
from tests.benchmarks.case import KAFKA, OURS, Bench, Case, Sample, Turn
from tests.benchmarks.cases.fetch import fill
from tests.benchmarks.processes import BrokerProcess, run_load, start_load

BULK: Final = "bulk"
SETTLE_S: Final = 2.0
PACE_S: Final = 0.002
FAR_AWAY_S: Final = 600.0


def bulk_size(bench: Bench) -> tuple[int, int]:
    """How many partitions, and how many bytes in all."""
    return (100, 1_000_000_000) if bench.quick else (1_000, 10_000_000_000)


def bulk_broker(bench: Bench, side: str) -> BrokerProcess:
    """A broker that holds a lot."""
    broker = bench.broker(side, BULK)
    if not any(broker.logs.glob(f"{BULK}-*")):
        partitions, total = bulk_size(bench)
        create_topic(broker.address, BULK, partitions)
        fill(broker, BULK, total, partitions=partitions, batch_bytes=100_000, record_bytes=1024)
    return broker


def start_turn(side: str) -> Turn:
    """Start on an empty directory, look at its memory, and stop."""

    def turn(bench: Bench) -> Sample:
        broker = bench.new_broker(side, "start")
        try:
            start_s = broker.start()
            time.sleep(SETTLE_S)
            idle = broker.reading()
            return {"start_s": start_s, "stop_s": broker.stop(), "rss_mb": idle.rss_bytes / 1e6}
        finally:
            broker.kill()
            shutil.rmtree(broker.directory)

    return turn


def young_turn(side: str) -> Turn:
    """Produce large batches to a broker that has just started, as one in a test suite is."""

    def turn(bench: Bench) -> Sample:
        broker = bench.new_broker(side, "young")
        try:
            broker.start()
            create_topic(broker.address, BULK)
            span = Span(warm_up_s=0, seconds=bench.seconds)
            load = ProduceSpec(address=broker.address, topic=BULK, batch_bytes=1_000_000, acks=ACKS_LEADER, span=span)
            return run_load("produce", attrs.evolve(load, pid=broker.pid))
        finally:
            broker.kill()
            shutil.rmtree(broker.directory)

    return turn


def memory_turn(side: str) -> Turn:
    """Put every kind of load on a broker that has just started; its memory at the highest."""

    def turn(bench: Bench) -> Sample:
        broker = bench.new_broker(side, "memory")
        try:
            broker.start()
            create_topic(broker.address, BULK, 10)
            spec = ProduceSpec(address=broker.address, topic=BULK, partitions=10, span=bench.span())
            run_load("produce", attrs.evolve(spec, connections=50))
            run_load("produce", attrs.evolve(spec, connections=10, batch_bytes=1_000_000))
            fetch = FetchSpec(address=broker.address, topic=BULK, partitions=10, connections=10, span=bench.span())
            run_load("fetch", fetch)
            return {"peak_rss_mb": broker.reading().peak_rss_bytes / 1e6}
        finally:
            broker.kill()
            shutil.rmtree(broker.directory)

    return turn


def restart_turn(side: str) -> Turn:
    """Stop it, start it, kill it, start it: each time with something just written to every partition."""

    def turn(bench: Bench) -> Sample:
        broker = bulk_broker(bench, side)
        partitions, _ = bulk_size(bench)
        is_ready = _all_there(partitions)
        _touch(broker, partitions)
        stop_s = broker.stop()
        start_s = broker.start(is_ready)
        _touch(broker, partitions)
        broker.kill()
        return {"stop_s": stop_s, "start_s": start_s, "start_after_kill_s": broker.start(is_ready)}

    return turn


def reader_turn(side: str, *, with_reader: bool) -> Turn:
    """Produce 500 batches a second by the clock, alone or beside a reader of cold data."""

    def turn(bench: Bench) -> Sample:
        broker = bulk_broker(bench, side)
        partitions, _ = bulk_size(bench)
        broker.evict(BULK)
        with bench.topic(broker) as topic:
            span = Span(warm_up_s=0.5, seconds=2 * bench.seconds)
            load = ProduceSpec(address=broker.address, topic=topic, record_bytes=1024, interval_s=PACE_S, span=span)
            if not with_reader:
                return run_load("produce", load)
            reading = FetchSpec(
                address=broker.address,
                topic=BULK,
                partitions=partitions,
                repeat=True,
                span=Span(warm_up_s=0, seconds=FAR_AWAY_S),
            )
            reader = start_load("fetch", reading)
            try:
                return run_load("produce", load)
            finally:
                reader.stop()

    return turn


def _touch(broker: BrokerProcess, partitions: int) -> None:
    """Append one batch to each partition."""
    span = Span(warm_up_s=0, seconds=FAR_AWAY_S, max_bytes=1)
    load = ProduceSpec(
        address=broker.address,
        topic=BULK,
        partitions=partitions,
        partitions_per_request=partitions,
        acks=ACKS_LEADER,
        batch_bytes=1,
        in_flight=1,
        span=span,
    )
    run_load("produce", load)


def _all_there(partitions: int) -> Callable[[str], bool]:
    return lambda address: end_offsets(address, BULK, partitions) is not None


CASES: Final = (
    Case(
        name="start-empty",
        work="start, idle memory and stop, empty directory",
        sides={side: start_turn(side) for side in (OURS, KAFKA)},
    ),
    Case(
        name="produce-1mb-young",
        work="produce, 1 MB batches, acks=1, in the first seconds of a broker",
        sides={side: young_turn(side) for side in (OURS, KAFKA)},
    ),
    Case(
        name="memory",
        work="resident memory under load",
        sides={side: memory_turn(side) for side in (OURS, KAFKA)},
    ),
    Case(
        name="cold-reader",
        work="p99 of a producer (500/s) beside a reader of 10 GB of cold data",
        sides={
            OURS: reader_turn(OURS, with_reader=True),
            "minibroker-alone": reader_turn(OURS, with_reader=False),
            KAFKA: reader_turn(KAFKA, with_reader=True),
            "kafka-alone": reader_turn(KAFKA, with_reader=False),
        },
    ),
    Case(
        name="restart-10gb",
        work="stop, start, start after kill -9, with 10 GB in 1,000 partitions",
        sides={side: restart_turn(side) for side in (OURS, KAFKA)},
        done=lambda bench: bench.discard(BULK),
    ),
)
