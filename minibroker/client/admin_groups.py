"""Administration of groups: list, describe, delete; committed offsets and lag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from minibroker.client.admin_base import AdminBase, check
from minibroker.client.coordinator import CommittedOffset, GroupCoordinator, as_committed
from minibroker.client.metadata import TopicPartition
from minibroker.client.offsets import LATEST, list_offsets
from minibroker.client.subscription import decode_assignment
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import GroupIdNotFound, ProtocolError
from minibroker.protocol.messages.describe_groups import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsRequest,
)
from minibroker.protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse

PROTOCOL_TYPE = "consumer"
DEAD = "Dead"


@attrs.frozen(kw_only=True)
class GroupListing:
    """A group in brief."""

    group: str
    protocol_type: str
    state: str = ""
    """Empty before ListGroups 4."""
    type: str = ""
    """`classic` or `consumer`; empty before ListGroups 5."""


@attrs.frozen(kw_only=True)
class MemberDescription:
    """A member of a group."""

    member_id: str
    client_id: str
    client_host: str
    instance_id: str | None = None
    assignment: frozenset[TopicPartition] = frozenset()
    """Of consumers; other protocol types keep it to themselves."""


@attrs.frozen(kw_only=True)
class GroupDescription:
    """A group with its members."""

    group: str
    state: str
    protocol_type: str
    protocol: str
    """The assignor, while there are members."""
    coordinator_id: int
    members: tuple[MemberDescription, ...] = ()


@attrs.frozen(kw_only=True)
class PartitionLag:
    """How far a group is behind in one partition."""

    committed: int
    """-1 if it has committed nothing."""
    end: int
    lag: int | None
    """None if it has committed nothing."""
    metadata: str = ""
    member: MemberDescription | None = None
    """Who reads it at present."""


class GroupAdmin(AdminBase):
    """The part of `Admin` about groups."""

    def _group(self, group: str) -> GroupCoordinator:
        return GroupCoordinator(self._cluster, group)

    async def list_groups(self) -> list[GroupListing]:
        """All groups of all brokers, by name. Raises KafkaError."""

        async def ask(node_id: int) -> list[GroupListing]:
            return await self._ask(ListGroupsRequest(), _listings, api=ApiKey.LIST_GROUPS, node_id=node_id)

        found = [listing for listings in (await self._ask_all(ask)).values() for listing in listings]
        return sorted(found, key=lambda listing: listing.group)

    async def describe_group(self, group: str) -> GroupDescription:
        """A group with its members. Raises GroupIdNotFound and others."""
        coordinator = self._group(group)
        request = DescribeGroupsRequest(groups=[group])

        async def attempt() -> GroupDescription:
            response = await coordinator.request(ApiKey.DESCRIBE_GROUPS, lambda _: request)
            (described,) = response.groups
            coordinator.note_code(described.error_code)
            check(described.error_code, described.error_message, f"group {group!r}")
            if described.group_state == DEAD:
                raise GroupIdNotFound(f"group {group!r} does not exist")
            return _description(described, coordinator.node_id)

        return await self._cluster.retrying(attempt, f"describing group {group!r}")

    async def delete_group(self, group: str) -> None:
        """Delete a group without members, with its offsets. Raises NonEmptyGroup, GroupIdNotFound."""
        from minibroker.protocol.messages.delete_groups import DeleteGroupsRequest

        coordinator = self._group(group)
        request = DeleteGroupsRequest(groups_names=[group])

        async def attempt() -> None:
            response = await coordinator.request(ApiKey.DELETE_GROUPS, lambda _: request)
            for result in response.results:
                coordinator.note_code(result.error_code)
                check(result.error_code, None, f"deleting group {group!r}")

        await self._cluster.retrying(attempt, f"deleting group {group!r}")

    async def group_offsets(self, group: str) -> dict[TopicPartition, CommittedOffset]:
        """All offsets a group has committed; none for a group that does not exist. Raises KafkaError."""
        coordinator = self._group(group)
        return await self._cluster.retrying(coordinator.fetch, f"reading the offsets of group {group!r}")

    async def alter_group_offsets(self, group: str, offsets: Mapping[TopicPartition, int | CommittedOffset]) -> None:
        """Set offsets of a group without members. Raises UnknownMemberId if it has members, and others."""
        coordinator = self._group(group)
        committed = as_committed(offsets)
        self._cluster.watch({partition.topic for partition in committed})
        await self._cluster.refresh()
        await self._cluster.retrying(lambda: coordinator.commit(committed), f"setting offsets of group {group!r}")

    async def delete_group_offsets(self, group: str, partitions: Iterable[TopicPartition]) -> None:
        """Forget offsets. Raises GroupSubscribedToTopic while members read the topic, GroupIdNotFound."""
        from minibroker.protocol.messages.offset_delete import (
            OffsetDeleteRequest,
            OffsetDeleteRequestPartition,
            OffsetDeleteRequestTopic,
        )

        coordinator = self._group(group)
        topics: dict[str, OffsetDeleteRequestTopic] = {}
        for name, index in partitions:
            wanted = OffsetDeleteRequestPartition(partition_index=index)
            topics.setdefault(name, OffsetDeleteRequestTopic(name=name)).partitions.append(wanted)
        request = OffsetDeleteRequest(group_id=group, topics=list(topics.values()))
        what = f"deleting offsets of group {group!r}"

        async def attempt() -> None:
            response = await coordinator.request(ApiKey.OFFSET_DELETE, lambda _: request)
            coordinator.note_code(response.error_code)
            check(response.error_code, None, what)
            for topic in response.topics:
                for answer in topic.partitions:
                    check(answer.error_code, None, f"{what}, {topic.name}-{answer.partition_index}")

        await self._cluster.retrying(attempt, what)

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


def _listings(response: ListGroupsResponse) -> list[GroupListing]:
    check(response.error_code, None, "listing groups")
    return [
        GroupListing(
            group=group.group_id, protocol_type=group.protocol_type, state=group.group_state, type=group.group_type
        )
        for group in response.groups
    ]


def _description(described: DescribedGroup, coordinator_id: int) -> GroupDescription:
    consumers = described.protocol_type == PROTOCOL_TYPE
    return GroupDescription(
        group=described.group_id,
        state=described.group_state,
        protocol_type=described.protocol_type,
        protocol=described.protocol_data,
        coordinator_id=coordinator_id,
        members=tuple(_member(member, consumers) for member in described.members),
    )


def _member(member: DescribedGroupMember, consumer: bool) -> MemberDescription:
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
