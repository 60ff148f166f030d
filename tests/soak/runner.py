"""Runs units in processes of their own until the goal, the end, the deadline, or the first violation."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

import attrs

from tests.soak.progress import Done, Progress
from tests.soak.rows import Row


@attrs.frozen
class Outcome:
    """Of one unit."""

    cases: int
    seconds: float
    violation: str = ""


def run_unit(row: Row, seed: int, ends_at: float) -> Outcome:
    """Do one unit; `ends_at` is on the monotonic clock, which all processes share. Raises KeyboardInterrupt."""
    began = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        cases = row.load()(seed, lambda: time.monotonic() > ends_at)
    except Exception as error:
        return Outcome(0, time.monotonic() - began, f"{type(error).__name__}: {error}")
    finally:
        signal.signal(signal.SIGINT, before)
    return Outcome(cases, time.monotonic() - began)


def begin_worker() -> None:
    """Print no warnings of logs: damages and cuts make a hundred thousand of them. Take Ctrl-C within a unit only."""
    logging.lastResort = None
    signal.signal(signal.SIGINT, lambda _number, _frame: None)


@attrs.define
class Runner:
    """Runs rows, one after the other."""

    progress: Progress
    seed: int
    ends_at: float
    jobs: int
    say: Callable[[str], None] = print
    units: int | None = None
    """How many of each row at most; None for no limit."""

    def run(self, rows: Sequence[Row]) -> bool:
        """Whether nothing was violated. Ctrl-C ends it with KeyboardInterrupt, when the units under way have ended."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.jobs, mp_context=context, initializer=begin_worker) as pool:
            return all(self._run_row(row, pool) for row in rows if not self.is_over())

    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.ends_at

    def _run_row(self, row: Row, pool: ProcessPoolExecutor) -> bool:
        done = self.progress.of(row.name, self.seed)
        again, begun = done.unfinished.copy(), 0
        running: dict[Future[Outcome], int] = {}
        is_whole = True
        while True:
            while is_whole and len(running) < self.jobs and begun != self.units and not self._is_done(row, done):
                seed = again.pop(0) if again else done.begin()
                running[pool.submit(run_unit, row, seed, self.ends_at)] = seed
                begun += 1
            self.progress.save()
            if not running:
                return is_whole
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                is_whole = self._take(row, done, running.pop(future), future.result()) and is_whole

    def _is_done(self, row: Row, done: Done) -> bool:
        return self.is_over() or done.is_over or (row.goal is not None and done.cases >= row.goal)

    def _take(self, row: Row, done: Done, seed: int, outcome: Outcome) -> bool:
        if outcome.violation:
            done.fail(seed, outcome.violation)
            self.say(f"{row.name}: VIOLATION: {outcome.violation}\n  again: {reproduction(row, seed)}")
            return False
        done.finish(seed, outcome.cases, outcome.seconds)
        done.violations = [violation for violation in done.violations if violation.seed != seed]
        self.say(f"{row.name}: seed {seed}: {outcome.cases} cases in {outcome.seconds:.1f} s; {done.cases} in all")
        return True


def reproduction(row: Row, seed: int) -> str:
    """The command that shows it again."""
    return f"python -m tests.soak {row.name} --only {seed}"
