"""Runs the loads of `minibroker bench` in turns, and says what came out."""

from __future__ import annotations

import secrets
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from minibroker.cli import FAILURE, SUCCESS
from minibroker.cli.bench import BenchOptions, Work
from minibroker.cli.problems import CommandError
from minibroker.cli.tables import show
from minibroker.load.end_to_end import run_end_to_end
from minibroker.load.errors import LoadError
from minibroker.load.fetching import run_fetch
from minibroker.load.measurement import Measurement
from minibroker.load.producing import run_produce
from minibroker.load.specs import ACKS_ALL, ACKS_LEADER, EndToEndSpec, FetchSpec, ProduceSpec, Span
from minibroker.load.statistics import Comparison
from minibroker.load.topics import temporary_topic

RUNS_ALONE: Final = 1
RUNS_AGAINST: Final = 3
FETCHED_BYTES: Final = 256_000_000
FILL_SECONDS: Final = 5.0


@attrs.frozen(kw_only=True)
class Row:
    """Medians of one work at one broker; latencies are of a request or, for the latency work, of a record."""

    work: Work
    broker: str
    runs: int
    mb_per_s: float
    records_per_s: int
    p50_ms: float
    p99_ms: float
    cpu_s_per_gb: float | None


def run_bench(works: Sequence[Work], options: BenchOptions) -> int:
    """Measure, print the table and, of two brokers, the ratios; the exit status."""
    brokers = [options.broker, *([options.against] if options.against else [])]
    runs = options.runs or (RUNS_AGAINST if options.against else RUNS_ALONE)
    rows, verdicts = [], []
    try:
        for work in works:
            measured: dict[str, list[Measurement]] = {broker: [] for broker in brokers}
            for _ in range(runs):
                for broker in brokers:  # in turns: whatever else the machine does, it does to both
                    measured[broker].append(_WORKS[work](broker, options))
            rows += [_row(work, broker, measured[broker]) for broker in brokers]
            if options.against:
                verdicts.append(_verdict(work, measured))
    except LoadError as error:
        raise CommandError(str(error), FAILURE) from None
    show(Row, rows, as_json=options.json)
    for verdict in verdicts:
        print(verdict, file=sys.stderr if options.json else sys.stdout)
    return SUCCESS


def _topic() -> str:
    return f"minibroker-bench-{secrets.token_hex(4)}"


def _produce_spec(broker: str, topic: str, options: BenchOptions) -> ProduceSpec:
    return ProduceSpec(
        address=broker,
        topic=topic,
        partitions=options.partitions,
        connections=options.connections,
        in_flight=options.in_flight,
        acks=_acks(options),
        batch_bytes=options.batch_bytes,
        record_bytes=options.record_bytes,
        compression=options.compression,
        span=Span(seconds=options.seconds),
        pid=_pid(broker, options),
    )


def _produce(broker: str, options: BenchOptions) -> Measurement:
    with temporary_topic(broker, _topic(), options.partitions) as topic:
        return run_produce(_produce_spec(broker, topic, options))


def _fetch(broker: str, options: BenchOptions) -> Measurement:
    with temporary_topic(broker, _topic(), options.partitions) as topic:
        fill = Span(warm_up_s=0, seconds=FILL_SECONDS, max_bytes=FETCHED_BYTES)
        run_produce(attrs.evolve(_produce_spec(broker, topic, options), span=fill))
        return run_fetch(
            FetchSpec(
                address=broker,
                topic=topic,
                partitions=options.partitions,
                connections=options.connections,
                span=Span(seconds=options.seconds),
                pid=_pid(broker, options),
            )
        )


def _latency(broker: str, options: BenchOptions) -> Measurement:
    with temporary_topic(broker, _topic()) as topic:
        return run_end_to_end(
            EndToEndSpec(
                address=broker,
                topic=topic,
                acks=_acks(options),
                record_bytes=options.record_bytes,
                span=Span(seconds=options.seconds),
                pid=_pid(broker, options),
            )
        )


_WORKS: Final[Mapping[Work, Callable[[str, BenchOptions], Measurement]]] = {
    "produce": _produce,
    "fetch": _fetch,
    "latency": _latency,
}


def _acks(options: BenchOptions) -> int:
    return ACKS_ALL if options.acks == "all" else ACKS_LEADER


def _pid(broker: str, options: BenchOptions) -> int | None:
    return options.pid if broker == options.broker else None


def _row(work: Work, broker: str, measured: Sequence[Measurement]) -> Row:
    costs = [one.cpu_s_per_gb for one in measured if one.cpu_s_per_gb is not None]
    return Row(
        work=work,
        broker=broker,
        runs=len(measured),
        mb_per_s=round(statistics.median(one.mb_per_s for one in measured), 1),
        records_per_s=round(statistics.median(one.records_per_s for one in measured)),
        p50_ms=round(statistics.median(one.p50_ms for one in measured), 3),
        p99_ms=round(statistics.median(one.p99_ms for one in measured), 3),
        cpu_s_per_gb=round(statistics.median(costs), 2) if costs else None,
    )


def _verdict(work: Work, measured: Mapping[str, Sequence[Measurement]]) -> str:
    """The ratio of the two brokers; that there is none, where the runs of the two are not apart."""
    figures = [[one.p50_ms if work == "latency" else one.mb_per_s for one in runs] for runs in measured.values()]
    ours, theirs = measured
    comparison = Comparison.of(*figures)
    what = "the latency (p50)" if work == "latency" else "the throughput"
    if not comparison.differs:
        return f"{work}: no difference between {ours} and {theirs} that would stand out from the noise"
    span = f"{comparison.low:.2f} to {comparison.high:.2f}"
    return f"{work}: {ours} has {comparison.ratio:.2f} times {what} of {theirs} ({span} in turns)"
