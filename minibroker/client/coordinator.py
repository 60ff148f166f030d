"""Talks to the coordinator of one group: finds it, commits and reads offsets.

The coordinator is asked over the ordinary connection to its broker; only JoinGroup and SyncGroup, which may take
minutes, have one of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

import attrs

from minibroker.client.cluster import Cluster, Purpose
from minibroker.client.metadata import NO_ID, TopicPartition
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode, KafkaError, error_for
from minibroker.protocol.messages.find_coordinator import Coordinator, FindCoordinatorRequest
from minibroker.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from minibroker.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
)
from minibroker.protocol.schema import Request, Response

FIRST_COMMIT_BY_ID = FIRST_FETCH_BY_ID = 10
"""From these versions on, OffsetCommit and OffsetFetch name topics by id."""

FIRST_FIND_OF_MANY = 4
FIRST_FETCH_OF_STABLE = 7
FIRST_FETCH_OF_MANY = 8

MOVED = frozenset(
    {
        ErrorCode.NOT_COORDINATOR,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NETWORK_EXCEPTION,
        ErrorCode.REQUEST_TIMED_OUT,
    }
)
"""Errors after which the coordinator has to be found again."""

ResponseT = TypeVar("ResponseT", bound=Response)


@attrs.frozen
class CommittedOffset:
    """How far a group has read a partition."""

    offset: int
    """The next offset to read."""
    metadata: str = ""
    leader_epoch: int = -1


def as_committed(offsets: Mapping[TopicPartition, int | CommittedOffset]) -> dict[TopicPartition, CommittedOffset]:
    """Offsets as a user may give them."""
    return {
        TopicPartition(*partition): offset if isinstance(offset, CommittedOffset) else CommittedOffset(offset)
        for partition, offset in offsets.items()
    }


@attrs.frozen(kw_only=True)
class MemberIdentity:
    """By what right offsets are committed; the default is that of somebody outside the group."""

    member_id: str = ""
    generation: int = -1
    instance_id: str | None = None


OUTSIDER = MemberIdentity()


@attrs.define(eq=False)
class GroupCoordinator:
    """The broker that coordinates `group`, whichever that is at the moment."""

    cluster: Cluster
    group: str
    node_id: int = -1
    """-1 until it is found."""

    def forget(self) -> None:
        """It has moved: find it again before the next request."""
        self.node_id = -1

    def note(self, error: KafkaError) -> KafkaError:
        """Learn from an error; returns it."""
        self.note_code(error.code)
        return error

    def note_code(self, code: int) -> None:
        """Learn from an error code."""
        if code in MOVED:
            self.forget()

    async def request(
        self,
        api: ApiKey,
        build: Callable[[int], Request[ResponseT]],
        *,
        purpose: Purpose = "main",
        highest: int | None = None,
        extra_timeout_s: float = 0.0,
    ) -> ResponseT:
        """One request, built for the version both sides speak, and not retried. Raises KafkaError."""
        try:
            connection = await self.cluster.connection(await self._find(), purpose)
            version = connection.version_of(api, highest)
            timeout_s = self.cluster.settings.request_timeout_ms / 1000 + extra_timeout_s
            return await connection.request(build(version), highest=version, timeout_s=timeout_s)
        except KafkaError as error:
            raise self.note(error) from error.__cause__

    async def _find(self) -> int:
        if self.node_id < 0:
            connection = await self.cluster.any_connection()
            version = connection.version_of(ApiKey.FIND_COORDINATOR)
            many = version >= FIRST_FIND_OF_MANY
            request = FindCoordinatorRequest(
                key="" if many else self.group, key_type=0, coordinator_keys=[self.group] if many else []
            )
            response = await connection.request(request, highest=version)
            one = Coordinator(
                node_id=response.node_id, error_code=response.error_code, error_message=response.error_message
            )
            found = response.coordinators[0] if response.coordinators else one
            if found.error_code:
                raise error_for(found.error_code, found.error_message or f"group {self.group!r}")
            if found.node_id not in self.cluster.info.brokers:
                await self.cluster.refresh()
            self.node_id = found.node_id
        return self.node_id

    async def commit(
        self, offsets: Mapping[TopicPartition, CommittedOffset], member: MemberIdentity = OUTSIDER
    ) -> None:
        """Store offsets. Raises the first error, of whichever partition."""
        info = self.cluster.info
        topics: dict[str, OffsetCommitRequestTopic] = {}
        for partition, committed in offsets.items():
            name = partition.topic
            topic = topics.setdefault(name, OffsetCommitRequestTopic(name=name, topic_id=info.topic_id(name)))
            topic.partitions.append(
                OffsetCommitRequestPartition(
                    partition_index=partition.partition,
                    committed_offset=committed.offset,
                    committed_leader_epoch=committed.leader_epoch,
                    committed_metadata=committed.metadata,
                )
            )
        request = OffsetCommitRequest(
            group_id=self.group,
            generation_id_or_member_epoch=member.generation,
            member_id=member.member_id,
            group_instance_id=member.instance_id,
            topics=list(topics.values()),
        )
        ids_known = all(topic.topic_id != NO_ID for topic in topics.values())
        highest = None if ids_known else FIRST_COMMIT_BY_ID - 1
        response = await self.request(ApiKey.OFFSET_COMMIT, lambda _: request, highest=highest)
        names = {topic.topic_id: topic.name for topic in topics.values()}
        for answered in response.topics:
            for answer in answered.partitions:
                if answer.error_code:
                    where = f"{answered.name or names.get(answered.topic_id)}-{answer.partition_index}"
                    raise self.note(error_for(answer.error_code, f"committing {where} for group {self.group!r}"))

    async def fetch(
        self, partitions: Iterable[TopicPartition] | None = None, member: MemberIdentity = OUTSIDER
    ) -> dict[TopicPartition, CommittedOffset]:
        """Read committed offsets, of all partitions if None; those without one are left out. Raises KafkaError.

        Offsets of transactions that are still open are waited for, as the Java client does (KIP-447).
        """
        by_topic: dict[str, list[int]] = {}
        for partition in partitions or ():
            by_topic.setdefault(partition.topic, []).append(partition.partition)
        build = partial(self._fetch_request, None if partitions is None else by_topic)
        response = await self.request(ApiKey.OFFSET_FETCH, build, highest=FIRST_FETCH_BY_ID - 1)
        group = response.groups[0] if response.groups else response
        if group.error_code:
            raise self.note(error_for(group.error_code, f"reading the offsets of group {self.group!r}"))
        found: dict[TopicPartition, CommittedOffset] = {}
        for topic in group.topics:
            for answer in topic.partitions:
                where = TopicPartition(topic.name, answer.partition_index)
                if answer.error_code:
                    raise error_for(answer.error_code, f"reading the offset of {where} of group {self.group!r}")
                if answer.committed_offset >= 0:
                    found[where] = CommittedOffset(
                        answer.committed_offset, answer.metadata or "", answer.committed_leader_epoch
                    )
        return found

    def _fetch_request(self, by_topic: dict[str, list[int]] | None, version: int) -> OffsetFetchRequest:
        require_stable = version >= FIRST_FETCH_OF_STABLE
        topics = None
        if by_topic is not None:
            topics = [OffsetFetchRequestTopic(name=name, partition_indexes=of) for name, of in by_topic.items()]
        if version < FIRST_FETCH_OF_MANY:
            return OffsetFetchRequest(group_id=self.group, topics=topics, require_stable=require_stable)
        group = OffsetFetchRequestGroup(group_id=self.group, topics=topics)
        return OffsetFetchRequest(groups=[group], require_stable=require_stable)
