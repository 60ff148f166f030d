"""A broker in the Trio run of a test."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from minibroker.config.load import RawValue, structure
from minibroker.config.settings import BrokerSettings
from minibroker.server.broker import RunningBroker, serve

DEFAULTS: Mapping[str, RawValue] = {
    "listeners": "PLAINTEXT://127.0.0.1:0",
    # Kafka waits 3 s for the first members of a group to gather; a test has better things to do.
    "group.initial.rebalance.delay.ms": "0",
    # A directory per partition: fifty of them are half of a short test.
    "offsets.topic.num.partitions": "4",
}


@attrs.define(eq=False)
class TestBroker:
    """A running broker and how to reach it."""

    __test__ = False  # pytest: not a class of tests

    running: RunningBroker
    settings: BrokerSettings

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self.running.endpoints[0].host

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.running.endpoints[0].port

    @property
    def address(self) -> str:
        """HOST:PORT, what clients call a bootstrap server."""
        return f"{self.host}:{self.port}"

    @property
    def data_dir(self) -> str:
        """Where its logs are."""
        return self.settings.log_dirs


def settings_for_test(data_dir: str, overrides: Mapping[str, RawValue] | None = None) -> BrokerSettings:
    """Settings for a test: Kafka's names to text or values. Raises ConfigError."""
    return structure({**DEFAULTS, "log.dirs": data_dir, **(overrides or {})})


@asynccontextmanager
async def open_broker(
    settings: Mapping[str, RawValue] | None = None, *, data_dir: str | None = None
) -> AsyncIterator[TestBroker]:
    """Run a broker for the length of the block; it ends in an orderly way.

    `data_dir` keeps its logs for another run; without one they are in a temporary directory.
    """
    async with AsyncExitStack() as stack:
        if data_dir is None:
            data_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="minibroker-"))
        broker_settings = settings_for_test(data_dir, settings)
        async with trio.open_nursery() as nursery:
            running: RunningBroker = await nursery.start(serve, broker_settings)
            try:
                yield TestBroker(running, broker_settings)
            finally:
                running.stop()
