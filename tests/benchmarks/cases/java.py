"""Kafka's own performance tools, against both brokers."""

from __future__ import annotations

import re
from typing import Final

from tests.benchmarks.case import KAFKA, OURS, Bench, Case, Sample, Turn
from tests.benchmarks.cases.fetch import fill
from tests.benchmarks.processes import BenchmarkError

PACKAGE: Final = "org.apache.kafka.tools"
RECORD_BYTES: Final = 1_000
_PRODUCED: Final = re.compile(r"([\d.]+) records/sec \(([\d.]+) MB/sec\), ([\d.]+) ms avg.* ([\d.]+) ms 99th")
_LATENCY: Final = re.compile(r"Avg latency: ([\d.]+) ms.*50th = (\d+), 99th = (\d+)", re.DOTALL)
MEBIBYTE: Final = 1.048576


def produce_turn(side: str) -> Turn:
    """ProducerPerformance; what it does in its first second, while Java compiles, does not count."""

    def turn(bench: Bench) -> Sample:
        broker, records = bench.broker(side), 100_000 if bench.quick else 500_000
        with bench.topic(broker) as topic:
            printed = _tool(
                bench,
                "ProducerPerformance",
                *("--bootstrap-server", broker.address, "--topic", topic, "--throughput", "-1"),
                *("--num-records", str(records + records // 2), "--warmup-records", str(records // 2)),
                *("--record-size", str(RECORD_BYTES), "--command-property", "acks=all"),
            )
        found = _PRODUCED.findall(printed)
        if not found:
            raise BenchmarkError(f"ProducerPerformance printed no figures: {printed[-300:]}")
        records_per_s, mebibytes, average, p99 = map(float, found[-1])
        return {
            "records_per_s": records_per_s,
            "mb_per_s": mebibytes * MEBIBYTE,
            "average_ms": average,
            "p99_ms": p99,
        }

    return turn


def consume_turn(side: str) -> Turn:
    """ConsumerPerformance, which reads what the load generator wrote."""

    def turn(bench: Bench) -> Sample:
        broker, total = bench.broker(side), 200_000_000 if bench.quick else 1_000_000_000
        with bench.topic(broker) as topic:
            fill(broker, topic, total, record_bytes=RECORD_BYTES)
            records = total // (RECORD_BYTES + 100)
            printed = _tool(
                bench,
                "ConsumerPerformance",
                *("--bootstrap-server", broker.address, "--topic", topic, "--num-records", str(records)),
                "--hide-header",
            )
        # start, end, MB, MB/s, records, records/s, ms of joining, ms of fetching, MB/s and records/s of fetching
        fields = [field.strip() for field in printed.strip().splitlines()[-1].split(",")]
        try:
            mebibytes, records_per_s = float(fields[-2]), float(fields[-1])
        except (IndexError, ValueError):
            raise BenchmarkError(f"ConsumerPerformance printed no figures: {printed[-300:]}") from None
        return {"records_per_s": records_per_s, "mb_per_s": mebibytes * MEBIBYTE}

    return turn


def latency_turn(side: str) -> Turn:
    """EndToEndLatency, one record at a time; it knows whole milliseconds only, but for the average."""

    def turn(bench: Bench) -> Sample:
        broker, records = bench.broker(side), 1_000 if bench.quick else 4_000
        with bench.topic(broker) as topic:
            printed = _tool(bench, "EndToEndLatency", broker.address, topic, str(records), "all", "100")
        found = _LATENCY.search(printed)
        if found is None:
            raise BenchmarkError(f"EndToEndLatency printed no figures: {printed[-300:]}")
        return dict(zip(("average_ms", "p50_ms", "p99_ms"), map(float, found.groups()), strict=True))

    return turn


def _tool(bench: Bench, name: str, *arguments: str) -> str:
    if bench.peer is None:
        raise BenchmarkError("Kafka's tools are not here")
    return bench.peer.tool(f"{PACKAGE}.{name}", *arguments)


CASES: Final = (
    Case(
        name="java-producer",
        work="Java ProducerPerformance, records of 1,000 bytes, acks=all",
        sides={side: produce_turn(side) for side in (OURS, KAFKA)},
    ),
    Case(
        name="java-consumer",
        work="Java ConsumerPerformance, records of 1,000 bytes",
        sides={side: consume_turn(side) for side in (OURS, KAFKA)},
    ),
    Case(
        name="java-latency",
        work="Java EndToEndLatency, acks=all",
        sides={side: latency_turn(side) for side in (OURS, KAFKA)},
    ),
)
