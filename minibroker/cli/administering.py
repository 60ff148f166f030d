"""What the admin commands share: a connected Admin for one piece of work, and flags for what it is about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar

import trio
from cyclopts import Parameter

from minibroker.cli.problems import CommandError
from minibroker.cli.reach import look_up
from minibroker.client.admin import Admin

Result = TypeVar("Result")

PATIENCE_MS: Final = 15_000  # how long a piece of work is tried again while brokers say "not now"

TopicOption = Annotated[str | None, Parameter(name=("--topic", "-t"), help="The topic.")]
PartitionsOption = Annotated[
    tuple[int, ...],
    Parameter(name=("--partition", "-p"), negative=(), help="Only this partition; may be repeated."),
]


def administer(broker: str, work: Callable[[Admin], Awaitable[Result]]) -> Result:
    """Do a piece of work with an Admin; raises KafkaError, at once if no broker answers."""

    async def run() -> Result:
        await look_up(broker)
        async with Admin(broker, api_timeout_ms=PATIENCE_MS) as admin:
            return await work(admin)

    return trio.run(run)


def assignments(flag: str, texts: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE, several; raises CommandError."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CommandError(f"{flag} expects KEY=VALUE, found {text!r}")
        pairs[key] = value
    return pairs
