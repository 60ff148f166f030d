"""Replicas that a client places by hand (CreateTopics, CreatePartitions). There is one place: this broker."""

from __future__ import annotations

from collections.abc import Sequence

from minibroker.protocol.errors import InvalidReplicaAssignment


def check_replicas(broker_ids: Sequence[int], node_id: int) -> None:
    """Raise InvalidReplicaAssignment unless a partition is placed on this broker, once."""
    if list(broker_ids) != [node_id]:
        raise InvalidReplicaAssignment(
            f"expected each partition on broker {node_id}, the only one there is, found {list(broker_ids)}"
        )
