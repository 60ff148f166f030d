"""What there is to talk to: asked before a program settles down to retry and wait, as Kafka's clients do."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from minibroker.cli.problems import CommandError
from minibroker.client.address import Address, parse_addresses
from minibroker.client.cluster import Cluster
from minibroker.client.metadata import ClusterInfo
from minibroker.client.settings import ClusterSettings


async def look_up(broker: str, topics: Iterable[str] = ()) -> ClusterInfo:
    """The cluster and these topics, without creating any.

    Raises at once if no broker answers: KafkaError that says why, CommandError if `broker` is no address.
    """
    settings = ClusterSettings(bootstrap=bootstrap_addresses(broker), allow_auto_create_topics=False)
    logging.basicConfig(format="minibroker: %(message)s", level=logging.WARNING)  # what the client says later on
    client_log = logging.getLogger("minibroker.client")
    client_log.setLevel(logging.ERROR)  # not now: what goes wrong now is raised
    try:
        async with Cluster(settings) as cluster:
            cluster.watch(topics)
            return await cluster.refresh()
    finally:
        client_log.setLevel(logging.NOTSET)


def bootstrap_addresses(broker: str) -> tuple[Address, ...]:
    """The addresses in --broker; raises CommandError."""
    try:
        return tuple(parse_addresses(broker))
    except ValueError as error:
        raise CommandError(f"--broker: {error}") from None
