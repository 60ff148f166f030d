"""The admin client: topics, settings, records, groups, and the cluster as a whole.

async with Admin("127.0.0.1:9092") as admin:
    await admin.create_topic("orders", 6, configs={"retention.ms": "86400000"})
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import attrs

from minibroker.client.base import Client
from minibroker.client.cluster import Cluster
from minibroker.client.coordinator import CommittedOffset, GroupCoordinator, as_committed
from minibroker.client.descriptions import (
    ClusterDescription,
    ConfigEntry,
    ConfigSource,
    GroupDescription,
    GroupListing,
    LogDirectory,
    MemberDescription,
    PartitionLag,
)
from minibroker.client.metadata import ClusterInfo, TopicInfo, TopicPartition, by_partition, cluster_info
from minibroker.client.offsets import EARLIEST, LATEST, FoundOffset, Isolation, list_offsets, why_no_leader
from minibroker.client.settings import ClusterSettings
from minibroker.client.subscription import decode_assignment
from minibroker.client.verification import Advance, PartitionCheck, check_partition
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode, GroupIdNotFound, ProtocolError, error_for
from minibroker.protocol.messages import (
    create_partitions,
    create_topics,
    delete_groups,
    delete_records,
    delete_topics,
    describe_configs,
    describe_groups,
    describe_log_dirs,
    incremental_alter_configs,
    list_groups,
    metadata,
    offset_delete,
)
from minibroker.protocol.schema import Request, Response

ResponseT = TypeVar("ResponseT", bound=Response)

CONTROLLER = -1
"""In place of a node id: whichever broker is the controller."""

UNKNOWN = frozenset({ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID})
"""Retriable for those who wait for a topic to appear; who administers topics wants to know."""

FIRST_DELETE_OF_STATES = 6
FIRST_WITH_DOCUMENTATION = 3

TOPIC, BROKER = 2, 4
"""What has settings: Kafka's resource types."""

SET, DELETE = 0, 1
"""What can be done to one of them."""

PROTOCOL_TYPE = "consumer"
DEAD = "Dead"


