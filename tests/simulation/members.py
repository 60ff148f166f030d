"""Members of a group in a simulation: they join, share partitions, commit, and never accept that a commit goes back."""

from __future__ import annotations

from typing import Any

import attrs

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from minibroker.protocol.messages.heartbeat import HeartbeatRequest
from minibroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
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
from minibroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.simulation.clients import STORAGE_ERRORS
from tests.simulation.history import Place
from tests.simulation.network import Link
from tests.simulation.world import Client, World, name_of

REJOIN = (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.ILLEGAL_GENERATION, ErrorCode.REBALANCE_IN_PROGRESS)
LOADING = (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.NOT_COORDINATOR)


@attrs.define(eq=False, repr=False)
class Committer(Client):
    """Commits ever higher offsets of its own partition; as a member of a group, or without being one."""

    world: World
    name: str
    group: str
    place: Place
    is_member: bool
    member_id: str = ""
    generation: int = -1
    offset: int = 0
    commits: int = 0

    async def session(self, link: Link) -> None:
        """Join if need be, then commit, read, commit."""
        await link.ask(FindCoordinatorRequest(key_type=0, coordinator_keys=[self.group]), 4)
        while True:
            if self.is_member and self.generation < 0 and not await self._join(link):
                await self.world.pause()
                continue
            action = self.world.rng.random()
            if action < 0.5:
                await self._commit(link)
            elif action < 0.8:
                await self._read(link)
            elif action < 0.98:
                await self._beat(link)
            else:
                return
            await self.world.pause()

    async def _join(self, link: Link) -> bool:
        join = JoinGroupRequest(
            group_id=self.group,
            session_timeout_ms=10_000,
            rebalance_timeout_ms=50,
            member_id=self.member_id,
            protocol_type="consumer",
            protocols=[JoinGroupRequestProtocol(name="range", metadata=b"")],
        )
        response = await link.ask(join, 6)
        self.world.trace(self.name, "join", response.error_code, response.generation_id)
        if response.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            self.member_id = response.member_id
            return False
        if response.error_code:
            self._take_error(response.error_code)
            return False
        self.world.history.see_generation(self.group, response.generation_id)
        self.member_id = response.member_id
        assignments = [
            SyncGroupRequestAssignment(member_id=member.member_id, assignment=member.member_id.encode())
            for member in response.members
        ]
        sync = SyncGroupRequest(
            group_id=self.group,
            generation_id=response.generation_id,
            member_id=self.member_id,
            assignments=assignments,
        )
        synced = await link.ask(sync, 4)
        if synced.error_code:
            self._take_error(synced.error_code)
            return False
        if synced.assignment != self.member_id.encode():
            self.world.complain("assignment lost", f"{self.name} got {bytes(synced.assignment)!r}")
        self.generation = response.generation_id
        return True

    async def _beat(self, link: Link) -> None:
        if self.is_member:
            request = HeartbeatRequest(group_id=self.group, generation_id=self.generation, member_id=self.member_id)
            response = await link.ask(request, 4)
            self.world.trace(self.name, "beat", response.error_code)
            self._take_error(response.error_code)

    async def _commit(self, link: Link) -> None:
        self.offset += 1
        history, (topic, index) = self.world.history, self.place
        history.try_commit(self.group, self.place, self.offset)
        partition = OffsetCommitRequestPartition(partition_index=index, committed_offset=self.offset)
        request = OffsetCommitRequest(
            group_id=self.group,
            generation_id_or_member_epoch=self.generation,
            member_id=self.member_id,
            topics=[OffsetCommitRequestTopic(name=topic, partitions=[partition])],
        )
        response = await link.ask(request, 8)
        code = response.topics[0].partitions[0].error_code
        self.world.trace(self.name, "commit", self.offset, code)
        if code == 0:
            history.commit(self.group, self.place, self.offset)
            self.commits += 1
        self._take_error(code)

    async def _read(self, link: Link) -> None:
        history, (topic, index) = self.world.history, self.place
        known = history.known_commit(self.group, self.place)
        wanted = OffsetFetchRequestTopic(name=topic, partition_indexes=[index])
        request = OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=self.group, topics=[wanted])])
        group: Any = (await link.ask(request, 8)).groups[0]
        code = group.error_code or group.topics[0].partitions[0].error_code
        self.world.trace(self.name, "read", code)
        if code == 0:
            history.read_commit(self.group, self.place, group.topics[0].partitions[0].committed_offset, known)
        self._take_error(code)

    def _take_error(self, code: int) -> None:
        if code in REJOIN:
            if code == ErrorCode.UNKNOWN_MEMBER_ID:
                self.member_id = ""
            self.generation = -1
            if not self.is_member:
                self.world.complain("unexpected error", f"{self.name} got {name_of(code)}")
        elif code and code not in LOADING and not (self.world.storage_may_fail and code in STORAGE_ERRORS):
            self.world.complain("unexpected error", f"{self.name} got {name_of(code)}")
