"""The figures as tables: every case as it was measured, and the lines of the table with their goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from minibroker.load.statistics import Comparison, Spread
from tests.benchmarks.case import Case
from tests.benchmarks.lines import LINES, Goal, Line, Verdict
from tests.benchmarks.results import Results

BEGIN: Final = "<!-- figures: written by python -m tests.benchmarks --report -->"
END: Final = "<!-- end of figures -->"

# What the tables show of a case, where it has them: metric, heading, digits.
METRICS: Final = (
    ("mb_per_s", "MB/s", 1),
    ("records_per_s", "records/s", 0),
    ("p50_ms", "p50 ms", 3),
    ("p99_ms", "p99 ms", 3),
    ("cpu_s_per_gb", "CPU s/GB", 2),
    ("rss_mb", "RSS MB", 0),
    ("peak_rss_mb", "peak RSS MB", 0),
    ("start_s", "start s", 2),
    ("stop_s", "stop s", 2),
    ("start_after_kill_s", "start after kill s", 2),
    ("load_share", "load's own CPU", 2),
)


@attrs.frozen
class Row:
    """One goal of one line, in words."""

    work: str
    ours: str
    theirs: str
    ratio: str
    goal: str
    verdict: str


def rows(results: Results, lines: Sequence[Line] = LINES) -> Iterator[Row]:
    """The table, a row for each goal."""
    for line in lines:
        rounds = results.of(line.case)
        for goal in line.goals:
            comparison = line.compare(rounds, goal.over)
            ours = [round_[line.ours][line.metric] for round_ in rounds if line.metric in round_.get(line.ours, {})]
            theirs = line.values(rounds, goal.over)
            yield Row(
                line.work,
                _spread(ours, line),
                _spread(theirs, line),
                "-" if comparison is None else _ratio(comparison),
                str(goal),
                _verdict(goal, comparison),
            )


def case_rows(case: Case, results: Results) -> tuple[list[str], list[list[str]]]:
    """The headings and the rows of everything that was measured of a case."""
    rounds = results.of(case.name)
    present = [
        metric
        for metric in METRICS
        if any(metric[0] in round_.get(side, {}) for round_ in rounds for side in case.sides)
    ]
    table = []
    for side in case.sides:
        samples = [round_[side] for round_ in rounds if side in round_]
        cells = [_cell([sample[name] for sample in samples if name in sample], digits) for name, _, digits in present]
        table.append([side, str(len(samples)), *cells])
    return ["side", "rounds", *(heading for _, heading, _ in present)], table


def text_table(headings: Sequence[str], table: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they have to be."""
    lines = [list(headings), *map(list, table)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


def markdown_table(headings: Sequence[str], table: Sequence[Sequence[str]]) -> str:
    """The same for a page."""
    lines = [headings, ["---"] * len(headings), *table]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def summary(results: Results) -> str:
    """The table for a terminal, as far as it has been measured."""
    names = [field.name for field in attrs.fields(Row)]
    measured = [line for line in LINES if results.of(line.case)]
    return text_table(names, [[getattr(row, name) for name in names] for row in rows(results, measured)])


def page_section(results: Results, cases: Sequence[Case]) -> str:
    """What stands between the markers of docs/benchmarks.md."""
    names = [field.name for field in attrs.fields(Row)]
    machine = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in results.machine.items())
    parts = [
        f"Machine: {machine}.\n",
        markdown_table(names, [[getattr(row, name) for name in names] for row in rows(results)]),
        "### All figures\n",
    ]
    for case in cases:
        if results.of(case.name):
            parts += [f"**{case.work}** (`{case.name}`)\n", markdown_table(*case_rows(case, results))]
    if results.errors:
        parts.append("".join(f"- no figures of {where}: {why}\n" for where, why in results.errors.items()))
    return "\n".join(parts)


def write_page(page: Path, results: Results, cases: Sequence[Case]) -> None:
    """Replace what stands between the markers."""
    text = page.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n\n{page_section(results, cases)}\n{END}{after}")


def _verdict(goal: Goal, comparison: Comparison | None) -> str:
    verdict = goal.judge(comparison)
    return f"**{verdict.value}**" if verdict is Verdict.MISSED else verdict.value


def _ratio(comparison: Comparison) -> str:
    if comparison.rounds == 1:
        return f"{comparison.ratio:.2f}"
    text = f"{comparison.ratio:.2f} ({comparison.low:.2f} to {comparison.high:.2f})"
    return text if comparison.differs else f"{text}, no clear difference"


def _spread(values: Sequence[float], line: Line) -> str:
    return f"{_cell(values, line.digits)} {line.unit}" if values else "-"


def _cell(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    spread = Spread.of(values)
    if len(values) == 1:
        return f"{spread.median:,.{digits}f}"
    return f"{spread.median:,.{digits}f} ({spread.low:,.{digits}f} to {spread.high:,.{digits}f})"
