"""Membership in a consumer group of the classic protocol: join, sync, heartbeat, leave (KIP-62, KIP-345, KIP-429).

One task goes around the cycle of a rebalance, another sends heartbeats and wakes it. What the member does with its
partitions is the business of an `Assignee` (the consumer).

- eager (any assignor but cooperative-sticky among those offered): everything is given up before joining;
- cooperative: partitions are kept; those that go to others are given up after the assignment, and then all join again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import attrs
import trio

from minibroker.client.assignors import ASSIGNORS, Assignor
from minibroker.client.coordinator import MOVED, GroupCoordinator, MemberIdentity
from minibroker.client.metadata import TopicPartition
from minibroker.client.subscription import (
    Subscription,
    decode_assignment,
    decode_subscription,
    encode_assignment,
    encode_subscription,
)
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode, KafkaError, ProtocolError, error_for
from minibroker.protocol.messages.heartbeat import HeartbeatRequest
from minibroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from minibroker.protocol.messages.leave_group import LeaveGroupRequest
from minibroker.protocol.messages.leave_group import MemberIdentity as LeavingMember
from minibroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

log = logging.getLogger(__name__)

PROTOCOL_TYPE = "consumer"
FIRST_STATIC_HEARTBEAT = FIRST_STATIC_SYNC = FIRST_LEAVE_OF_MANY = 3

EXPELLED = frozenset({ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.ILLEGAL_GENERATION})
"""The group goes on without this member: its partitions may be somebody else's already."""

NOTHING: frozenset[TopicPartition] = frozenset()


class Assignee(Protocol):
    """Whose membership it is."""

    def subscribed(self) -> tuple[str, ...]:
        """The topics it wants."""

    def owned(self) -> frozenset[TopicPartition]:
        """The partitions it has."""

    def overdue(self) -> bool:
        """Whether the application has not asked for records for longer than `max_poll_interval_ms`."""

    async def wait_active(self) -> None:
        """Wait until it is not overdue."""

    async def revoke(self, partitions: frozenset[TopicPartition]) -> None:
        """Finish with these partitions, commit them and give them up; others will have them."""

    async def lose(self) -> None:
        """Drop all partitions: others may have them already."""

    async def assign(self, partitions: frozenset[TopicPartition]) -> None:
        """Have these partitions too."""

    def fail(self, error: KafkaError) -> None:
        """Membership has ended for a reason that joining again cannot mend."""


@attrs.frozen(kw_only=True)
class GroupSettings:
    """The part of a consumer's settings that membership needs."""

    instance_id: str | None = None
    assignors: Sequence[Assignor] = (ASSIGNORS["range"], ASSIGNORS["cooperative-sticky"])
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 3_000
    max_poll_interval_ms: int = 300_000

    @property
    def cooperative(self) -> bool:
        """Whether partitions are kept while joining: only if every assignor that may be chosen allows it."""
        return all(assignor.cooperative for assignor in self.assignors)


