"""`minibroker`, `minibroker --help` and `minibroker --version`: what the commands are."""

from __future__ import annotations

from importlib import import_module

from cyclopts import App

import minibroker
from minibroker.cli import COMMANDS


def overview() -> App:
    """The program with all its commands, which it imports: for help, and for errors about the first word."""
    app = App(
        name="minibroker",
        help="A message broker that speaks the Apache Kafka protocol, and the programs that go with it.",
        version=minibroker.__version__,
    )
    for name in COMMANDS:
        app.command(import_module(f"minibroker.cli.{name}").app, name=name)
    return app
