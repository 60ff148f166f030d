"""Administration of topics: list, describe, create, grow, delete, and delete records; sizes on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from minibroker.client.admin_base import CONTROLLER, AdminBase, check
from minibroker.client.metadata import Broker, ClusterInfo, TopicInfo, TopicPartition, cluster_info
from minibroker.client.offsets import EARLIEST, LATEST, FoundOffset, Isolation, list_offsets, why_no_leader
from minibroker.protocol.api import ApiKey
from minibroker.protocol.messages.create_partitions import CreatePartitionsResponse
from minibroker.protocol.messages.create_topics import CreateTopicsResponse
from minibroker.protocol.messages.delete_records import DeleteRecordsResponse
from minibroker.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse, DeleteTopicState
from minibroker.protocol.messages.describe_log_dirs import DescribeLogDirsResponse
from minibroker.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic

FIRST_DELETE_OF_STATES = 6


@attrs.frozen(kw_only=True)
class ClusterDescription:
    """The cluster as a whole."""

    cluster_id: str | None
    controller_id: int
    brokers: tuple[Broker, ...]


@attrs.frozen(kw_only=True)
class LogDirectory:
    """A data directory of one broker."""

    broker_id: int
    path: str
    total_bytes: int = -1
    """Of its volume; -1 if unknown."""
    usable_bytes: int = -1
    sizes: Mapping[TopicPartition, int] = attrs.Factory(dict)
    """Bytes per partition."""
    error_code: int = 0
    """Not zero when the directory is offline."""


class TopicAdmin(AdminBase):
    """The part of `Admin` about topics."""

    async def describe_cluster(self) -> ClusterDescription:
        """Brokers and controller. Raises KafkaError."""
        info = await self._metadata([])
        brokers = tuple(broker for _, broker in sorted(info.brokers.items()))
        return ClusterDescription(cluster_id=info.cluster_id, controller_id=info.controller_id, brokers=brokers)

    async def list_topics(self, *, internal: bool = False) -> dict[str, TopicInfo]:
        """All topics by name, the internal ones too if asked for. Raises KafkaError."""
        topics = (await self._metadata(None)).topics
        return {name: topic for name, topic in sorted(topics.items()) if internal or not topic.internal}

    async def describe_topics(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        """These topics, which are not created by being asked for. Raises UnknownTopicOrPartition."""
        topics = (await self._metadata(list(names))).topics
        for name, topic in topics.items():
            check(topic.error_code, None, f"topic {name!r}")
        return dict(topics)

    async def _metadata(self, names: list[str] | None) -> ClusterInfo:
        topics = None if names is None else [MetadataRequestTopic(name=name) for name in names]
        request = MetadataRequest(topics=topics, allow_auto_topic_creation=False)
        return await self._ask(request, lambda response: cluster_info(response, ClusterInfo()), api=ApiKey.METADATA)

    async def create_topic(
        self,
        name: str,
        partitions: int = -1,
        *,
        replication_factor: int = -1,
        configs: Mapping[str, str] | None = None,
        validate_only: bool = False,
    ) -> None:
        """Create a topic; -1 is the broker's default. Raises TopicAlreadyExists, InvalidConfig and others."""
        from minibroker.protocol.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest

        topic = CreatableTopic(
            name=name,
            num_partitions=partitions,
            replication_factor=replication_factor,
            configs=[CreatableTopicConfig(name=key, value=value) for key, value in (configs or {}).items()],
        )
        request = CreateTopicsRequest(topics=[topic], timeout_ms=self._timeout_ms, validate_only=validate_only)

        def read(response: CreateTopicsResponse) -> None:
            for answer in response.topics:
                check(answer.error_code, answer.error_message, f"creating topic {name!r}")

        await self._ask(request, read, api=ApiKey.CREATE_TOPICS, node_id=CONTROLLER)

    async def delete_topic(self, name: str) -> None:
        """Delete a topic with all its records. Raises UnknownTopicOrPartition and others."""

        def build(version: int) -> DeleteTopicsRequest:
            if version < FIRST_DELETE_OF_STATES:
                return DeleteTopicsRequest(topic_names=[name], timeout_ms=self._timeout_ms)
            return DeleteTopicsRequest(topics=[DeleteTopicState(name=name)], timeout_ms=self._timeout_ms)

        def read(response: DeleteTopicsResponse) -> None:
            for answer in response.responses:
                check(answer.error_code, answer.error_message, f"deleting topic {name!r}")

        await self._ask(build, read, api=ApiKey.DELETE_TOPICS, node_id=CONTROLLER)

    async def create_partitions(self, topic: str, total: int, *, validate_only: bool = False) -> None:
        """Let a topic have `total` partitions, which must be more than it has. Raises InvalidPartitions and others."""
        from minibroker.protocol.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic

        wanted = CreatePartitionsTopic(name=topic, count=total, assignments=None)
        request = CreatePartitionsRequest(topics=[wanted], timeout_ms=self._timeout_ms, validate_only=validate_only)

        def read(response: CreatePartitionsResponse) -> None:
            for answer in response.results:
                check(answer.error_code, answer.error_message, f"adding partitions to topic {topic!r}")

        await self._ask(request, read, api=ApiKey.CREATE_PARTITIONS, node_id=CONTROLLER)

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Let partitions begin at these offsets (-1: at their end); returns where they begin now.

        Raises OffsetOutOfRange, UnknownTopicOrPartition, PolicyViolation (a compacted topic).
        """
        from minibroker.protocol.messages.delete_records import (
            DeleteRecordsPartition,
            DeleteRecordsRequest,
            DeleteRecordsTopic,
        )

        begins: dict[TopicPartition, int] = {}

        def read(response: DeleteRecordsResponse) -> None:
            for topic in response.topics:
                for answer in topic.partitions:
                    where = TopicPartition(topic.name, answer.partition_index)
                    check(answer.error_code, None, f"deleting records of {where}")
                    begins[where] = answer.low_watermark

        for node_id, partitions in (await self._leaders(before)).items():
            topics: dict[str, DeleteRecordsTopic] = {}
            for name, index in partitions:
                wanted = DeleteRecordsPartition(partition_index=index, offset=before[TopicPartition(name, index)])
                topics.setdefault(name, DeleteRecordsTopic(name=name)).partitions.append(wanted)
            request = DeleteRecordsRequest(topics=list(topics.values()), timeout_ms=self._timeout_ms)
            await self._ask(request, read, api=ApiKey.DELETE_RECORDS, node_id=node_id)
        return begins

    async def _leaders(self, partitions: Iterable[TopicPartition]) -> dict[int, list[TopicPartition]]:
        """Partitions by leader. Raises UnknownTopicOrPartition, LeaderNotAvailable."""
        wanted = [TopicPartition(*partition) for partition in partitions]
        self._cluster.watch({partition.topic for partition in wanted})
        info = await self._cluster.refresh()
        by_leader: dict[int, list[TopicPartition]] = {}
        for partition in wanted:
            if info.leader(partition) < 0:
                raise why_no_leader(self._cluster, partition)
            by_leader.setdefault(info.leader(partition), []).append(partition)
        return by_leader

    async def list_offsets(
        self,
        wanted: Mapping[TopicPartition, int] | Iterable[TopicPartition],
        isolation: Isolation = Isolation.READ_UNCOMMITTED,
    ) -> dict[TopicPartition, FoundOffset]:
        """For each partition the offset of a time in ms, or of EARLIEST, LATEST (the default) or MAX_TIMESTAMP.

        Raises UnknownTopicOrPartition and others.
        """
        times = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(wanted, LATEST)
        await self._leaders(times)
        return await list_offsets(self._cluster, times, isolation)

    async def topic_offsets(self, names: Iterable[str]) -> dict[TopicPartition, tuple[int, int]]:
        """Where each partition of these topics begins and ends. Raises UnknownTopicOrPartition."""
        topics = await self.describe_topics(names)
        partitions = [TopicPartition(name, index) for name, topic in topics.items() for index in topic.partitions]
        begins = await self.list_offsets(dict.fromkeys(partitions, EARLIEST))
        ends = await self.list_offsets(partitions)
        return {partition: (begins[partition].offset, ends[partition].offset) for partition in partitions}

    async def log_directories(self) -> list[LogDirectory]:
        """The data directories of all brokers with the sizes of their partitions. Raises KafkaError."""
        from minibroker.protocol.messages.describe_log_dirs import DescribeLogDirsRequest

        request = DescribeLogDirsRequest(topics=None)

        async def ask(node_id: int) -> list[LogDirectory]:
            return await self._ask(
                request, lambda response: _directories(node_id, response), api=ApiKey.DESCRIBE_LOG_DIRS, node_id=node_id
            )

        return [directory for found in (await self._ask_all(ask)).values() for directory in found]


def _directories(node_id: int, response: DescribeLogDirsResponse) -> list[LogDirectory]:
    check(response.error_code, None, "describing log directories")
    return [
        LogDirectory(
            broker_id=node_id,
            path=result.log_dir,
            total_bytes=result.total_bytes,
            usable_bytes=result.usable_bytes,
            error_code=result.error_code,
            sizes={
                TopicPartition(topic.name, partition.partition_index): partition.partition_size
                for topic in result.topics
                for partition in topic.partitions
            },
        )
        for result in response.results
    ]