@attrs.define(eq=False)
class Membership:
    """This consumer as a member of its group."""

    coordinator: GroupCoordinator
    settings: GroupSettings
    assignee: Assignee
    member_id: str = ""
    generation: int = -1
    _joining: bool = False
    _synced: trio.Event | None = None
    """Between the answers to JoinGroup and SyncGroup: to be set by the latter."""
    _lost: bool = False
    """Expelled since the last join: what is owned must be dropped, not committed."""
    _previous: frozenset[TopicPartition] = NOTHING
    """The last assignment, for the sticky assignor, which outlives giving it up."""
    _watched_counts: dict[str, int] | None = None
    """As leader: the partition counts the assignment was made from."""
    _rejoin: trio.Event = attrs.Factory(trio.Event)

    @property
    def identity(self) -> MemberIdentity:
        """By what right it commits."""
        return MemberIdentity(
            member_id=self.member_id, generation=self.generation, instance_id=self.settings.instance_id
        )

    async def wait_synced(self) -> None:
        """Wait while the broker would refuse a commit because the new generation has no assignment yet."""
        while self._synced is not None:
            await self._synced.wait()

    def rejoin(self) -> None:
        """Have a rebalance: the subscription changed, or an answer said so."""
        self._rejoin.set()

    def metadata_changed(self) -> None:
        """As leader, have a rebalance if a subscribed topic has got more partitions, appeared or disappeared."""
        before = self._watched_counts
        if before is not None and not self._joining:
            counts = self.coordinator.cluster.info.partitions_of(before)
            if counts != {topic: count for topic, count in before.items() if count}:
                self.rejoin()

    async def run(self) -> None:
        """Be a member until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heartbeats)
                while True:
                    await self._rebalance()
                    await self._rejoin.wait()
        except* KafkaError as group:
            self.generation = -1
            self.assignee.fail(_first(group))

    async def _rebalance(self) -> None:
        await self.assignee.wait_active()
        if not (self._lost or self.settings.cooperative) and self.assignee.owned():
            await self.assignee.revoke(self.assignee.owned())
        await self._drop_if_lost()
        self._rejoin = trio.Event()
        self._joining = True
        try:
            assigned = await self._join()
        finally:
            self._joining = False
        owned = self.assignee.owned()
        if gone := owned - assigned:
            await self.assignee.revoke(gone)
            self.rejoin()  # what was given up is free now
        self._previous = assigned
        if not self._lost:
            await self.assignee.assign(assigned - owned)

    async def _drop_if_lost(self) -> None:
        if self._lost:
            self._lost = False
            if self.assignee.owned():
                await self.assignee.lose()

    async def _join(self) -> frozenset[TopicPartition]:
        """Join and sync, as often as it takes. Raises KafkaError that trying again cannot mend."""
        failures = 0
        while True:
            try:
                joined = await self._join_group()
                self._synced = trio.Event()
                try:
                    return await self._sync_group(joined)
                finally:
                    self._synced.set()
                    self._synced = None
            except KafkaError as error:
                self.coordinator.note(error)
                if error.code in EXPELLED:
                    self._expelled(error)
                    await self._drop_if_lost()
                elif error.code.retriable or error.code in MOVED:
                    failures += 1
                    await trio.sleep(self.coordinator.cluster.settings.retry_backoff.pause_s(failures))
                elif error.code not in (ErrorCode.MEMBER_ID_REQUIRED, ErrorCode.REBALANCE_IN_PROGRESS):
                    raise

    async def _join_group(self) -> JoinGroupResponse:
        settings = self.settings
        topics, owned = self.assignee.subscribed(), self.assignee.owned()
        protocols = []
        for assignor in settings.assignors:
            user_data = assignor.user_data(owned or self._previous, self.generation)
            subscription = Subscription(topics=topics, owned=owned, generation=self.generation, user_data=user_data)
            protocols.append(JoinGroupRequestProtocol(name=assignor.name, metadata=encode_subscription(subscription)))
        request = JoinGroupRequest(
            group_id=self.coordinator.group,
            session_timeout_ms=settings.session_timeout_ms,
            rebalance_timeout_ms=settings.max_poll_interval_ms,
            member_id=self.member_id,
            group_instance_id=settings.instance_id,
            protocol_type=PROTOCOL_TYPE,
            protocols=protocols,
        )
        wait_s = settings.max_poll_interval_ms / 1000
        response = await self.coordinator.request(
            ApiKey.JOIN_GROUP, lambda _: request, purpose="group", extra_timeout_s=wait_s
        )
        if response.member_id and response.error_code in (ErrorCode.NONE, ErrorCode.MEMBER_ID_REQUIRED):
            self.member_id = response.member_id
        if response.error_code:
            raise error_for(response.error_code, f"joining group {self.coordinator.group!r}")
        self.generation = response.generation_id
        return response

    async def _sync_group(self, joined: JoinGroupResponse) -> frozenset[TopicPartition]:
        assignments = await self._assign(joined) if joined.leader == self.member_id else []
        if joined.leader != self.member_id:
            self._watched_counts = None
        request = SyncGroupRequest(
            group_id=self.coordinator.group,
            generation_id=self.generation,
            member_id=self.member_id,
            group_instance_id=self.settings.instance_id,
            protocol_type=PROTOCOL_TYPE,
            protocol_name=joined.protocol_name,
            assignments=assignments,
        )
        wait_s = self.settings.max_poll_interval_ms / 1000
        response = await self.coordinator.request(
            ApiKey.SYNC_GROUP, lambda _: request, purpose="group", extra_timeout_s=wait_s
        )
        if response.error_code:
            raise error_for(response.error_code, f"joining group {self.coordinator.group!r}")
        try:
            return decode_assignment(response.assignment)
        except ProtocolError as error:
            raise error_for(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, f"the leader's assignment: {error}") from error

    async def _assign(self, joined: JoinGroupResponse) -> list[SyncGroupRequestAssignment]:
        """As leader: give every member its partitions."""
        members = {}
        for member in joined.members:
            try:
                members[member.member_id] = decode_subscription(member.metadata, member.group_instance_id)
            except ProtocolError as error:
                log.warning("group %s: member %s: %s", self.coordinator.group, member.member_id, error)
                members[member.member_id] = Subscription(topics=())
        cluster = self.coordinator.cluster
        topics = {topic for subscription in members.values() for topic in subscription.topics}
        cluster.watch(topics)
        await cluster.refresh()
        counts = cluster.info.partitions_of(topics)
        self._watched_counts = {topic: counts.get(topic, 0) for topic in topics}
        if joined.skip_assignment:  # KIP-814: a static leader came back, and nothing else has changed
            return []
        assignor = ASSIGNORS.get(joined.protocol_name or "")
        if assignor is None:
            raise error_for(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, f"unknown assignor {joined.protocol_name!r}")
        return [
            SyncGroupRequestAssignment(member_id=member, assignment=encode_assignment(partitions))
            for member, partitions in assignor.assign(members, counts).items()
        ]

    # Staying and leaving.

    async def _heartbeats(self) -> None:
        while True:
            await trio.sleep(self.settings.heartbeat_interval_ms / 1000)
            if self.generation < 0 or self._joining:
                continue
            if self.assignee.overdue():
                log.warning("group %s: no poll for max_poll_interval_ms; leaving", self.coordinator.group)
                await self.leave("the application has stopped polling")
                self._lost = True
                self.rejoin()
                continue
            try:
                await self._heartbeat()
            except KafkaError as error:
                self.coordinator.note(error)
                if error.code is ErrorCode.FENCED_INSTANCE_ID:
                    raise
                if error.code in EXPELLED:
                    self._expelled(error)
                if error.code in EXPELLED or error.code is ErrorCode.REBALANCE_IN_PROGRESS:
                    self.rejoin()

    async def _heartbeat(self) -> None:
        request = HeartbeatRequest(
            group_id=self.coordinator.group,
            generation_id=self.generation,
            member_id=self.member_id,
            group_instance_id=self.settings.instance_id,
        )
        response = await self.coordinator.request(ApiKey.HEARTBEAT, lambda _: request)
        if response.error_code and request.generation_id == self.generation and not self._joining:
            raise error_for(response.error_code, f"group {self.coordinator.group!r}")

    def _expelled(self, error: KafkaError) -> None:
        log.warning("group %s: %s; joining again", self.coordinator.group, error)
        self._lost = True
        self.generation = -1
        if error.code is ErrorCode.UNKNOWN_MEMBER_ID:
            self.member_id = ""

    async def leave(self, reason: str = "the consumer is closed") -> None:
        """Leave the group, unless as a static member, whose place is kept until its session expires (KIP-345)."""
        member_id, self.member_id, self.generation = self.member_id, "", -1
        if not member_id or self.settings.instance_id is not None:
            return

        def build(version: int) -> LeaveGroupRequest:
            if version < FIRST_LEAVE_OF_MANY:
                return LeaveGroupRequest(group_id=self.coordinator.group, member_id=member_id)
            leaving = LeavingMember(member_id=member_id, reason=reason)
            return LeaveGroupRequest(group_id=self.coordinator.group, members=[leaving])

        try:
            await self.coordinator.request(ApiKey.LEAVE_GROUP, build)
        except KafkaError as error:
            log.info("group %s: leaving failed, the session will expire: %s", self.coordinator.group, error)


def _first(group: BaseExceptionGroup[KafkaError]) -> KafkaError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group is never empty")
