"""Child processes: loads that report as JSON, and brokers that start, stop and die by the stopwatch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import cattrs

from minibroker.load.errors import LoadError
from minibroker.load.process import ProcessReading, read_process
from minibroker.load.wire import Wire
from minibroker.protocol.messages.metadata import MetadataRequest

ROOT = Path(__file__).parents[2]
POLL_S = 0.005
START_PATIENCE_S = 180
STOP_PATIENCE_S = 120


class BenchmarkError(Exception):
    """A benchmark cannot be run; the text says what is missing or what went wrong."""


@attrs.define(eq=False)
class Job:
    """A load at work in a process of its own."""

    kind: str
    process: subprocess.Popen[str]

    def result(self) -> dict[str, Any]:
        """What it reports in the end. Raises BenchmarkError."""
        out, problem = self.process.communicate()
        if self.process.returncode:
            raise BenchmarkError(f"{self.kind}: {problem.strip().splitlines()[-1] if problem else 'ended silently'}")
        return dict(json.loads(out.splitlines()[-1]))

    def line(self) -> str:
        """One line of what it prints, for loads that say when they are ready."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def stop(self) -> None:
        """End it now; what it would have reported is lost."""
        self.process.kill()
        self.process.communicate()


def start_load(kind: str, spec: object) -> Job:
    """Start the load of this kind, one of ``generator.KINDS``."""
    command = [sys.executable, "-m", "tests.benchmarks.generator", kind, json.dumps(cattrs.unstructure(spec))]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return Job(kind, process)


def run_load(kind: str, spec: object) -> dict[str, Any]:
    """Run a load to its end; its report. Raises BenchmarkError."""
    job = start_load(kind, spec)
    try:
        return job.result()
    finally:
        if job.process.poll() is None:
            job.stop()


IsReady = Callable[[str], bool]
"""Says whether the broker at an address does what is expected of it; LoadError counts as no."""


def answers(address: str) -> bool:
    """Whether a broker answers a Metadata request with itself in it."""
    with Wire(address) as wire:
        return bool(wire.ask(MetadataRequest(topics=[]), 7).brokers)


@attrs.define(eq=False)
class BrokerProcess:
    """One broker on one data directory, startable again and again."""

    name: str
    address: str
    command: list[str]
    directory: Path
    """Where it logs to, and where its data is."""

    logs: Path
    """Where the directories of its partitions are."""

    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self.process is not None, f"{self.name} does not run"
        return self.process.pid

    def reading(self) -> ProcessReading:
        """Processor time and memory now. Raises BenchmarkError where the system does not tell."""
        reading = read_process(self.pid)
        if reading is None:
            raise BenchmarkError(f"{self.name}: no /proc to read the memory of a process from")
        return reading

    def start(self, is_ready: IsReady = answers) -> float:
        """Start it and wait until it is ready; the seconds that took. Raises BenchmarkError."""
        with (self.directory / "server.log").open("ab") as log:
            begin = time.perf_counter()
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        while (elapsed := time.perf_counter() - begin) < START_PATIENCE_S:
            if self.process.poll() is not None:
                break
            try:
                # The cheap question first: asking for a thousand partitions again and again would slow the start.
                if answers(self.address) and is_ready(self.address):
                    return time.perf_counter() - begin
            except LoadError:
                pass
            time.sleep(POLL_S)
        self.kill()
        last = (self.directory / "server.log").read_text().strip().splitlines()[-1:]
        raise BenchmarkError(f"{self.name} was not ready after {elapsed:.1f} s; its log ends with {last}")

    def stop(self) -> float:
        """Ask it to end and wait for that; the seconds that took."""
        return self._end(signal.SIGTERM)

    def kill(self) -> float:
        """End it as a crash would."""
        return self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> float:
        if self.process is None:
            return 0.0
        begin = time.perf_counter()
        self.process.send_signal(how)
        try:
            self.process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise BenchmarkError(f"{self.name} did not stop within {STOP_PATIENCE_S} s") from None
        finally:
            self.process = None
        return time.perf_counter() - begin

    def evict(self, topic: str) -> None:
        """Have the system forget what it caches of a topic's segments (Linux), so that reads go to the disk."""
        if not hasattr(os, "posix_fadvise"):
            raise BenchmarkError("cold reads need posix_fadvise, which this system does not have")
        for path in self.logs.glob(f"{topic}-*/*.log"):
            evict_file(path)


def evict_file(path: Path) -> None:
    """Drop one file from the page cache; it is synced first, as dirty pages stay."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
