"""`python -m tests.soak [WHAT ...]`: the long column of the table in docs/durability.md, as much of it as there is time for."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.soak.progress import Progress
from tests.soak.rows import ROWS, Row
from tests.soak.runner import Runner, run_unit

PROGRESS = Path(__file__).parents[2] / ".soak" / "progress.json"

SUCCESS, VIOLATED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; the status is 1 if a promise was broken, 2 if the arguments are wrong, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    unknown = set(options.what) - {row.name for row in ROWS}
    if unknown:
        print(
            f"there is no {', '.join(sorted(unknown))}; there are {', '.join(row.name for row in ROWS)}",
            file=sys.stderr,
        )
        return WRONG_USE
    known = {row.name: row for row in ROWS}
    rows = [known[name] for name in dict.fromkeys(options.what or known)]
    if options.only is not None:
        return _run_only(rows, options.only)
    try:
        progress = Progress.load(options.progress)
    except ValueError as error:
        print(error, file=sys.stderr)
        return WRONG_USE
    if options.list:
        print(table(progress))
        return SUCCESS
    ends_at = time.monotonic() + (options.minutes * 60 if options.minutes is not None else float("inf"))
    runner = Runner(progress, options.seed, ends_at, options.jobs, lambda text: print(text, flush=True), options.units)
    try:
        status = SUCCESS if runner.run(rows) else VIOLATED
    except KeyboardInterrupt:
        progress.save()
        print("interrupted: the next run does again what was not finished")
        status = INTERRUPTED
    print(table(progress))
    return status


def _run_only(rows: Sequence[Row], seed: int) -> int:
    for row in rows:
        outcome = run_unit(row, seed, float("inf"))
        print(f"{row.name}: seed {seed}: {outcome.violation or f'{outcome.cases} cases, nothing violated'}")
        if outcome.violation:
            return VIOLATED
    return SUCCESS


def table(progress: Progress) -> str:
    """What was run, with which seeds, how often, how fast, and what was violated."""
    lines = [("what", "cases", "goal", "seeds", "a minute", "violations")]
    for row in ROWS:
        done = progress.rows.get(row.name)
        goal = "all" if row.goal is None else f"{row.goal:,}"
        if done is None:
            lines.append((row.name, "0", goal, "", "", ""))
            continue
        cases = f"{done.cases:,}" + (" (all)" if done.is_over else "")
        rate = f"{done.cases / done.seconds * 60:,.0f}" if done.seconds else ""
        seeds = f"{done.first_seed} to {done.next_seed - 1}"
        lines.append((row.name, cases, goal, seeds, rate, str(len(done.violations))))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _parser() -> argparse.ArgumentParser:
    rows = "\n".join(f"  {row.name:12}{row.what}" for row in ROWS)
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Run for long what the tests run for short. It goes on where it stopped, and ends at the first violation.",
        epilog=f"what there is, in this order unless WHAT says otherwise:\n{rows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", metavar="WHAT", help="rows to run; all without any")
    parser.add_argument("--seed", type=int, default=0, help="where a row begins that has not begun (0)")
    parser.add_argument("--minutes", type=float, help="begin nothing new after this time")
    parser.add_argument("--units", type=int, help="run so many seeds of each row at most")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once (one for each core)")
    parser.add_argument("--only", type=int, metavar="SEED", help="run one seed in the foreground, and note nothing")
    parser.add_argument(
        "--progress", type=Path, default=PROGRESS, help="the file that says what was done (%(default)s)"
    )
    parser.add_argument("--list", action="store_true", help="show what was done, and run nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