@attrs.define(eq=False, kw_only=True)
class Admin(Client, ClusterSettings):
    """Administers a cluster. Use it in `async with`.

    Every method retries what may be retried, up to `api_timeout_ms`, and raises a KafkaError that says what is wrong.
    """

    client_id: str = "minibroker-admin"
    allow_auto_create_topics: bool = False

    _cluster: Cluster = attrs.field(init=False, default=attrs.Factory(Cluster, takes_self=True))

    async def _ask(
        self,
        what: str,
        message: Request[ResponseT] | Callable[[int], Request[ResponseT]],
        parts: str = "",
        *,
        api: ApiKey | None = None,
        node_id: int | None = None,
        group: GroupCoordinator | None = None,
    ) -> ResponseT:
        """One request to one broker (None: any) or to the coordinator of a group.

        An error of the answer, or of one of its `parts` (the name of a list in it), is raised as the error of `what`,
        or retried. `api` as in `Cluster.request`.
        """

        async def attempt() -> ResponseT:
            if group is not None:
                response = await group.request(message, api=api)
            else:
                node = await self._cluster.controller() if node_id == CONTROLLER else node_id
                response = await self._cluster.request(message, api=api, node_id=node)
            _check(response, what)
            for part in getattr(response, parts) if parts else ():
                _check(part, what)
                if hasattr(part, "partitions"):
                    for where, partition in by_partition([part]):
                        _check(partition, f"{what}, {where}")
            return response

        if group is not None:
            return await group.retrying(attempt, what)
        return await self._cluster.retrying(attempt, what, UNKNOWN)

    # The cluster.

    async def describe_cluster(self) -> ClusterDescription:
        """Brokers and controller. Raises KafkaError."""
        info = await self._metadata([])
        brokers = tuple(broker for _, broker in sorted(info.brokers.items()))
        return ClusterDescription(cluster_id=info.cluster_id, controller_id=info.controller_id, brokers=brokers)

    async def log_directories(self) -> list[LogDirectory]:
        """The data directories of all brokers with the sizes of their partitions. Raises KafkaError."""
        request = describe_log_dirs.DescribeLogDirsRequest(topics=None)
        found = []
        for node_id in await self._node_ids():
            response = await self._ask("describing log directories", request, node_id=node_id)
            for result in response.results:
                directory = LogDirectory(
                    broker_id=node_id,
                    path=result.log_dir,
                    total_bytes=result.total_bytes,
                    usable_bytes=result.usable_bytes,
                    error_code=result.error_code,
                    sizes={where: part.partition_size for where, part in by_partition(result.topics)},
                )
                found.append(directory)
        return found

    async def _node_ids(self) -> list[int]:
        return sorted((await self._cluster.refresh()).brokers)

    # Topics.

    async def list_topics(self, *, internal: bool = False) -> dict[str, TopicInfo]:
        """All topics by name, the internal ones too if asked for. Raises KafkaError."""
        topics = (await self._metadata(None)).topics
        return {name: topic for name, topic in sorted(topics.items()) if internal or not topic.internal}

    async def describe_topics(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        """These topics, which are not created by being asked for. Raises UnknownTopicOrPartition."""
        topics = (await self._metadata(list(names))).topics
        for name, topic in topics.items():
            _check(topic, f"topic {name!r}")
        return dict(topics)

    async def _metadata(self, names: list[str] | None) -> ClusterInfo:
        topics = None if names is None else [metadata.MetadataRequestTopic(name=name) for name in names]
        request = metadata.MetadataRequest(topics=topics, allow_auto_topic_creation=False)
        return cluster_info(await self._ask("Metadata", request), ClusterInfo())

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
        topic = create_topics.CreatableTopic(
            name=name,
            num_partitions=partitions,
            replication_factor=replication_factor,
            configs=[
                create_topics.CreatableTopicConfig(name=key, value=value) for key, value in (configs or {}).items()
            ],
        )
        request = create_topics.CreateTopicsRequest(
            topics=[topic], timeout_ms=self._timeout_ms, validate_only=validate_only
        )
        await self._ask(f"creating topic {name!r}", request, "topics", node_id=CONTROLLER)

    async def delete_topic(self, name: str) -> None:
        """Delete a topic with all its records. Raises UnknownTopicOrPartition and others."""

        def build(version: int) -> delete_topics.DeleteTopicsRequest:
            if version < FIRST_DELETE_OF_STATES:
                return delete_topics.DeleteTopicsRequest(topic_names=[name], timeout_ms=self._timeout_ms)
            state = delete_topics.DeleteTopicState(name=name)
            return delete_topics.DeleteTopicsRequest(topics=[state], timeout_ms=self._timeout_ms)

        what = f"deleting topic {name!r}"
        await self._ask(what, build, "responses", api=ApiKey.DELETE_TOPICS, node_id=CONTROLLER)

    async def create_partitions(self, topic: str, total: int, *, validate_only: bool = False) -> None:
        """Let a topic have `total` partitions, which must be more than it has. Raises InvalidPartitions and others."""
        wanted = create_partitions.CreatePartitionsTopic(name=topic, count=total, assignments=None)
        request = create_partitions.CreatePartitionsRequest(
            topics=[wanted], timeout_ms=self._timeout_ms, validate_only=validate_only
        )
        await self._ask(f"adding partitions to topic {topic!r}", request, "results", node_id=CONTROLLER)

    @property
    def _timeout_ms(self) -> int:
        return int(self.request_timeout_ms)

    # Settings.

    async def topic_configs(self, topic: str) -> dict[str, ConfigEntry]:
        """All settings of a topic by name. Raises UnknownTopicOrPartition."""
        return await self._describe(TOPIC, topic)

    async def broker_configs(self, node_id: int) -> dict[str, ConfigEntry]:
        """All settings of a broker by name. Raises KafkaError."""
        await self._cluster.refresh()
        return await self._describe(BROKER, str(node_id), node_id)

    async def alter_topic_configs(
        self, topic: str, changes: Mapping[str, str | None], *, validate_only: bool = False
    ) -> None:
        """Set settings of a topic, or with None go back to the default. Raises InvalidConfig and others."""
        await self._alter(TOPIC, topic, changes, validate_only)

    async def alter_broker_configs(
        self, node_id: int, changes: Mapping[str, str | None], *, validate_only: bool = False
    ) -> None:
        """Set settings of a broker while it runs, or with None go back. Raises InvalidConfig and others."""
        await self._cluster.refresh()
        await self._alter(BROKER, str(node_id), changes, validate_only, node_id)

    async def _describe(self, kind: int, name: str, node_id: int | None = None) -> dict[str, ConfigEntry]:
        resource = describe_configs.DescribeConfigsResource(
            resource_type=kind, resource_name=name, configuration_keys=None
        )

        def build(version: int) -> describe_configs.DescribeConfigsRequest:
            documented = version >= FIRST_WITH_DOCUMENTATION
            return describe_configs.DescribeConfigsRequest(resources=[resource], include_documentation=documented)

        api = ApiKey.DESCRIBE_CONFIGS
        response = await self._ask(_settings_of(kind, name), build, "results", api=api, node_id=node_id)
        entries = [
            ConfigEntry(
                name=config.name,
                value=config.value,
                source=ConfigSource(config.config_source),
                read_only=config.read_only,
                sensitive=config.is_sensitive,
                documentation=config.documentation,
            )
            for config in response.results[0].configs
        ]
        return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}

    async def _alter(
        self,
        kind: int,
        name: str,
        changes: Mapping[str, str | None],
        validate_only: bool,
        node_id: int | None = None,
    ) -> None:
        configs = [
            incremental_alter_configs.AlterableConfig(
                name=key, value=value, config_operation=DELETE if value is None else SET
            )
            for key, value in changes.items()
        ]
        resource = incremental_alter_configs.AlterConfigsResource(
            resource_type=kind, resource_name=name, configs=configs
        )
        request = incremental_alter_configs.IncrementalAlterConfigsRequest(
            resources=[resource], validate_only=validate_only
        )
        await self._ask(_settings_of(kind, name), request, "responses", node_id=node_id)

    # Records.

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Let partitions begin at these offsets (-1: at their end); returns where they begin now.

        Raises OffsetOutOfRange, UnknownTopicOrPartition, PolicyViolation (a compacted topic).
        """
        begins: dict[TopicPartition, int] = {}
        for node_id, partitions in (await self._leaders(before)).items():
            topics: dict[str, delete_records.DeleteRecordsTopic] = {}
            for where in partitions:
                wanted = delete_records.DeleteRecordsPartition(partition_index=where.partition, offset=before[where])
                topic = topics.setdefault(where.topic, delete_records.DeleteRecordsTopic(name=where.topic))
                topic.partitions.append(wanted)
            request = delete_records.DeleteRecordsRequest(topics=list(topics.values()), timeout_ms=self._timeout_ms)
            response = await self._ask("deleting records", request, "topics", node_id=node_id)
            begins.update({where: answer.low_watermark for where, answer in by_partition(response.topics)})
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

    async def check(self, partition: TopicPartition, *, gaps_allowed: bool, advance: Advance) -> PartitionCheck:
        """Read all that a partition holds, and tell what cannot be read or is damaged; `advance` is told of each batch.

        `gaps_allowed` if it is compacted: there offsets may be missing. Raises nothing but what cancels it.
        """
        return await check_partition(self._cluster, partition, gaps_allowed=gaps_allowed, advance=advance)

    # Groups.

    async def list_groups(self) -> list[GroupListing]:
        """All groups of all brokers, by name. Raises KafkaError."""
        found = []
        for node_id in await self._node_ids():
            response = await self._ask("listing groups", list_groups.ListGroupsRequest(), node_id=node_id)
            for group in response.groups:
                listing = GroupListing(
                    group=group.group_id,
                    protocol_type=group.protocol_type,
                    state=group.group_state,
                    type=group.group_type,
                )
                found.append(listing)
        return sorted(found, key=lambda listing: listing.group)

    async def describe_group(self, group: str) -> GroupDescription:
        """A group with its members. Raises GroupIdNotFound and others."""
        coordinator = GroupCoordinator(self._cluster, group)
        request = describe_groups.DescribeGroupsRequest(groups=[group])
        response = await self._ask(f"group {group!r}", request, "groups", group=coordinator)
        (described,) = response.groups
        if described.group_state == DEAD:
            raise GroupIdNotFound(f"group {group!r} does not exist")
        consumers = described.protocol_type == PROTOCOL_TYPE
        return GroupDescription(
            group=described.group_id,
            state=described.group_state,
            protocol_type=described.protocol_type,
            protocol=described.protocol_data,
            coordinator_id=coordinator.node_id,
            members=tuple(_member(member, consumers) for member in described.members),
        )

    async def delete_group(self, group: str) -> None:
        """Delete a group without members, with its offsets. Raises NonEmptyGroup, GroupIdNotFound."""
        request = delete_groups.DeleteGroupsRequest(groups_names=[group])
        await self._ask(f"deleting group {group!r}", request, "results", group=GroupCoordinator(self._cluster, group))

    async def group_offsets(self, group: str) -> dict[TopicPartition, CommittedOffset]:
        """All offsets a group has committed; none for a group that does not exist. Raises KafkaError."""
        coordinator = GroupCoordinator(self._cluster, group)
        return await coordinator.retrying(coordinator.fetch, f"reading the offsets of group {group!r}")

    async def alter_group_offsets(self, group: str, offsets: Mapping[TopicPartition, int | CommittedOffset]) -> None:
        """Set offsets of a group without members. Raises UnknownMemberId if it has members, and others."""
        coordinator = GroupCoordinator(self._cluster, group)
        committed = as_committed(offsets)
        self._cluster.watch({partition.topic for partition in committed})
        await self._cluster.refresh()
        await coordinator.retrying(lambda: coordinator.commit(committed), f"setting offsets of group {group!r}")

    async def delete_group_offsets(self, group: str, partitions: Iterable[TopicPartition]) -> None:
        """Forget offsets. Raises GroupSubscribedToTopic while members read the topic, GroupIdNotFound."""
        topics: dict[str, offset_delete.OffsetDeleteRequestTopic] = {}
        for name, index in partitions:
            wanted = offset_delete.OffsetDeleteRequestPartition(partition_index=index)
            topics.setdefault(name, offset_delete.OffsetDeleteRequestTopic(name=name)).partitions.append(wanted)
        request = offset_delete.OffsetDeleteRequest(group_id=group, topics=list(topics.values()))
        what = f"deleting offsets of group {group!r}"
        await self._ask(what, request, "topics", group=GroupCoordinator(self._cluster, group))

    async def group_lag(self, group: str) -> dict[TopicPartition, PartitionLag]:
        """Where a group stands in every partition that it has committed or is assigned. Raises GroupIdNotFound."""
        description = await self.describe_group(group)
        committed = await self.group_offsets(group)
        readers = {partition: member for member in description.members for partition in member.assignment}
        partitions = sorted(committed.keys() | readers.keys())
        self._cluster.watch({partition.topic for partition in partitions})
        info = await self._cluster.refresh()
        there = [partition for partition in partitions if info.leader(partition) >= 0]  # topics may be gone
        ends = await list_offsets(self._cluster, dict.fromkeys(there, LATEST)) if there else {}
        lags = {}
        for partition in there:
            offset = committed.get(partition, CommittedOffset(-1))
            end = ends[partition].offset
            lags[partition] = PartitionLag(
                committed=offset.offset,
                end=end,
                lag=max(end - offset.offset, 0) if offset.offset >= 0 else None,
                metadata=offset.metadata,
                member=readers.get(partition),
            )
        return lags


def _check(answer: Any, what: str) -> None:
    """Raise the error of an answer, if it has one."""
    if code := getattr(answer, "error_code", 0):
        message = getattr(answer, "error_message", None)
        error = error_for(code, message or "")
        raise type(error)(f"{what}: {message or error.code.meaning}")


def _settings_of(kind: int, name: str) -> str:
    return f"settings of {'topic' if kind == TOPIC else 'broker'} {name!r}"


def _member(member: describe_groups.DescribedGroupMember, consumer: bool) -> MemberDescription:
    try:
        assignment = decode_assignment(member.member_assignment) if consumer else frozenset()
    except ProtocolError:
        assignment = frozenset()
    return MemberDescription(
        member_id=member.member_id,
        client_id=member.client_id,
        client_host=member.client_host,
        instance_id=member.group_instance_id,
        assignment=assignment,
    )
