"""The check of a leader epoch that a client believes in (KIP-320)."""

from __future__ import annotations

from minibroker.protocol.errors import FencedLeaderEpoch, UnknownLeaderEpoch
from minibroker.topics.partition import Partition

UNKNOWN_EPOCH = -1


def check_leader_epoch(partition: Partition, epoch: int) -> None:
    """Raise FencedLeaderEpoch or UnknownLeaderEpoch unless `epoch` is that of the partition, or -1: not known."""
    if epoch == UNKNOWN_EPOCH or epoch == partition.leader_epoch:
        return
    found = f"{partition} is at leader epoch {partition.leader_epoch}, not {epoch}"
    raise FencedLeaderEpoch(found) if epoch < partition.leader_epoch else UnknownLeaderEpoch(found)
