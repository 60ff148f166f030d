"""The entry point: which command, which status, and never a traceback for what was foreseen."""

import pytest
import trio

from minibroker import __version__
from minibroker.cli import COMMANDS, run
from minibroker.cli.problems import CommandError, Problem, describe
from minibroker.config.errors import ConfigError
from minibroker.protocol.errors import TopicAlreadyExists
from minibroker.server.errors import StartError
from minibroker.storage.errors import DirectoryInUse, DiskFull


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_without_a_command_there_is_an_overview(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command is named."""
    assert run(arguments) == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help works for each and names the command."""
    assert run([command, "--help"]) == 0
    assert f"Usage: minibroker {command}" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """As pip knows it."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (CommandError("two\nlines"), Problem("two lines", 2)),
        (CommandError("not found", 1), Problem("not found", 1)),
        (ConfigError("x expects y"), Problem("x expects y", 2)),
        (TopicAlreadyExists("topic t"), Problem("TOPIC_ALREADY_EXISTS: topic t", 1)),
        (DirectoryInUse("in use"), Problem("in use", 2)),
        (DiskFull("disk full"), Problem("disk full", 1)),
        (StartError("port taken"), Problem("port taken", 2)),
        (ExceptionGroup("", [ExceptionGroup("", [ConfigError("inside")])]), Problem("inside", 2)),
        (ValueError("a bug"), None),
        (ExceptionGroup("", [ConfigError("foreseen"), ValueError("a bug")]), None),
        (BaseExceptionGroup("", [ConfigError("foreseen"), trio.Cancelled._create(source="unknown")]), None),
    ],
)
def test_what_was_foreseen_is_one_line(error: BaseException, problem: Problem | None) -> None:
    """Errors of ours have a line and a status, also out of a nursery; a bug among them is not hidden."""
    assert describe(error) == problem
