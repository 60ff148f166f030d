"""Whether there is a cluster at all: asked before a program settles down to retry and wait, as Kafka's clients do."""

from __future__ import annotations

from minibroker.cli.problems import CommandError
from minibroker.client.address import Address, parse_addresses
from minibroker.client.cluster import Cluster
from minibroker.client.settings import ClusterSettings


async def check_reachable(broker: str) -> None:
    """Raise at once if no broker answers: KafkaError that says why, CommandError if `broker` is no address."""
    async with Cluster(ClusterSettings(bootstrap=bootstrap_addresses(broker))) as cluster:
        await cluster.refresh()


def bootstrap_addresses(broker: str) -> tuple[Address, ...]:
    """The addresses in --broker; raises CommandError."""
    try:
        return tuple(parse_addresses(broker))
    except ValueError as error:
        raise CommandError(f"--broker: {error}") from None
