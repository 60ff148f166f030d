"""`minibroker serve` as a process: the line it prints, what keeps it from starting, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibroker import __version__
from minibroker.client import Producer

TIMEOUT_S = 30


class Broker:
    """A broker in a process of its own, whose first line has been read."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "minibroker", "serve", *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **(environment or {})},
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Its exit status and what it logged."""
        self.process.send_signal(number)
        _, logged = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, logged


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def broker(data: Path) -> Iterator[Broker]:
    broker = Broker("--listen", "127.0.0.1:0", "--data-dir", str(data))
    yield broker
    if broker.process.returncode is None:
        broker.end(signal.SIGKILL)


def address_of(broker: Broker) -> str:
    return broker.line.split(" listens on ")[1].split(";")[0]


def refused(*arguments: str) -> str:
    """What a broker says that does not start."""
    command = [sys.executable, "-m", "minibroker", "serve", *arguments]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert outcome.returncode == 2, outcome.stderr
    assert outcome.stdout == ""
    assert outcome.stderr.count("\n") == 1, outcome.stderr
    return outcome.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_line_says_that_it_runs_and_one_signal_ends_it(broker: Broker, data: Path, number: int) -> None:
    """Address, data, what was found, how long it took; an orderly end has status 0 and says nothing."""
    assert broker.line.startswith(f"minibroker {__version__} listens on 127.0.0.1:")
    assert f"; data in {data}: no topics; ready in 0." in broker.line
    assert broker.end(number) == (0, "")


async def test_what_was_found_is_told(broker: Broker, data: Path) -> None:
    """After an orderly end the topics and their size; after a kill also that it was one."""
    async with Producer(address_of(broker)) as producer:
        await (await producer.send("orders", b"value")).wait()
    broker.end(signal.SIGKILL)
    second = Broker("--listen", "127.0.0.1:0", "--data-dir", str(data))
    assert ": 1 topic, 1 partition, " in second.line
    assert ", recovered after a crash (" in second.line
    second.end()
    third = Broker("--listen", "127.0.0.1:0", "--data-dir", str(data))
    assert "recovered" not in third.line
    third.end()


def test_what_clients_are_told_is_told(data: Path) -> None:
    """An advertised address other than the one listened on is part of the line."""
    broker = Broker("--listen", "127.0.0.1:0", "--advertise", "kafka.example:9092", "--data-dir", str(data))
    broker.end()
    assert " listens on 127.0.0.1:" in broker.line
    assert ", advertises kafka.example:9092; " in broker.line


def test_settings_come_from_file_environment_and_flags(tmp_path: Path, data: Path) -> None:
    """All three at once; the flag wins."""
    (tmp_path / "broker.toml").write_text('log.dirs = "/nowhere"\nlisteners = "127.0.0.1:1"')
    environment = {"MINIBROKER_LISTENERS": "127.0.0.1:0"}
    broker = Broker(f"--config={tmp_path / 'broker.toml'}", "-d", str(data), environment=environment)
    broker.end()
    assert f"data in {data}: " in broker.line


def test_a_directory_in_use_is_refused(broker: Broker, data: Path) -> None:
    """Two brokers on one directory would destroy it."""
    assert refused("--listen", "127.0.0.1:0", "--data-dir", str(data)) == (
        f"minibroker: data directory {data} is in use by another broker\n"
    )


def test_a_taken_port_is_refused(data: Path) -> None:
    """With the address, before the data directory is touched."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert refused("--listen", address, "--data-dir", str(data)) == (
            f"minibroker: cannot listen on {address}: Address already in use\n"
        )
    assert not data.exists()


def test_a_directory_that_cannot_be_written_is_refused() -> None:
    """With the system's reason."""
    said = refused("--listen", "127.0.0.1:0", "--data-dir", "/dev/null/data")
    assert said.startswith("minibroker: data directory /dev/null/data is not usable: ")


def test_a_newer_format_is_refused(broker: Broker, data: Path) -> None:
    """An old broker must not guess at what a newer one wrote."""
    broker.end()
    (data / "format").write_text('{"format_version": 99, "cluster_id": "c"}')
    assert refused("--listen", "127.0.0.1:0", "--data-dir", str(data)) == (
        f"minibroker: data directory {data} has format 99, this version of minibroker knows up to 1\n"
    )
