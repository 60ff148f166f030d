"""How far a long run is: a bar on standard error if that is a terminal, and figures at the end."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final

from minibroker.cli.words import counted, readable_size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE_S: Final = 0.5  # nobody needs a bar for less, nor the time it takes to load rich
REFRESH_S: Final = 0.1
WORTH_MEASURING: Final = 1_000


class Meter:
    """Counts records and bytes, and shows them once a run has become long."""

    def __init__(self, *, total_bytes: int | None = None, quiet: bool = False) -> None:
        self.records = 0
        self.size_bytes = 0
        self._total_bytes = total_bytes
        self._shown = not quiet and sys.stderr.isatty()
        self._begun = self._refreshed = time.monotonic()
        self._ended: float | None = None
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def advance(self, records: int, size_bytes: int) -> None:
        """Count more; the bar follows ten times a second."""
        self.records += records
        self.size_bytes += size_bytes
        now = time.monotonic()
        if self._shown and now - self._begun > PATIENCE_S and now - self._refreshed > REFRESH_S:
            self._refreshed = now
            self._show()

    def say(self, line: str) -> None:
        """A line on standard error, above the bar."""
        if self._progress is None:
            print(line, file=sys.stderr)
        else:
            self._progress.console.print(line, markup=False, highlight=False)

    def figures(self) -> str:
        """What to add to a summary: the speed, if there was enough to speak of one."""
        return f", {self.speed()}" if self.records >= WORTH_MEASURING else ""

    def speed(self) -> str:
        """The figures: size, time, records per second."""
        seconds = max((self._ended or time.monotonic()) - self._begun, 1e-6)
        return f"{readable_size(self.size_bytes)} in {seconds:.2f} s, {self.records / seconds:,.0f} records/s"

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = time.monotonic()
        if self._progress is not None:
            self._progress.stop()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

        if self._progress is None:
            columns = [SpinnerColumn()] if self._total_bytes is None else [BarColumn(), TimeRemainingColumn()]
            text = TextColumn("{task.description}", markup=False)
            self._progress = Progress(*columns, text, console=Console(stderr=True), transient=True, auto_refresh=False)
            self._progress.start()
            self._task = self._progress.add_task("", total=self._total_bytes)
        assert self._task is not None
        description = f"{counted(self.records, 'record')}, {self.speed()}"
        self._progress.update(self._task, completed=self.size_bytes, description=description)
        self._progress.refresh()
