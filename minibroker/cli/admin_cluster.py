"""`minibroker admin cluster`: the brokers and their data directories."""

from __future__ import annotations

import attrs

from minibroker.cli.administering import administer
from minibroker.cli.options import DEFAULT_BROKER, BrokerOption, JsonOption
from minibroker.cli.tables import show, show_json
from minibroker.client.descriptions import LogDirectory
from minibroker.client.metadata import Broker


@attrs.frozen(kw_only=True)
class BrokerRow:
    """A broker of the cluster; bytes are those of its data directories and, free, of their volumes."""

    node: int
    address: str
    rack: str | None
    directories: list[str]
    partitions: int
    bytes: int
    free: int | None


@attrs.frozen(kw_only=True)
class ClusterDetails:
    """The cluster."""

    cluster_id: str | None
    controller: int
    brokers: list[BrokerRow]


async def cluster(*, broker: BrokerOption = DEFAULT_BROKER, json: JsonOption = False) -> None:
    """Show the brokers of the cluster."""
    async with administer(broker) as admin:
        described = await admin.describe_cluster()
        directories = await admin.log_directories()
    rows = [
        _row(member, [directory for directory in directories if directory.broker_id == member.node_id])
        for member in described.brokers
    ]
    if json:
        show_json(ClusterDetails(cluster_id=described.cluster_id, controller=described.controller_id, brokers=rows))
        return
    print(f"cluster {described.cluster_id}, controller {described.controller_id}")
    show(BrokerRow, rows, as_json=False)


def _row(member: Broker, directories: list[LogDirectory]) -> BrokerRow:
    return BrokerRow(
        node=member.node_id,
        address=str(member.address),
        rack=member.rack,
        directories=[directory.path for directory in directories],
        partitions=sum(len(directory.sizes) for directory in directories),
        bytes=sum(sum(directory.sizes.values()) for directory in directories),
        free=min((directory.usable_bytes for directory in directories if directory.usable_bytes >= 0), default=None),
    )
