"""The broker's flags: the quick way to read them agrees with the thorough one, and what is wrong is one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from minibroker.cli import run, serve, serving
from minibroker.cli.serving import ServeOptions, plain_options


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], ServeOptions()),
        (["--listen", "a:1", "--listen", "b:2"], ServeOptions(listen=("a:1", "b:2"))),
        (["--data-dir", "d", "--set", "a=b", "--set", "c=d=e"], ServeOptions(data_dir="d", set=("a=b", "c=d=e"))),
        (["--config", "f.toml", "--advertise", "h:1"], ServeOptions(config=Path("f.toml"), advertise="h:1")),
        (["--log-level", "debug"], ServeOptions(log_level="debug")),
        (["--set", ""], ServeOptions(set=("",))),
    ],
)
def test_plain_flags_mean_what_they_mean_to_the_library(
    arguments: list[str], options: ServeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read either way, the same arguments are the same options."""
    thorough: list[ServeOptions] = []
    monkeypatch.setattr(serving, "serve", thorough.append)
    serve.app(arguments, result_action="return_value")
    assert [plain_options(arguments)] == thorough == [options]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["-l", "a:1"],
        ["--listen=a:1"],
        ["--listen"],
        ["--listen", "a:1", "--help"],
        ["--listen", "--help"],
        ["--data-dir", "a", "--data-dir", "b"],
        ["--log-level", "loud"],
        ["data"],
        ["--frobnicate", "x"],
    ],
)
def test_anything_else_is_left_to_the_library(arguments: list[str]) -> None:
    """The quick way never guesses."""
    assert plain_options(arguments) is None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["--set", "num.partitions=many"],
            "--set num.partitions=many: num.partitions expects an integer of at least 1",
        ),
        (["--set", "num.partition=1"], 'unknown setting "num.partition"; the nearest known one is "num.partitions"'),
        (["--config", "/nowhere.toml"], "/nowhere.toml: cannot be read: No such file or directory"),
        (["--listen", "127.0.0.1:99999"], "listeners: expected a port from 0 to 65535"),
        (["--log-level", "loud"], "--log-level"),
        (["--listen"], "--listen"),
        (["data"], "data"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is bound or written."""
    assert run(["serve", *arguments]) == 2
    printed = capsys.readouterr()
    assert problem in printed.err
    assert printed.err.count("\n") == 1


def test_a_start_loads_nothing_that_it_does_not_need() -> None:
    """What makes a start slow is imports: of what belongs to other programs, or comes later, there are none."""
    program = "import sys; from minibroker.cli import serving; print(*sys.modules)"
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(outcome.stdout.split())
    assert "trio" in loaded
    assert not loaded & {"cyclopts", "rich", "prometheus_client", "asyncio", "cattrs", "minibroker.client"}
