"""Fetch, from the page cache and from the disk."""

from __future__ import annotations

from typing import Any, Final

import attrs

from minibroker.load.specs import ACKS_LEADER, FetchSpec, ProduceSpec, Span
from minibroker.load.topics import create_topic, delete_topic
from tests.benchmarks.case import KAFKA, LIMIT, OURS, Bench, Case, Sample, Turn, limit_turn
from tests.benchmarks.processes import BrokerProcess, run_load

TOPIC: Final = "to-be-fetched"
FULL_BYTES: Final = 1 << 30
QUICK_BYTES: Final = 1 << 28
BATCH_BYTES: Final = 65_536
FETCH_BYTES: Final = 4 << 20


def fill(broker: BrokerProcess, topic: str, total_bytes: int, **spec: Any) -> None:
    """Produce so many bytes to a topic."""
    span = Span(warm_up_s=0, seconds=600, max_bytes=total_bytes)
    load = ProduceSpec(address=broker.address, topic=topic, acks=ACKS_LEADER, span=span)
    run_load("produce", attrs.evolve(load, **spec))


def fetch_turn(side: str, *, cold: bool) -> Turn:
    """Read a topic that is filled the first time: again and again from the cache, or once from the disk."""

    def turn(bench: Bench) -> Sample:
        broker = bench.broker(side)
        if not any(broker.logs.glob(f"{TOPIC}-*")):
            create_topic(broker.address, TOPIC)
            fill(broker, TOPIC, QUICK_BYTES if bench.quick else FULL_BYTES, batch_bytes=BATCH_BYTES, record_bytes=1024)
        if cold:
            broker.evict(TOPIC)
        span = Span(warm_up_s=0, seconds=30) if cold else bench.span()
        load = FetchSpec(
            address=broker.address,
            topic=TOPIC,
            partition_max_bytes=FETCH_BYTES,
            repeat=not cold,
            span=span,
            pid=broker.pid,
        )
        return run_load("fetch", load)

    return turn


def _forget(bench: Bench) -> None:
    for side in (OURS, KAFKA) if bench.peer else (OURS,):
        delete_topic(bench.broker(side).address, TOPIC)


CASES: Final = (
    Case(
        name="fetch-warm",
        work="fetch, 4 MiB at a time, from the page cache",
        sides={
            OURS: fetch_turn(OURS, cold=False),
            KAFKA: fetch_turn(KAFKA, cold=False),
            LIMIT: limit_turn("sendfile"),
        },
    ),
    Case(
        name="fetch-cold",
        work="fetch, 4 MiB at a time, from the disk",
        sides={
            OURS: fetch_turn(OURS, cold=True),
            KAFKA: fetch_turn(KAFKA, cold=True),
            LIMIT: limit_turn("sendfile-cold"),
        },
        done=_forget,
    ),
)
