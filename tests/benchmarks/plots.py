"""The plots of docs/benchmarks.md, drawn from the sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from minibroker.load.statistics import Spread
from tests.benchmarks.case import KAFKA, OURS
from tests.benchmarks.results import Results
from tests.benchmarks.svg import Series, plot

LABELS: Final = {OURS: "minibroker, synced", KAFKA: "Kafka, not synced"}


@attrs.frozen
class Plot:
    """One sweep as a picture."""

    case: str
    metric: str
    title: str
    x_title: str
    y_title: str


PLOTS: Final = (
    Plot("sweep-batch-size", "mb_per_s", "Produce by batch size, one connection, acks=all", "bytes in a batch", "MB/s"),
    Plot(
        "sweep-connections",
        "records_per_s",
        "Single records by connections, one at a time on each, acks=all",
        "connections",
        "records/s",
    ),
    Plot(
        "sweep-partitions",
        "mb_per_s",
        "Produce by partitions, 16 KB batches, 10 connections, acks=all",
        "partitions",
        "MB/s",
    ),
)


def draw_plots(results: Results, directory: Path) -> Iterator[Path]:
    """Write a file for each sweep that has been measured; their paths."""
    for each in PLOTS:
        series = {label: points for side, label in LABELS.items() if (points := _points(results, each, side))}
        if len({x for points in series.values() for x in points}) > 1:
            path = directory / f"{each.case}.svg"
            path.write_text(plot(each.title, each.x_title, each.y_title, series))
            yield path


def _points(results: Results, each: Plot, side: str) -> Series:
    values: dict[float, list[float]] = {}
    for round_ in results.of(each.case):
        for name, sample in round_.items():
            kind, _, x = name.partition("@")
            if kind == side and each.metric in sample:
                values.setdefault(float(x), []).append(sample[each.metric])
    spreads = {x: Spread.of(found) for x, found in values.items()}
    return {x: (spread.median, spread.low, spread.high) for x, spread in spreads.items()}
