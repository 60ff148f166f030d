"""A broker in a process of its own that is killed and started again, on one directory and one port."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs

BROKER = Path(__file__).parents[2] / "broker.py"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@attrs.define(eq=False)
class BrokerProcess:
    """`python broker.py`. What it logs goes to a file, for whoever has to find out what happened."""

    directory: Path
    settings: Mapping[str, str]
    port: int = attrs.field(factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin; it may not listen yet."""
        command = [sys.executable, str(BROKER), "--listen", self.address, "--data-dir", str(self.directory / "data")]
        for name, value in self.settings.items():
            command += ["--set", f"{name}={value}"]
        with (self.directory / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)

    def wait_listening(self) -> None:
        """Return once it says that it listens."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert b"listens on" in line, f"{line!r}; see {self.directory}/broker.log"

    def kill(self) -> None:
        """`kill -9`. Fails if it has ended by itself."""
        assert self._process is not None
        ended = self._process.poll()
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()
        self._process = None
        assert ended is None, f"the broker has ended by itself with status {ended}; see {self.directory}/broker.log"

    def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=60)
        status: int = self._process.returncode
        self._process = None
        return status
