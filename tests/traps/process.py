"""A broker in a process of its own: what it costs, and what it says, can be told from the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.traps.wire import PATIENCE_S


class BrokerProcess:
    """`minibroker serve` on a free port; what it logs goes to a file beside its data."""

    def __init__(self, directory: Path, *, log_level: str = "info", **settings: str | int) -> None:
        """Start it, with settings under their names with underscores for dots."""
        command = [sys.executable, "-m", "minibroker", "serve", "--listen", "127.0.0.1:0", "--log-level", log_level]
        command += ["--data-dir", str(directory / "data")]
        for name, value in settings.items():
            command += ["--set", f"{name.replace('_', '.')}={value}"]
        self._log = directory / "log"
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.address = self.line.split(" listens on ")[1].split(";")[0]

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text()

    @property
    def resident_bytes(self) -> int:
        """Its memory. Linux only."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit status."""
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> BrokerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
