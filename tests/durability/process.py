"""A broker in a process of its own that is killed and started again, on one directory and one port."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs

from tests.durability.killed_broker import Call, Life
from tests.durability.nursery import Nursery

PATIENCE_S = 60.0
"""When a test that waits in vain fails."""
NURSERY = Nursery()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Ended(Exception):
    """The broker's process has ended."""


@attrs.define(eq=False)
class BrokerProcess:
    """What it logs goes to a file, for whoever has to find out what happened."""

    directory: Path
    settings: Mapping[str, str]
    port: int = attrs.field(factory=free_port)
    sync_all_files: int | None = None
    """See Life."""
    syncs: bool = True
    _pid: int | None = None
    _pipe: Connection | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def start(self, dies_at: int | None = None, dies: str = "") -> None:
        """Begin; it may not listen yet. See Life for where it kills itself."""
        listeners, data = f"PLAINTEXT://{self.address}", str(self.directory / "data")
        life = Life(
            settings={**self.settings, "listeners": listeners, "log.dirs": data},
            log=str(self.directory / "broker.log"),
            dies_at=dies_at,
            dies=dies,
            sync_all_files=self.sync_all_files,
            syncs=self.syncs,
        )
        self._pipe, theirs = Pipe()
        self._pid = NURSERY.start(life, theirs)
        theirs.close()

    def wait_listening(self) -> None:
        """Return once it says that it listens. Raises Ended."""
        self._receive()

    def do(self, job: str) -> None:
        """Have a job of maintenance done, and return then. Raises Ended."""
        self._ask(job)

    def calls(self) -> list[Call]:
        """What it has called so far that changes something."""
        calls: list[Call] = self._ask("calls")
        return calls

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._pid is not None
        os.kill(self._pid, number)

    def kill(self) -> None:
        """`kill -9`. Fails if it has ended by itself."""
        assert self._pid is not None
        ended = NURSERY.poll(self._pid)
        if ended is not None:
            self._pid = None
            raise AssertionError(f"the broker has ended by itself: {ended}; see {self.directory}/broker.log")
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> list[Call]:
        """Have it end in an orderly way, and return what it has called. Raises Ended if it is killed on the way."""
        self.signal(signal.SIGTERM)
        calls: list[Call] = self._receive()
        status = self.wait()
        assert status == 0, f"status {status}; see {self.directory}/broker.log"
        return calls

    def wait_killed(self) -> None:
        """Return once it has died of SIGKILL; fails if it ends in another way."""
        status = self.wait()
        assert status == -signal.SIGKILL, f"status {status}; see {self.directory}/broker.log"

    def wait(self) -> int:
        """Its exit status, once it has ended; negative if by a signal."""
        assert self._pid is not None
        assert self._pipe is not None
        status = NURSERY.wait(self._pid)
        self._pipe.close()
        self._pid = self._pipe = None
        return status

    def close(self) -> None:
        """Leave nothing behind, whatever has happened."""
        if self._pid is not None:
            self.signal(signal.SIGKILL)
            self.wait()

    def _ask(self, question: str) -> Any:
        assert self._pipe is not None
        try:
            self._pipe.send(question)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Ended from error
        return self._receive()

    def _receive(self) -> Any:
        assert self._pipe is not None
        try:
            assert self._pipe.poll(PATIENCE_S), f"the broker says nothing; see {self.directory}/broker.log"
            return self._pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            raise Ended from error
