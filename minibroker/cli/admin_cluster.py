"""`minibroker admin cluster`: the brokers and their data directories."""

from __future__ import annotations

import attrs

from minibroker.cli.administering import administer
from minibroker.cli.options import DEFAULT_BROKER, BrokerOption, JsonOption
from minibroker.cli.tables import show, show_json
from minibroker.client.admin import Admin


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


def cluster(*, broker: BrokerOption = DEFAULT_BROKER, json: JsonOption = False) -> None:
    """Show the brokers of the cluster."""

    async def work(admin: Admin) -> ClusterDetails:
        description = await admin.describe_cluster()
        directories = await admin.log_directories()
        rows = []
        for member in description.brokers:
            own = [directory for directory in directories if directory.broker_id == member.node_id]
            free = [directory.usable_bytes for directory in own if directory.usable_bytes >= 0]
            rows.append(
                BrokerRow(
                    node=member.node_id,
                    address=str(member.address),
                    rack=member.rack,
                    directories=[directory.path for directory in own],
                    partitions=sum(len(directory.sizes) for directory in own),
                    bytes=sum(sum(directory.sizes.values()) for directory in own),
                    free=min(free) if free else None,
                )
            )
        return ClusterDetails(cluster_id=description.cluster_id, controller=description.controller_id, brokers=rows)

    details = administer(broker, work)
    if json:
        show_json(details)
        return
    print(f"cluster {details.cluster_id}, controller {details.controller}")
    show(BrokerRow, details.brokers, as_json=False)
