"""Our programs run inside the test process: quick, and with everything they print at hand."""

import shlex

import attrs
import orjson
import pytest

from minibroker.cli import run


@attrs.frozen
class Outcome:
    """What a program left behind."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> object:
        return orjson.loads(self.out)


@attrs.frozen
class Programs:
    """Runs commands against one broker."""

    bootstrap: str
    capture: pytest.CaptureFixture[str]

    def __call__(self, command: str, *more: str) -> Outcome:
        """Run a command line, which is split like a shell's, and more arguments as they are."""
        status = run([*shlex.split(command), *more, "--broker", self.bootstrap])
        captured = self.capture.readouterr()
        return Outcome(status, captured.out, captured.err)

    def succeed(self, command: str, *more: str) -> Outcome:
        """Run a command that has to succeed."""
        outcome = self(command, *more)
        assert outcome.status == 0, outcome.err
        return outcome
