"""``python -m tests.benchmarks``: run cases, keep every round, print the table."""

from __future__ import annotations

import argparse
import resource
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from minibroker.load.errors import LoadError
from tests.benchmarks.brokers import KafkaPeer
from tests.benchmarks.case import Bench, Case, bench_in
from tests.benchmarks.cases import CASES
from tests.benchmarks.lines import LINES
from tests.benchmarks.plots import draw_plots
from tests.benchmarks.processes import ROOT, BenchmarkError
from tests.benchmarks.report import case_rows, summary, text_table, write_page
from tests.benchmarks.results import Results, describe_machine

DOCS: Final = ROOT / "docs" / "benchmarks"
ROUNDS: Final = 5
QUICK_ROUNDS: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; the exit status."""
    options = _parser().parse_args(arguments)
    if options.list:
        print(text_table(["case", "work"], [[case.name, case.work] for case in CASES]), end="")
        return 0
    results = None if options.fresh else Results.load(options.results)
    if options.report:
        return _report(results, options.results)
    cases = [case for case in CASES if _is_chosen(case, options.only)]
    if not cases:
        print(f"no case is called {', '.join(options.only)}: --list shows them", file=sys.stderr)
        return 2
    _allow_many_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated: the brokers are stopped, what was measured is kept"))
    peer = _peer()
    if results is None:
        results = Results(describe_machine(peer.version if peer else None), quick=options.quick)
    if results.quick != options.quick:
        print(f"{options.results} holds a run of another length: use --fresh, or another --results", file=sys.stderr)
        return 2
    rounds = options.runs or (QUICK_ROUNDS if options.quick else ROUNDS)
    command = tuple(shlex.split(options.ours or ""))
    with bench_in(options.directory, peer=peer, quick=options.quick, command=command) as bench:
        for case in cases:
            run_case(case, bench, results, min(rounds, case.max_rounds or rounds), options.results)
    print("\n" + summary(results))
    return 0


def run_case(case: Case, bench: Bench, results: Results, rounds: int, path: Path) -> None:
    """Run what is missing of a case, a round at a time, and show it. A side that cannot run is left out, loudly."""
    print(f"\n{case.name}: {case.work}", flush=True)
    sides = dict(case.sides)
    missing = range(len(results.of(case.name)), rounds)
    for _ in missing:
        round_ = {}
        for side, turn in tuple(sides.items()):
            try:
                bench.settle()
                round_[side] = turn(bench)
                results.errors.pop(f"{case.name}/{side}", None)
            except (BenchmarkError, LoadError) as error:
                print(f"  {side}: NO FIGURES: {error}", flush=True)
                results.errors[f"{case.name}/{side}"] = str(error)
                del sides[side]
        results.add(case.name, round_)
        results.save(path)
    if case.done is not None and missing and sides:
        case.done(bench)
    print("  " + text_table(*case_rows(case, results)).replace("\n", "\n  ").rstrip(), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="CASE", default=(), help="these, or all that begin with this")
    parser.add_argument("--runs", type=int, help=f"rounds of each case, {ROUNDS} by default")
    parser.add_argument("--quick", action="store_true", help="short, small and rough: to see that everything works")
    parser.add_argument("--results", type=Path, default=DOCS / "results.json", help="kept after each round, resumed")
    parser.add_argument("--fresh", action="store_true", help="do not resume what is in the results")
    parser.add_argument("--directory", type=Path, help="where the brokers' data goes: a real disk with 40 GB free")
    parser.add_argument("--ours", help="the command that runs our broker, without --listen and --data-dir")
    parser.add_argument("--list", action="store_true", help="show the cases")
    parser.add_argument("--report", action="store_true", help="run nothing: write docs/benchmarks from the results")
    return parser


def _is_chosen(case: Case, only: Sequence[str]) -> bool:
    return not only or any(case.name.startswith(name) for name in only)


def _report(results: Results | None, path: Path) -> int:
    if results is None:
        print(f"nothing to report: {path} is not there", file=sys.stderr)
        return 2
    write_page(ROOT / "docs" / "benchmarks.md", results, CASES)
    for plot in draw_plots(results, DOCS):
        print(plot.relative_to(ROOT))
    print(summary(results))
    return 0


def _peer() -> KafkaPeer | None:
    try:
        return KafkaPeer()
    except BenchmarkError as error:
        print(f"NO KAFKA: {error}. Its sides are left out, and so are the ratios.", file=sys.stderr)
        return None


def _allow_many_files() -> None:
    """Thousands of connections and segments need descriptors; the brokers inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    assert {line.case for line in LINES} <= {case.name for case in CASES}
    sys.exit(main())
