"""Talks to the coordinator of one group: finds it, commits and reads offsets.

The coordinator is asked over the ordinary connection to its broker; only JoinGroup and SyncGroup, which may take
minutes, have one of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import attrs

from minibroker.client.cluster import Cluster
from minibroker.client.metadata import NO_ID, TopicPartition, by_partition
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode, KafkaError, error_for
from minibroker.protocol.messages.find_coordinator import FindCoordinatorRequest
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
Result = TypeVar("Result")


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


@attrs.define(eq=False)
class GroupCoordinator:
    """The broker that coordinates `group`, whichever that is at the moment, and who we are to it."""

    cluster: Cluster
    group: str
    instance_id: str | None = None
    member_id: str = ""
    generation: int = -1
    """By these three we commit; the defaults are those of somebody outside the group."""
    node_id: int = -1
    """-1 until it is found."""

    def note(self, error: KafkaError) -> None:
        """Learn from an error that it has moved: it is found again before the next request."""
        if error.code in MOVED:
            self.node_id = -1

    async def request(
        self, message: Request[ResponseT] | Callable[[int], Request[ResponseT]], **options: Any
    ) -> ResponseT:
        """One request, with the options of `Cluster.request`. Raises KafkaError, of which `note` should be told."""
        return await self.cluster.request(message, node_id=await self._find(), **options)

    async def retrying(self, attempt: Callable[[], Awaitable[Result]], what: str) -> Result:
        """`Cluster.retrying`, which goes on where the coordinator has moved to."""

        async def noting() -> Result:
            try:
                return await attempt()
            except KafkaError as error:
                self.note(error)
                raise

        return await self.cluster.retrying(noting, what)

    async def _find(self) -> int:
        if self.node_id < 0:
            response = await self.cluster.request(self._find_request, api=ApiKey.FIND_COORDINATOR)
            found = response.coordinators[0] if response.coordinators else response
            if found.error_code:
                raise error_for(found.error_code, found.error_message or f"group {self.group!r}")
            if found.node_id not in self.cluster.info.brokers:
                await self.cluster.refresh()
            self.node_id = found.node_id
        return self.node_id

    def _find_request(self, version: int) -> FindCoordinatorRequest:
        if version < FIRST_FIND_OF_MANY:
            return FindCoordinatorRequest(key=self.group, key_type=0)
        return FindCoordinatorRequest(key_type=0, coordinator_keys=[self.group])

    async def commit(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
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
            generation_id_or_member_epoch=self.generation,
            member_id=self.member_id,
            group_instance_id=self.instance_id,
            topics=list(topics.values()),
        )
        ids_known = all(topic.topic_id != NO_ID for topic in topics.values())
        highest = None if ids_known else FIRST_COMMIT_BY_ID - 1
        response = await self.request(request, highest=highest)
        for where, answer in by_partition(response.topics, {topic.topic_id: topic.name for topic in topics.values()}):
            if answer.error_code:
                raise error_for(answer.error_code, f"committing {where} for group {self.group!r}")

    async def fetch(self, partitions: Iterable[TopicPartition] | None = None) -> dict[TopicPartition, CommittedOffset]:
        """Read committed offsets, of all partitions if None; those without one are left out. Raises KafkaError.

        Offsets of transactions that are still open are waited for, as the Java client does (KIP-447).
        """
        topics: dict[str, OffsetFetchRequestTopic] = {}
        for name, index in partitions or ():
            topics.setdefault(name, OffsetFetchRequestTopic(name=name)).partition_indexes.append(index)
        wanted = None if partitions is None else list(topics.values())

        def build(version: int) -> OffsetFetchRequest:
            require_stable = version >= FIRST_FETCH_OF_STABLE
            if version < FIRST_FETCH_OF_MANY:
                return OffsetFetchRequest(group_id=self.group, topics=wanted, require_stable=require_stable)
            group = OffsetFetchRequestGroup(group_id=self.group, topics=wanted)
            return OffsetFetchRequest(groups=[group], require_stable=require_stable)

        response = await self.request(build, api=ApiKey.OFFSET_FETCH, highest=FIRST_FETCH_BY_ID - 1)
        group = response.groups[0] if response.groups else response
        if group.error_code:
            raise error_for(group.error_code, f"reading the offsets of group {self.group!r}")
        found: dict[TopicPartition, CommittedOffset] = {}
        for where, answer in by_partition(group.topics):
            if answer.error_code:
                raise error_for(answer.error_code, f"reading the offset of {where} of group {self.group!r}")
            if answer.committed_offset >= 0:
                found[where] = CommittedOffset(
                    answer.committed_offset, answer.metadata or "", answer.committed_leader_epoch
                )
        return found
