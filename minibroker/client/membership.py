"""Membership in a consumer group of the classic protocol: join, sync, heartbeat, leave (KIP-62, KIP-345, KIP-429).

One task goes around the cycle of a rebalance, another sends heartbeats and wakes it. What becomes of the partitions is
the business of `ConsumerGroup`.

- eager (any assignor but cooperative-sticky among those offered): everything is given up before joining;
- cooperative: partitions are kept; those that go to others are given up after the assignment, and then all join again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeVar

import attrs
import trio

from minibroker.client.assignors import ASSIGNORS, Assignor
from minibroker.client.consumer_settings import ConsumerSettings
from minibroker.client.coordinator import MOVED, GroupCoordinator
from minibroker.client.group import ConsumerGroup
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
from minibroker.protocol.schema import Request, Response

log = logging.getLogger(__name__)

PROTOCOL_TYPE = "consumer"
FIRST_LEAVE_OF_MANY = 3

EXPELLED = frozenset({ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.ILLEGAL_GENERATION})
"""The group goes on without this member: its partitions may be somebody else's already."""

NOTHING: frozenset[TopicPartition] = frozenset()

LEAVE_TIMEOUT_S = 3.0
"""How long closing may take to commit and to leave, also when the block is left by an exception or cancelled."""

ResponseT = TypeVar("ResponseT", bound=Response)


