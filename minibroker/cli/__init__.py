"""The command line: argv, output, exit codes.

`main` looks at the first word only and imports the one module that serves it: a broker that starts does not load what
a table needs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

from minibroker import __version__

if TYPE_CHECKING:
    from cyclopts import App

COMMANDS: Final = ("serve", "produce", "consume", "admin", "check", "bench")

SUCCESS: Final = 0
FAILURE: Final = 1  # what was asked for could not be done
USAGE: Final = 2  # what was asked for makes no sense, or the broker cannot start as it was told to
BROKEN_PIPE: Final = 141  # as if SIGPIPE had ended the program, which is what a shell expects
INTERRUPTED: Final = 130  # as if SIGINT had


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and leave with its status. Without `argv`, the arguments of the process."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run one command; its exit status. Whatever goes wrong is one line on standard error."""
    try:
        if list(argv[:1]) == ["serve"] and _serve_plainly(argv[1:]):
            return SUCCESS
        app, arguments = _application(argv)
        status = app(arguments, backend="trio", exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # here, where a closed pipe is understood
        return int(status or SUCCESS)
    except BrokenPipeError:
        _silence(sys.stdout)
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from minibroker.cli.problems import describe

        if (problem := describe(error)) is None:
            raise
        print(f"minibroker: {problem.message}", file=sys.stderr)
        return problem.status


def _serve_plainly(arguments: Sequence[str]) -> bool:
    """Run a broker without loading what reads other flags than the usual; false if there are others."""
    import gc

    gc.disable()  # nothing that an import makes is garbage; `serving` turns it on again
    from minibroker.cli import serving

    options = serving.plain_options(arguments)
    if options is not None:
        serving.serve(options)
    return options is not None


def _application(argv: Sequence[str]) -> tuple[App, list[str]]:
    """The command that the first word names. Without one, all of them: for help, and for errors about that word."""
    if argv and argv[0] in COMMANDS:
        command: App = import_module(f"minibroker.cli.{argv[0]}").app
        return command, list(argv[1:])
    from cyclopts import App

    app = App(
        name="minibroker",
        help="A message broker that speaks the Apache Kafka protocol, and the programs that go with it.",
        version=__version__,
    )
    for name in COMMANDS:
        app.command(import_module(f"minibroker.cli.{name}").app, name=name)
    return app, list(argv)


def _silence(stream: object) -> None:
    """Keep the interpreter from flushing into the closed pipe, and complaining, as it exits."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[attr-defined]
