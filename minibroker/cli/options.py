"""Flags that several commands share."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

BrokerOption = Annotated[
    str,
    Parameter(
        name=("--broker", "-b"),
        env_var="MINIBROKER_BROKER",
        help="Address of any broker of the cluster, HOST:PORT; several with commas.",
    ),
]
DEFAULT_BROKER = "127.0.0.1:9092"

JsonOption = Annotated[
    bool, Parameter(name="--json", negative=(), help="JSON for programs instead of text for people.")
]
