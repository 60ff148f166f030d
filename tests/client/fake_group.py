"""A group coordinator for the scripted cluster: joins in two steps, one generation at a time, no timers.

A rebalance is complete when every member known has joined again; one that stops coming must be removed by the test.
"""

from __future__ import annotations

from typing import Any

import attrs
import trio

from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.heartbeat import HeartbeatResponse
from minibroker.protocol.messages.join_group import JoinGroupResponse, JoinGroupResponseMember
from minibroker.protocol.messages.leave_group import LeaveGroupResponse
from minibroker.protocol.messages.offset_commit import (
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from minibroker.protocol.messages.sync_group import SyncGroupResponse
from tests.client.fake import FakeCluster


@attrs.define(eq=False)
class FakeGroup:
    """The only group of a fake cluster."""

    fake: FakeCluster
    generation: int = 0
    members: dict[str, Any] = attrs.Factory(dict)
    """Member id → its last JoinGroup request; None until it has joined."""
    waiting: set[str] = attrs.Factory(set)
    """Who has joined the coming generation."""
    assignments: dict[str, bytes] = attrs.Factory(dict)
    history: list[dict[str, bytes]] = attrs.Factory(list)
    """The assignments of all generations."""
    rebalances: int = 0
    """How often a new generation was wanted; a SyncGroup that waits is then answered."""
    fenced: bool = False
    _changed: trio.Event = attrs.Factory(trio.Event)
    _stable: bool = False
    _ids: int = 0

    def __attrs_post_init__(self) -> None:
        self.commit = self.fake.handlers[ApiKey.OFFSET_COMMIT]
        self.fake.handlers |= {
            ApiKey.JOIN_GROUP: self._join,
            ApiKey.SYNC_GROUP: self._sync,
            ApiKey.HEARTBEAT: self._heartbeat,
            ApiKey.LEAVE_GROUP: self._leave,
            ApiKey.OFFSET_COMMIT: self._commit,
        }

    commit: Any = None

    def remove(self, member_id: str) -> None:
        """Its session has expired."""
        self.members.pop(member_id, None)
        self.waiting.discard(member_id)
        self.rebalance()

    def rebalance(self) -> None:
        """A new generation is needed."""
        self._stable = False
        self.rebalances += 1
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _join(self, node_id: int, request: Any, version: int) -> JoinGroupResponse:
        if self.fenced:
            return JoinGroupResponse(error_code=ErrorCode.FENCED_INSTANCE_ID)
        member_id = request.member_id
        if not member_id:
            self._ids += 1
            member_id = f"member-{self._ids}"
            if request.group_instance_id is None:
                return JoinGroupResponse(error_code=ErrorCode.MEMBER_ID_REQUIRED, member_id=member_id)
        elif member_id not in self.members and self.members.get(member_id, 0) is None:
            return JoinGroupResponse(error_code=ErrorCode.UNKNOWN_MEMBER_ID)
        self.members[member_id] = request
        self.waiting.add(member_id)
        self.rebalance()
        before = self.generation
        await trio.testing.wait_all_tasks_blocked()
        while self.generation == before and self.waiting < set(self.members) and member_id in self.members:
            await self._changed.wait()
        if member_id not in self.members:
            return JoinGroupResponse(error_code=ErrorCode.UNKNOWN_MEMBER_ID)
        if self.generation == before:
            self.generation += 1
            self.waiting = set()
            self.assignments = {}
            self._notify()
        return self._joined(member_id)

    def _joined(self, member_id: str) -> JoinGroupResponse:
        leader = min(self.members)
        names = [{protocol.name for protocol in request.protocols} for request in self.members.values()]
        common = set.intersection(*names)
        chosen = next(p.name for p in self.members[leader].protocols if p.name in common)
        members = []
        for name, request in self.members.items():
            metadata = next(p.metadata for p in request.protocols if p.name == chosen)
            members.append(
                JoinGroupResponseMember(member_id=name, metadata=metadata, group_instance_id=request.group_instance_id)
            )
        return JoinGroupResponse(
            generation_id=self.generation,
            protocol_type="consumer",
            protocol_name=chosen,
            leader=leader,
            member_id=member_id,
            members=members if member_id == leader else [],
        )

    async def _sync(self, node_id: int, request: Any, version: int) -> SyncGroupResponse:
        code = self._check(request.member_id, request.generation_id)
        if code:
            return SyncGroupResponse(error_code=code)
        if request.assignments:
            self.assignments = {part.member_id: bytes(part.assignment) for part in request.assignments}
            self.history.append(self.assignments)
            self._stable = not self.waiting
            self._notify()
        before = self.rebalances
        while not self.assignments and self.rebalances == before:
            await self._changed.wait()
        if self.rebalances != before:
            return SyncGroupResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS)
        return SyncGroupResponse(assignment=self.assignments.get(request.member_id, b""))

    def _check(self, member_id: str, generation: int) -> int:
        if member_id not in self.members:
            return ErrorCode.UNKNOWN_MEMBER_ID
        return ErrorCode.NONE if generation == self.generation else ErrorCode.ILLEGAL_GENERATION

    def _heartbeat(self, node_id: int, request: Any, version: int) -> HeartbeatResponse:
        code = self._check(request.member_id, request.generation_id)
        if not code and not self._stable:
            code = ErrorCode.REBALANCE_IN_PROGRESS
        return HeartbeatResponse(error_code=code)

    def _leave(self, node_id: int, request: Any, version: int) -> LeaveGroupResponse:
        for member in request.members:
            self.remove(member.member_id)
        return LeaveGroupResponse()

    def _commit(self, node_id: int, request: Any, version: int) -> Any:
        code = ErrorCode.NONE
        if request.member_id or self.members:
            code = ErrorCode(self._check(request.member_id, request.generation_id_or_member_epoch))
        if not code:
            return self.commit(node_id, request, version)
        topics = [
            OffsetCommitResponseTopic(
                name=topic.name,
                topic_id=topic.topic_id,
                partitions=[
                    OffsetCommitResponsePartition(partition_index=part.partition_index, error_code=code)
                    for part in topic.partitions
                ],
            )
            for topic in request.topics
        ]
        return OffsetCommitResponse(topics=topics)
