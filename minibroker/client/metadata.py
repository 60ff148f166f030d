"""What the client knows of the cluster: brokers, topics, leaders. Values made from Metadata responses (KIP-516 ids)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import attrs

from minibroker.client.address import Address

NO_ID = UUID(int=0)


class TopicPartition(NamedTuple):
    """A partition of a topic. A named tuple: it is the key of most dictionaries here, and its hash must be cheap."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


@attrs.frozen(kw_only=True)
class Broker:
    """A broker as the cluster advertises it."""

    node_id: int
    address: Address
    rack: str | None = None


@attrs.frozen(kw_only=True)
class PartitionInfo:
    """Where a partition lives."""

    index: int
    leader: int = -1
    """Node id; -1 while there is none."""
    leader_epoch: int = -1
    replicas: tuple[int, ...] = ()
    in_sync_replicas: tuple[int, ...] = ()
    error_code: int = 0


UNKNOWN = PartitionInfo(index=-1)


@attrs.frozen(kw_only=True)
class TopicInfo:
    """A topic and its partitions by index."""

    name: str
    topic_id: UUID = NO_ID
    """Zero before Metadata 10."""
    internal: bool = False
    partitions: Mapping[int, PartitionInfo] = attrs.Factory(dict)
    error_code: int = 0


@attrs.frozen(kw_only=True)
class ClusterInfo:
    """One state of the cluster, as far as it was asked for."""

    cluster_id: str | None = None
    controller_id: int = -1
    brokers: Mapping[int, Broker] = attrs.Factory(dict)
    topics: Mapping[str, TopicInfo] = attrs.Factory(dict)

    def partition(self, partition: TopicPartition) -> PartitionInfo:
        """What is known of a partition."""
        topic = self.topics.get(partition.topic)
        return topic.partitions.get(partition.partition, UNKNOWN) if topic else UNKNOWN

    def leader(self, partition: TopicPartition) -> int:
        """Node id of the leader; -1 when none is known."""
        return self.partition(partition).leader

    def leader_epoch(self, partition: TopicPartition) -> int:
        """Epoch of that leader; -1 when unknown."""
        return self.partition(partition).leader_epoch

    def topic_id(self, topic: str) -> UUID:
        """The id of a topic; zero when unknown."""
        info = self.topics.get(topic)
        return info.topic_id if info else NO_ID

    def partitions_of(self, topics: Iterable[str]) -> dict[str, int]:
        """Partition counts of those topics that are known and well."""
        known = ((name, self.topics.get(name)) for name in topics)
        return {name: len(info.partitions) for name, info in known if info and not info.error_code}


def cluster_info(response: Any, before: ClusterInfo) -> ClusterInfo:
    """Read a MetadataResponse. A partition of an older epoch than was known stays as it was (KIP-320)."""
    topics = {topic.name: _topic_info(topic, before.topics.get(topic.name)) for topic in response.topics}
    brokers = {
        broker.node_id: Broker(node_id=broker.node_id, address=Address(broker.host, broker.port), rack=broker.rack)
        for broker in response.brokers
    }
    return ClusterInfo(
        cluster_id=response.cluster_id, controller_id=response.controller_id, brokers=brokers, topics=topics
    )


def _topic_info(topic: Any, before: TopicInfo | None) -> TopicInfo:
    known = before.partitions if before and before.topic_id == topic.topic_id else {}
    partitions = {}
    for partition in sorted(topic.partitions, key=lambda partition: int(partition.partition_index)):
        index = partition.partition_index
        info = PartitionInfo(
            index=index,
            leader=partition.leader_id,
            leader_epoch=partition.leader_epoch,
            replicas=tuple(partition.replica_nodes),
            in_sync_replicas=tuple(partition.isr_nodes),
            error_code=partition.error_code,
        )
        newer = known.get(index)
        partitions[index] = newer if newer and newer.leader_epoch > info.leader_epoch >= 0 else info
    return TopicInfo(
        name=topic.name,
        topic_id=topic.topic_id,
        internal=topic.is_internal,
        partitions=partitions,
        error_code=topic.error_code,
    )


def by_partition(
    topics: Iterable[Any], names: Mapping[UUID, str] | None = None
) -> Iterator[tuple[TopicPartition, Any]]:
    """The parts of an answer that are about a partition each. `names` is for answers that give topics by id only."""
    for topic in topics:
        name = topic.name or (names or {}).get(topic.topic_id, "")
        for part in topic.partitions:
            yield TopicPartition(name, part.partition_index), part
