"""A process that has imported the broker and forks one whenever it is asked: `python -m tests.durability.nursery`.

To start a broker so takes a twentieth of what `python broker.py` takes, which makes a thousand kills a matter of minutes.
(multiprocessing has such a server too, but its children begin by importing the program that asks: all of pytest.)

Requests and answers are JSON over the socket that is our standard input. `start` comes with the descriptor of a pipe for
the new broker; `wait` and `poll` ask for a status. When whoever asks has gone, so have we, and the brokers, whose pipes
end, too.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs

from minibroker.config.load import structure
from minibroker.protocol.api import request_class, response_class
from minibroker.protocol.codec import decoder, encoder
from tests.durability.killed_broker import Life, live
from tests.traps.samples import CASES

MOST_BYTES = 1 << 16
FLOORS = ("server", "handlers", "coordinator", "topics", "groups", "storage")


@attrs.define(eq=False)
class Nursery:
    """The other side: one per process that asks, started when it is first needed."""

    _sock: socket.socket | None = None
    _lock: Any = attrs.field(factory=threading.Lock)

    def start(self, life: Life, pipe: Connection) -> int:
        """Fork a broker and return its process id."""
        with self._lock:
            sock = self._sock or self._begin()
            socket.send_fds(sock, [json.dumps({"start": attrs.asdict(life)}).encode()], [pipe.fileno()])
            pid: int = json.loads(sock.recv(MOST_BYTES))
        return pid

    def poll(self, pid: int) -> int | None:
        """The exit status of a broker, negative if a signal ended it; None while it lives. Once ended, it is forgotten."""
        return self._ask({"poll": pid})

    def wait(self, pid: int) -> int:
        """The same, once it has ended."""
        status = self._ask({"wait": pid})
        assert status is not None
        return status

    def _ask(self, question: dict[str, int]) -> int | None:
        with self._lock:
            assert self._sock is not None
            self._sock.send(json.dumps(question).encode())
            status: int | None = json.loads(self._sock.recv(MOST_BYTES))
        return status

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen([sys.executable, "-m", __name__], stdin=theirs, cwd=Path(__file__).parents[2])
        theirs.close()
        atexit.register(_end, ours, process)
        self._sock = ours
        return ours


def _end(sock: socket.socket, process: subprocess.Popen[bytes]) -> None:
    sock.close()
    process.wait()


def warm_up() -> None:
    """Import and compile whatever a broker does when it is first needed."""
    for floor in FLOORS:
        package = importlib.import_module(f"minibroker.{floor}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for key, version in CASES:
        decoder(request_class(key), version)
        encoder(response_class(key), version)
    structure({"num.partitions": "1"})  # a text, which takes more than none
    gc.freeze()


def main() -> None:
    """Serve until whoever asks has gone; then end what is left, stopped processes too."""
    warm_up()
    sock = socket.socket(fileno=os.dup(0), family=socket.AF_UNIX, type=socket.SOCK_SEQPACKET)
    living: set[int] = set()
    while True:
        data, descriptors, _, _ = socket.recv_fds(sock, MOST_BYTES, 1)
        if not data:
            break
        ((what, argument),) = json.loads(data).items()
        if what == "start":
            answer: int | None = _fork(sock, argument, descriptors[0])
            living.add(answer)
        else:
            answer = _status(argument, what == "wait")
            if answer is not None:
                living.discard(argument)
        sock.send(json.dumps(answer).encode())
    for pid in living:
        os.kill(pid, signal.SIGKILL)


def _fork(sock: socket.socket, life: dict[str, Any], descriptor: int) -> int:
    pid = os.fork()
    if pid:
        os.close(descriptor)
        return pid
    status = 1
    try:
        sock.close()
        live(Life(**life), Connection(descriptor))
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _status(pid: int, wait: bool) -> int | None:
    ended, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


if __name__ == "__main__":
    main()