@attrs.define(eq=False)
class Membership:
    """This consumer as a member of its group."""

    group: ConsumerGroup
    assignors: Sequence[Assignor]
    """In order of preference."""
    _joining: bool = False
    _lost: bool = False
    """Expelled since the last join: what is owned must be dropped, not committed."""
    _previous: frozenset[TopicPartition] = NOTHING
    """The last assignment, for the sticky assignor, which outlives giving it up."""
    _watched_counts: dict[str, int] | None = None
    """As leader: the partition counts the assignment was made from."""
    _rejoin: trio.Event = attrs.Factory(trio.Event)
    _scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    _coordinator: GroupCoordinator = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.group.coordinator, takes_self=True)
    )
    _settings: ConsumerSettings = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.group.settings, takes_self=True)
    )

    def subscribe(self, topics: frozenset[str]) -> None:
        """Want these topics from now on."""
        if topics != self.group.topics:
            self.group.topics = topics
            self.rejoin()

    def rejoin(self) -> None:
        """Have a rebalance: the subscription changed, or an answer said so."""
        self._rejoin.set()

    def metadata_changed(self) -> None:
        """As leader, have a rebalance if a subscribed topic has got more partitions, appeared or disappeared."""
        before = self._watched_counts
        if before is not None and not self._joining:
            counts = self._coordinator.cluster.info.partitions_of(before)
            if counts != {topic: count for topic, count in before.items() if count}:
                self.rejoin()

    async def run(self) -> None:
        """Be a member until the consumer is closed."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._heartbeats)
                    while True:
                        await self._rebalance()
                        await self._rejoin.wait()
        except* KafkaError as group:
            self._coordinator.generation = -1
            self.group.reading.fail(_first(group))

    async def close(self, *, clean: bool) -> None:
        """Commit what is done (if `clean`, all that was handed out) and leave the group, also when cancelled."""
        with trio.move_on_after(LEAVE_TIMEOUT_S, shield=True):
            await self.group.commit_last(clean=clean)
            self._scope.cancel()  # or it might join again behind our back
            await self._leave("the consumer is closed")

    async def _rebalance(self) -> None:
        group = self.group
        if group.overdue():
            async with group.reading.held():
                pass
        cooperative = all(assignor.cooperative for assignor in self.assignors)
        if not self._lost and not cooperative and group.owned():
            await group.revoke(group.owned())
        await self._drop_if_lost()
        self._rejoin = trio.Event()
        self._joining = True
        try:
            assigned = await self._join()
        finally:
            self._joining = False
        owned = group.owned()
        if gone := owned - assigned:
            await group.revoke(gone)
            self.rejoin()  # what was given up is free now
        self._previous = assigned
        if not self._lost:
            await group.assign(assigned - owned)

    async def _drop_if_lost(self) -> None:
        if self._lost:
            self._lost = False
            if self.group.owned():
                await self.group.lose()

    async def _join(self) -> frozenset[TopicPartition]:
        """Join and sync, as often as it takes. Raises KafkaError that trying again cannot mend."""
        failures = 0
        while True:
            try:
                joined = await self._join_group()
                with self.group.unsynced():
                    return await self._sync_group(joined)
            except KafkaError as error:
                self._coordinator.note(error)
                if error.code in EXPELLED:
                    self._expelled(error)
                    await self._drop_if_lost()
                elif error.code.retriable or error.code in MOVED:
                    failures += 1
                    await trio.sleep(self._coordinator.cluster.settings.retry_backoff.pause_s(failures))
                elif error.code not in (ErrorCode.MEMBER_ID_REQUIRED, ErrorCode.REBALANCE_IN_PROGRESS):
                    raise

    async def _join_group(self) -> JoinGroupResponse:
        coordinator, owned = self._coordinator, self.group.owned()
        protocols = []
        for assignor in self.assignors:
            subscription = Subscription(
                topics=tuple(sorted(self.group.topics)),
                owned=owned,
                generation=coordinator.generation,
                user_data=assignor.user_data(owned or self._previous, coordinator.generation),
            )
            protocols.append(JoinGroupRequestProtocol(name=assignor.name, metadata=encode_subscription(subscription)))
        request = JoinGroupRequest(
            group_id=coordinator.group,
            session_timeout_ms=self._settings.session_timeout_ms,
            rebalance_timeout_ms=self._settings.max_poll_interval_ms,
            member_id=coordinator.member_id,
            group_instance_id=coordinator.instance_id,
            protocol_type=PROTOCOL_TYPE,
            protocols=protocols,
        )
        response = await self._long_request(request)
        if response.member_id and response.error_code in (ErrorCode.NONE, ErrorCode.MEMBER_ID_REQUIRED):
            coordinator.member_id = response.member_id
        self._check(response.error_code)
        coordinator.generation = response.generation_id
        return response

    async def _sync_group(self, joined: JoinGroupResponse) -> frozenset[TopicPartition]:
        coordinator = self._coordinator
        leader = joined.leader == coordinator.member_id
        if not leader:
            self._watched_counts = None
        request = SyncGroupRequest(
            group_id=coordinator.group,
            generation_id=coordinator.generation,
            member_id=coordinator.member_id,
            group_instance_id=coordinator.instance_id,
            protocol_type=PROTOCOL_TYPE,
            protocol_name=joined.protocol_name,
            assignments=await self._assign(joined) if leader else [],
        )
        response = await self._long_request(request)
        self._check(response.error_code)
        try:
            return decode_assignment(response.assignment)
        except ProtocolError as error:
            raise error_for(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, f"the leader's assignment: {error}") from error

    async def _long_request(self, request: Request[ResponseT]) -> ResponseT:
        """JoinGroup and SyncGroup wait for the other members, which may take as long as they may work on records."""
        wait_s = self._settings.max_poll_interval_ms / 1000
        return await self._coordinator.request(request, purpose="group", extra_timeout_s=wait_s)

    def _check(self, code: int) -> None:
        if code:
            raise error_for(code, f"group {self._coordinator.group!r}")

    async def _assign(self, joined: JoinGroupResponse) -> list[SyncGroupRequestAssignment]:
        """As leader: give every member its partitions."""
        members = {}
        for member in joined.members:
            try:
                members[member.member_id] = decode_subscription(member.metadata, member.group_instance_id)
            except ProtocolError as error:
                log.warning("group %s: member %s: %s", self._coordinator.group, member.member_id, error)
                members[member.member_id] = Subscription(topics=())
        cluster = self._coordinator.cluster
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
        coordinator = self._coordinator
        while True:
            await trio.sleep(self._settings.heartbeat_interval_ms / 1000)
            if coordinator.generation < 0 or self._joining:
                continue
            if self.group.overdue():
                log.warning("group %s: no poll for max_poll_interval_ms; leaving", coordinator.group)
                self._lost = True
                await self._leave("the application has stopped polling")
                self.rejoin()
                continue
            try:
                await self._heartbeat()
            except KafkaError as error:
                coordinator.note(error)
                if error.code is ErrorCode.FENCED_INSTANCE_ID:
                    raise
                if error.code in EXPELLED:
                    self._expelled(error)
                if error.code in EXPELLED or error.code is ErrorCode.REBALANCE_IN_PROGRESS:
                    self.rejoin()

    async def _heartbeat(self) -> None:
        coordinator = self._coordinator
        request = HeartbeatRequest(
            group_id=coordinator.group,
            generation_id=coordinator.generation,
            member_id=coordinator.member_id,
            group_instance_id=coordinator.instance_id,
        )
        response = await coordinator.request(request)
        if request.generation_id == coordinator.generation and not self._joining:
            self._check(response.error_code)

    def _expelled(self, error: KafkaError) -> None:
        log.warning("group %s: %s; joining again", self._coordinator.group, error)
        self._lost = True
        self._coordinator.generation = -1
        if error.code is ErrorCode.UNKNOWN_MEMBER_ID:
            self._coordinator.member_id = ""

    async def _leave(self, reason: str) -> None:
        """Leave the group, unless as a static member, whose place is kept until its session expires (KIP-345)."""
        coordinator = self._coordinator
        member_id, coordinator.member_id, coordinator.generation = coordinator.member_id, "", -1
        if not member_id or coordinator.instance_id is not None:
            return

        def build(version: int) -> LeaveGroupRequest:
            if version < FIRST_LEAVE_OF_MANY:
                return LeaveGroupRequest(group_id=coordinator.group, member_id=member_id)
            leaving = LeavingMember(member_id=member_id, reason=reason)
            return LeaveGroupRequest(group_id=coordinator.group, members=[leaving])

        try:
            await coordinator.request(build, api=ApiKey.LEAVE_GROUP)
        except KafkaError as error:
            log.info("group %s: leaving failed, the session will expire: %s", coordinator.group, error)


def _first(group: BaseExceptionGroup[KafkaError]) -> KafkaError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group is never empty")
