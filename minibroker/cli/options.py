"""Flags that several commands share."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter


def program(name: str | None, purpose: str) -> App:
    """One command, or a group of them: its flags have no --no- or --empty- forms."""
    return App(name=name, help=purpose, version_flags=(), default_parameter=Parameter(negative=()))


BrokerOption = Annotated[
    str,
    Parameter(
        alias="-b",
        env_var="MINIBROKER_BROKER",
        help="Address of any broker of the cluster, HOST:PORT; several with commas.",
    ),
]
DEFAULT_BROKER = "127.0.0.1:9092"

JsonOption = Annotated[bool, Parameter(name="--json", help="JSON for programs instead of text for people.")]
