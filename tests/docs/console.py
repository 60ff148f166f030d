"""The commands in our pages, and a reader who types them all.

The convention: only blocks fenced as `console` are run, all those of a page in order, in one directory that looks like
a fresh checkout, without data. In a block

- `$ command` is typed. The lines below it, up to the next `$`, are what it prints; `…` stands for anything, in a line
  or, alone, for any number of lines. With nothing below it, a command may print what it likes, but must succeed;
- a command that starts a broker keeps its terminal: it goes on in the background to the end of the page;
- `^C` ends the command above it, once that has printed its lines; at the head of a block, the broker.

Pages speak of port 9092; the reader puts a free one in its place, in the commands and back again in what they print.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
PROGRAMS = ("broker.py", "producer.py", "consumer.py")
TIMEOUT_S = 60


@attrs.frozen(kw_only=True)
class Step:
    """One thing typed: a command with what it should print, or, without a command, ^C to the broker."""

    line: int
    command: str | None
    expected: tuple[str, ...] = ()
    interrupted: bool = False

    @property
    def starts_broker(self) -> bool:
        return self.command is not None and re.search(r"\bbroker\.py\b|\bminibroker serve\b", self.command) is not None


def steps_of(page: str) -> Iterator[Step]:
    """All that a reader of the page types."""
    for block in re.finditer(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        yield from _steps_of_block(block[1].splitlines(), page.count("\n", 0, block.start()) + 2)


def _steps_of_block(lines: list[str], first_line: int) -> Iterator[Step]:
    step: Step | None = None
    for number, line in enumerate(lines, first_line):
        if line == "^C":
            yield Step(line=number, command=None) if step is None else attrs.evolve(step, interrupted=True)
            step = None
        elif line.startswith("$ "):
            if step is not None:
                yield step
            step = Step(line=number, command=line[2:])
        elif step is not None and step.command is not None and step.command.endswith("\\"):
            step = attrs.evolve(step, command=f"{step.command[:-1]}{line.strip()}")
        else:
            assert step is not None, f"line {number}: output without a command"
            step = attrs.evolve(step, expected=(*step.expected, line))
    if step is not None:
        yield step


def pattern(expected: tuple[str, ...]) -> re.Pattern[str]:
    """What the printed text must match from its beginning."""
    parts = [r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n" for line in expected]
    return re.compile("".join(parts))


@attrs.define(eq=False)
class Reader:
    """Types steps in a directory, with one broker at most."""

    directory: Path
    port: int
    broker: subprocess.Popen[str] | None = None

    @classmethod
    def in_fresh_checkout(cls, directory: Path) -> Reader:
        """The directory gets our programs and a virtual environment, which are links, and nothing else."""
        for name in PROGRAMS:
            (directory / name).symlink_to(ROOT / name)
        (directory / ".venv").symlink_to(sys.prefix)
        (directory / "data").mkdir()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            return cls(directory, probe.getsockname()[1])

    def type(self, step: Step) -> None:
        """Do it, and check what it prints."""
        if step.command is None:
            self.stop_broker()
        elif step.starts_broker:
            self._start_broker(step)
        else:
            self._run(step)

    def stop_broker(self) -> None:
        """^C in the broker's terminal, if there is one."""
        if self.broker is not None:
            broker, self.broker = self.broker, None
            broker.send_signal(signal.SIGINT)
            printed, _ = broker.communicate(timeout=TIMEOUT_S)
            assert broker.returncode == 0, printed

    def _start_broker(self, step: Step) -> None:
        assert self.broker is None, f"line {step.line}: the broker before still runs"
        process = self._popen(step)
        assert process.stdout is not None
        printed = self._as_written(process.stdout.readline())
        self.broker = process
        assert pattern(step.expected or ("… listens on …",)).match(printed), f"line {step.line}: {printed}"

    def _run(self, step: Step) -> None:
        process = self._popen(step)
        wanted = pattern(step.expected)
        printed = ""
        if step.interrupted:
            assert process.stdout is not None
            while not wanted.match(printed) and (line := process.stdout.readline()):
                printed += self._as_written(line)
            os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=TIMEOUT_S)
        printed += self._as_written(rest)
        assert process.returncode == 0 or step.interrupted, f"line {step.line}: status {process.returncode}\n{printed}"
        if step.expected:
            found = wanted.match(printed) if step.interrupted else wanted.fullmatch(printed)
            assert found, (
                f"line {step.line}: {step.command}\nexpected:\n" + "\n".join(step.expected) + f"\nfound:\n{printed}"
            )

    def _popen(self, step: Step) -> subprocess.Popen[str]:
        assert step.command is not None
        command = step.command.replace("9092", str(self.port))
        return subprocess.Popen(
            ["bash", "-c", f"exec {command}" if step.starts_broker else command],
            cwd=self.directory,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "MINIBROKER_BROKER": f"127.0.0.1:{self.port}",
            "MINIBROKER_LISTENERS": f"127.0.0.1:{self.port}",
        }

    def _as_written(self, printed: str) -> str:
        return printed.replace(str(self.port), "9092")
