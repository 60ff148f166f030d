"""The long runs: they go on where they stopped, end where there is an end, and do not pass over a violation."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import attrs
import pytest

from tests.soak import __main__ as program
from tests.soak.progress import Progress
from tests.soak.rows import ROWS, Deadline, Row
from tests.soak.runner import Runner

FOREVER = float("inf")


def counted(seed: int, deadline: Deadline) -> int:
    """Ten cases for each seed, up to the seventh; a unit of these tests."""
    return 10 if seed < 7 else 0


def broken(seed: int, deadline: Deadline) -> int:
    """The fourth seed breaks a promise."""
    assert seed != 3, "a record is lost"
    return 10


ROW = Row("counted", None, f"{__name__}:counted", "cases")


def run(path: Path, row: Row, units: int | None = None, ends_at: float = FOREVER) -> tuple[bool, Progress, list[str]]:
    """Run a row as the next process would, with the progress in the file; what it says, too."""
    said: list[str] = []
    is_whole = Runner(Progress.load(path), 0, ends_at, 1, said.append, units).run([row])
    return is_whole, Progress.load(path), said


def test_a_run_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    """Every seed is done once, and one that was begun and not finished is done again."""
    path = tmp_path / "progress.json"
    _, progress, _ = run(path, ROW, units=2)
    done = progress.of("counted", 0)
    assert (done.cases, done.next_seed, done.unfinished, done.is_over) == (20, 2, [], False)
    done.unfinished.append(1)
    done.cases -= 10
    progress.save()
    is_whole, progress, _ = run(path, ROW)
    done = progress.of("counted", 0)
    assert (is_whole, done.cases, done.unfinished, done.is_over) == (True, 70, [], True)


def test_rows_run_in_the_order_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each once; without any name, all, in the order of the table."""
    rows = tuple(attrs.evolve(ROW, name=name) for name in ("first", "second", "third"))
    monkeypatch.setattr(program, "ROWS", rows)
    for names, expected in ((["third", "first", "third"], ["third", "first"]), ([], ["first", "second", "third"])):
        progress = tmp_path / f"{len(names)}.json"
        assert program.main([*names, "--units", "1", "--jobs", "1", "--progress", str(progress)]) == program.SUCCESS
        said = capsys.readouterr().out.splitlines()
        assert [line.partition(":")[0] for line in said if ": seed" in line] == expected


def test_a_run_ends_at_its_goal(tmp_path: Path) -> None:
    """When there are as many cases as there should be, there is nothing left to do."""
    row = attrs.evolve(ROW, goal=25)
    for _ in range(2):
        _, progress, _ = run(tmp_path / "progress.json", row)
        assert progress.of("counted", 0).cases == 30


def test_nothing_is_begun_when_the_time_is_up(tmp_path: Path) -> None:
    """A deadline that has passed lets nothing begin."""
    is_whole, progress, said = run(tmp_path / "progress.json", ROW, ends_at=time.monotonic())
    assert (is_whole, progress.rows, said) == (True, {}, [])


def test_a_violation_ends_the_run_and_is_met_again(tmp_path: Path) -> None:
    """It is reported with the command that shows it, and the next run begins with it."""
    path, row = tmp_path / "progress.json", Row("broken", 100, f"{__name__}:broken", "cases")
    for _ in range(2):
        is_whole, progress, said = run(path, row)
        done = progress.of("broken", 0)
        assert (is_whole, done.cases, done.unfinished) == (False, 30, [3])
        assert [violation.text for violation in done.violations] == ["AssertionError: a record is lost"]
        assert "python -m tests.soak broken --only 3" in said[-1]


def test_the_table_says_what_was_done(tmp_path: Path) -> None:
    """Every row is in it, with its cases, seeds and rate, or as one that has not begun."""
    progress = Progress(tmp_path / "progress.json")
    progress.of("cuts", 5).begin()
    progress.of("cuts", 5).finish(5, 1200, 30.0)
    lines = program.table(progress).splitlines()
    assert lines[1].split() == ["cuts", "1,200", "1,000,000", "5", "to", "5", "2,400", "0"]
    assert [line.split()[0] for line in lines[1:]] == [row.name for row in ROWS]


def test_one_seed_is_run_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--only` does one unit and says what came of it, with the exit status."""
    monkeypatch.setattr(program, "ROWS", (Row("broken", 100, f"{__name__}:broken", "cases"),))
    assert program.main(["broken", "--only", "2"]) == 0
    assert program.main(["broken", "--only", "3"]) == 1
    assert "a record is lost" in capsys.readouterr().out
    assert program.main(["unknown"]) == 2


def interrupted(seed: int, deadline: Deadline) -> int:
    """Ctrl-C comes with the fourth seed: a terminal sends it to all processes of a command."""
    if seed == 3:
        os.kill(os.getppid(), signal.SIGINT)
        raise KeyboardInterrupt
    return 10


def test_ctrl_c_shows_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The table comes last, nobody complains, and what was not finished is done by the next run."""
    monkeypatch.setattr(program, "ROWS", (Row("interrupted", 100, f"{__name__}:interrupted", "cases"),))
    path = tmp_path / "progress.json"
    assert program.main(["--jobs", "1", "--progress", str(path)]) == 130
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err
    assert captured.out.splitlines()[-1].split()[:2] == ["interrupted", "30"]
    assert Progress.load(path).of("interrupted", 0).unfinished == [3]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_its_unit(row: Row) -> None:
    """What the table names is there."""
    assert callable(row.load())
