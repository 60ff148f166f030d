"""The table: which figure of which case is held against what, and what it should come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

import attrs

from minibroker.load.statistics import Comparison
from tests.benchmarks.case import KAFKA, KAFKA_SYNCED, LIMIT, OURS, Sample
from tests.benchmarks.cases.sweeps import IDLE, PARTITIONS, at

MIN_ROUNDS: Final = 2

Round = Mapping[str, Sample]
"""The figures of each side in one round."""


class Verdict(Enum):
    """What can be said of a goal."""

    REACHED = "reached"
    MISSED = "missed"
    WITHIN_NOISE = "within noise"
    """The ratio lies at the goal: some rounds are on one side of it, some on the other."""
    ONE_ROUND = "one round"
    NOT_MEASURED = "not measured"


@attrs.frozen(kw_only=True)
class Goal:
    """Our figure over that of another side should be at least, or at most, so much."""

    over: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bound(self) -> float:
        """The number."""
        bound = self.at_least if self.at_least is not None else self.at_most
        assert bound is not None
        return bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least is not None else '≤'} {self.bound:g} of {self.over}"

    def judge(self, comparison: Comparison | None) -> Verdict:
        """Whether it is reached, if the rounds agree about that; two, at least, have to.

        A goal that claims a difference (twice as fast) is not reached while the runs of the two sides overlap.
        """
        if comparison is None:
            return Verdict.NOT_MEASURED
        if comparison.rounds < MIN_ROUNDS:
            return Verdict.ONE_ROUND
        if comparison.low <= self.bound <= comparison.high:
            return Verdict.WITHIN_NOISE
        if (comparison.ratio > self.bound) != (self.at_least is not None):
            return Verdict.MISSED
        claims_difference = self.bound >= 1 if self.at_least is not None else self.bound <= 1
        return Verdict.WITHIN_NOISE if claims_difference and not comparison.differs else Verdict.REACHED


@attrs.frozen(kw_only=True)
class Line:
    """One line of the table."""

    work: str
    case: str
    metric: str
    goals: Sequence[Goal]
    unit: str
    ours: str = OURS
    digits: int = 0

    def values(self, rounds: Sequence[Round], side: str) -> list[float]:
        """The figures of one side, round by round; of rounds in which both it and we have one."""
        both = [round_ for round_ in rounds if _has(round_, side, self.metric) and _has(round_, self.ours, self.metric)]
        return [round_[side][self.metric] for round_ in both]

    def compare(self, rounds: Sequence[Round], side: str) -> Comparison | None:
        """Ours over that of a side; None without figures of both."""
        theirs = self.values(rounds, side)
        if not theirs or not all(theirs):
            return None
        ours = [round_[self.ours][self.metric] for round_ in rounds if _has(round_, side, self.metric)]
        return Comparison.of(ours, theirs)


def _has(round_: Round, side: str, metric: str) -> bool:
    return metric in round_.get(side, {})


def _least(over: str, bound: float) -> Goal:
    return Goal(over=over, at_least=bound)


def _most(over: str, bound: float) -> Goal:
    return Goal(over=over, at_most=bound)


def _clients(work: str, size: str, title: str) -> Line:
    goals = (_least("aiokafka", 3), _least("kafka-python", 3), _least("confluent", 0.5))
    return Line(work=title, case=f"client-{work}-{size}", metric="records_per_s", unit="records/s", goals=goals)


LINES: Final[Sequence[Line]] = (
    Line(
        work="produce, 1 MB batches, acks=1",
        case="produce-1mb-acks1",
        metric="mb_per_s",
        unit="MB/s",
        goals=(_least(KAFKA, 4), _least(LIMIT, 0.4)),
    ),
    Line(
        work="the same in the first seconds of a broker",
        case="produce-1mb-young",
        metric="mb_per_s",
        unit="MB/s",
        goals=(_least(KAFKA, 4),),
    ),
    Line(
        work="produce, 1 MB batches, acks=all, synced",
        case="produce-1mb",
        metric="mb_per_s",
        unit="MB/s",
        goals=(_least(KAFKA, 1.3), _least(LIMIT, 0.8)),
    ),
    Line(
        work="the same with records of 1 KiB",
        case="produce-1mb-of-1kib",
        metric="mb_per_s",
        unit="MB/s",
        goals=(_least(KAFKA, 1),),
    ),
    Line(
        work="produce, 16 KB batches, 1 connection, acks=all, synced",
        case="produce-16kb-1",
        metric="mb_per_s",
        unit="MB/s",
        goals=(_least(KAFKA, 1.5),),
    ),
    Line(
        work="produce, 16 KB batches, 10 connections, acks=all, synced",
        case="produce-16kb-10",
        metric="mb_per_s",
        unit="MB/s",
        goals=(_least(KAFKA, 1),),
    ),
    Line(
        work="single records, 1 connection, one at a time, synced",
        case="single-1",
        metric="records_per_s",
        unit="/s",
        goals=(_least(KAFKA_SYNCED, 1.3), _least(LIMIT, 0.6)),
    ),
    Line(
        work="single records, 50 connections, synced",
        case="single-50",
        metric="records_per_s",
        unit="/s",
        goals=(_least(KAFKA_SYNCED, 5),),
    ),
    Line(
        work="single records, 1 connection, acks=1",
        case="single-1-acks1",
        metric="records_per_s",
        unit="/s",
        goals=(_least(KAFKA, 0.8),),
    ),
    Line(
        work="single records, 50 connections, acks=1",
        case="single-50-acks1",
        metric="records_per_s",
        unit="/s",
        goals=(_least(KAFKA, 0.5),),
    ),
    Line(
        work="produce to 1,000 partitions at once, acks=all, synced",
        case="produce-1000-partitions",
        metric="records_per_s",
        unit="records/s",
        goals=(_least(KAFKA, 1), _least(KAFKA_SYNCED, 10)),
    ),
    Line(
        work="librdkafka, 1 KiB records, synced",
        case="librdkafka-1kib",
        metric="records_per_s",
        unit="records/s",
        goals=(_least(KAFKA, 1.2),),
    ),
    Line(
        work="librdkafka, 100 B records, synced",
        case="librdkafka-100b",
        metric="records_per_s",
        unit="records/s",
        goals=(_least(KAFKA, 0.8),),
    ),
    Line(
        work="Java ProducerPerformance, synced",
        case="java-producer",
        metric="records_per_s",
        unit="records/s",
        goals=(_least(KAFKA, 1),),
    ),
    Line(
        work="Java ConsumerPerformance",
        case="java-consumer",
        metric="records_per_s",
        unit="records/s",
        goals=(_least(KAFKA, 1),),
    ),
    Line(
        work="Java EndToEndLatency, p99, synced",
        case="java-latency",
        metric="p99_ms",
        unit="ms",
        digits=1,
        goals=(_most(KAFKA, 0.5),),
    ),
    Line(
        work="fetch, warm",
        case="fetch-warm",
        metric="mb_per_s",
        unit="MB/s",
        goals=(_least(KAFKA, 1), _least(LIMIT, 0.85)),
    ),
    Line(
        work="fetch, cold",
        case="fetch-cold",
        metric="mb_per_s",
        unit="MB/s",
        goals=(_least(KAFKA, 1), _least(LIMIT, 0.85)),
    ),
    Line(
        work="cold reader of 10 GB beside a producer: the producer's p99",
        case="cold-reader",
        metric="p99_ms",
        unit="ms",
        digits=2,
        goals=(_most(KAFKA, 0.5), _most("minibroker-alone", 2)),
    ),
    Line(
        work="processor time per GB, produce (1 MB batches, acks=1)",
        case="produce-1mb-acks1",
        metric="cpu_s_per_gb",
        unit="s/GB",
        digits=2,
        goals=(_most(KAFKA, 0.4),),
    ),
    Line(
        work="processor time per GB, fetch (warm)",
        case="fetch-warm",
        metric="cpu_s_per_gb",
        unit="s/GB",
        digits=2,
        goals=(_most(KAFKA, 1),),
    ),
    Line(
        work="resident memory, idle",
        case="start-empty",
        metric="rss_mb",
        unit="MB",
        goals=(_most(KAFKA, 0.12),),
    ),
    Line(
        work="resident memory, under load",
        case="memory",
        metric="peak_rss_mb",
        unit="MB",
        goals=(_most(KAFKA, 0.15),),
    ),
    Line(
        work="cold start, empty directory",
        case="start-empty",
        metric="start_s",
        unit="s",
        digits=2,
        goals=(_most(KAFKA, 0.12),),
    ),
    Line(
        work="graceful stop, empty directory",
        case="start-empty",
        metric="stop_s",
        unit="s",
        digits=2,
        goals=(_most(KAFKA, 0.1),),
    ),
    Line(
        work="start with 10 GB in 1,000 partitions",
        case="restart-10gb",
        metric="start_s",
        unit="s",
        digits=2,
        goals=(_most(KAFKA, 0.12),),
    ),
    Line(
        work="graceful stop with 10 GB in 1,000 partitions",
        case="restart-10gb",
        metric="stop_s",
        unit="s",
        digits=2,
        goals=(_most(KAFKA, 0.1),),
    ),
    Line(
        work="start after kill -9 with 10 GB in 1,000 partitions",
        case="restart-10gb",
        metric="start_after_kill_s",
        unit="s",
        digits=2,
        goals=(_most(KAFKA, 0.1),),
    ),
    Line(
        work="offset commits, 200 groups, synced",
        case="offset-commits",
        metric="records_per_s",
        unit="/s",
        goals=(_least(KAFKA_SYNCED, 1),),
    ),
    Line(
        work="throughput kept with 5,000 partitions in place of 1",
        case="sweep-partitions",
        metric="mb_per_s",
        unit="MB/s",
        ours=at(OURS, PARTITIONS[-1]),
        goals=(_least(at(OURS, PARTITIONS[0]), 0.8),),
    ),
    Line(
        work="throughput kept beside 5,000 idle connections",
        case="idle-connections",
        metric="mb_per_s",
        unit="MB/s",
        ours=at(OURS, IDLE[-1]),
        goals=(_least(at(OURS, IDLE[0]), 0.8),),
    ),
    _clients("produce", "100b", "our client, produce, 100 B"),
    _clients("produce", "1kib", "our client, produce, 1 KiB"),
    _clients("consume", "100b", "our client, consume, 100 B"),
    _clients("consume", "1kib", "our client, consume, 1 KiB"),
)
