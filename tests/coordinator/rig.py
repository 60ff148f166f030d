"""A coordinator with its topics on a simulated disk, spoken to through the handlers, in Trio's virtual time."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import attrs
import trio
import trio.testing

from minibroker.config.settings import BrokerSettings
from minibroker.coordinator.group_coordinator import GroupCoordinator
from minibroker.groups import formats
from minibroker.groups.image import Image
from minibroker.handlers.context import AfterFlush, Endpoint, RequestContext, Services
from minibroker.protocol.codec import decode_message, encode
from minibroker.protocol.errors import ErrorCode, KafkaError
from minibroker.protocol.messages.heartbeat import HeartbeatRequest
from minibroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from minibroker.protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from minibroker.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from minibroker.protocol.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup
from minibroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from minibroker.records.record import read_records
from minibroker.storage.log import FlushPoint
from minibroker.topics.clock import Clock
from minibroker.topics.flusher import Flusher
from minibroker.topics.opening import Data, open_data
from minibroker.topics.producer_ids import ProducerIds
from minibroker.topics.syncer import sync_points
from tests.simulation.disk import SimulatedDisk

EPOCH_MS = 1_700_000_000_000
SETTINGS = {"group_initial_rebalance_delay_ms": 0, "offsets_topic_num_partitions": 4, "log_dirs": "/data"}


def virtual_clock() -> Clock:
    """The wall clock goes along with Trio's."""
    return Clock(now_ms=lambda: EPOCH_MS + int(trio.current_time() * 1000))


@attrs.define(eq=False)
class GatedSyncer:
    """Syncs at once, or when the gate is opened."""

    disk: SimulatedDisk
    gate: trio.Event | None = None

    def try_sync_now(self, points: Sequence[FlushPoint]) -> bool:
        return False

    async def sync(self, points: Sequence[FlushPoint]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        sync_points(self.disk, points, lambda calls: [call() for call in calls] and None)


@attrs.define(eq=False)
class Rig:
    """See the module."""

    services: Services
    data: Data
    disk: SimulatedDisk
    syncer: GatedSyncer

    @property
    def coordinator(self) -> GroupCoordinator:
        return self.services.coordinator

    def start(self, request: Any, version: int, client_id: str | None = "c") -> Any:
        """Hand a request, as it comes off the wire, to its handler."""
        context = RequestContext(
            services=self.services,
            version=version,
            client_id=client_id,
            client_host="10.0.0.1",
            endpoint=Endpoint(host="broker", port=9092),
        )
        request = decode_message(type(request), version, memoryview(b"".join(encode(request, version))))  # type: ignore[arg-type]
        module = importlib.import_module(f"minibroker.handlers.{request.api.name.lower()}")
        return module.handle(request, context)

    async def finish(self, reply: Any, version: int) -> Any:
        """The response as it goes on the wire, once it may."""
        if isinstance(reply, Coroutine):
            reply = await reply
        if isinstance(reply, AfterFlush):
            await self.services.flusher.wait_durable(reply.ticket)
            reply = reply.response
        return decode_message(type(reply), version, memoryview(b"".join(encode(reply, version))))  # type: ignore[arg-type]

    async def call(self, request: Any, version: int, client_id: str | None = "c") -> Any:
        """Send a request and wait for its response; an error that concerns all of it comes as its code."""
        try:
            reply = self.start(request, version, client_id)
        except KafkaError as error:
            return error.code
        return await self.finish(reply, version)

    # What tests ask for often ---------------------------------------------------------------------------------------

    async def join(self, member_id: str = "", version: int = 9, **changes: Any) -> JoinGroupResponse:
        response = await self.call(joining(member_id, **changes), version)
        if response.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            response = await self.call(joining(response.member_id, **changes), version)
        assert isinstance(response, JoinGroupResponse)
        return response

    async def sync(self, joined: JoinGroupResponse, group_id: str = "g", instance_id: str | None = None) -> Any:
        """Ask for the assignment; the leader gives every member its own member id."""
        assignments = [
            SyncGroupRequestAssignment(member_id=member.member_id, assignment=member.member_id.encode())
            for member in joined.members
        ]
        request = SyncGroupRequest(
            group_id=group_id,
            generation_id=joined.generation_id,
            member_id=joined.member_id,
            group_instance_id=instance_id,
            protocol_type=joined.protocol_type,
            protocol_name=joined.protocol_name,
            assignments=assignments,
        )
        return await self.call(request, 5)

    async def heartbeat(self, joined: JoinGroupResponse, group_id: str = "g") -> int:
        request = HeartbeatRequest(group_id=group_id, member_id=joined.member_id, generation_id=joined.generation_id)
        return int((await self.call(request, 4)).error_code)

    async def leave(self, *member_ids: str, group_id: str = "g") -> list[int]:
        members = [MemberIdentity(member_id=member_id) for member_id in member_ids]
        response = await self.call(LeaveGroupRequest(group_id=group_id, members=members), 5)
        return [member.error_code for member in response.members]

    async def commit(self, offset: int, partition: int = 0, *, version: int = 9, **changes: Any) -> int:
        response = await self.call(committing(offset, partition, **changes), version)
        return int(response.topics[0].partitions[0].error_code)

    async def committed(self, group_id: str = "g") -> dict[tuple[str, int], int]:
        """All that a group has committed."""
        request = OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=group_id, topics=None)])
        (group,) = (await self.call(request, 9)).groups
        assert group.error_code == ErrorCode.NONE
        return {
            (topic.name, partition.partition_index): partition.committed_offset
            for topic in group.topics
            for partition in topic.partitions
        }


def joining(member_id: str = "", group_id: str = "g", **changes: Any) -> JoinGroupRequest:
    fields: dict[str, Any] = {
        "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": 60_000,
        "protocol_type": "consumer",
        "protocols": [JoinGroupRequestProtocol(name="range", metadata=b"r")],
    }
    return JoinGroupRequest(group_id=group_id, member_id=member_id, **{**fields, **changes})


def committing(
    offset: int, partition: int = 0, topic: str = "t", metadata: str | None = "", **changes: Any
) -> OffsetCommitRequest:
    partitions = [
        OffsetCommitRequestPartition(
            partition_index=partition, committed_offset=offset, committed_metadata=metadata, committed_leader_epoch=3
        )
    ]
    topics = [OffsetCommitRequestTopic(name=topic, partitions=partitions)]
    return OffsetCommitRequest(**{"group_id": "g", "topics": topics, **changes})


def replayed(rig: Rig) -> Image:
    """What a restart would make of the log."""
    image = Image()
    for partition in rig.coordinator.topic.partitions():
        log = partition.log
        for _, batch in log.read_batches(log.log_start_offset, log.log_end_offset):
            for record in read_records(batch, max_bytes=1 << 20):
                assert record.key is not None
                known = formats.decode(record.key, record.value)
                assert known is not None
                image.replay(known)
    return image


@asynccontextmanager
async def open_rig(disk: SimulatedDisk | None = None, *, run: bool = True, **settings: Any) -> AsyncIterator[Rig]:
    """A rig with the topic `t` of four partitions. With `run=False` nothing is flushed, loaded or expired."""
    disk = SimulatedDisk() if disk is None else disk
    clock = virtual_clock()
    broker_settings = BrokerSettings(**{**SETTINGS, **settings})
    syncer = GatedSyncer(disk)
    flusher = Flusher(syncer)
    data = await open_data(disk, broker_settings, flusher, clock, uuid4)
    if "t" not in data.catalog.topics:
        data.catalog.create_topic("t", 4)
    coordinator = GroupCoordinator(catalog=data.catalog, flusher=flusher, settings=broker_settings, clock=clock)
    services = Services(
        catalog=data.catalog,
        coordinator=coordinator,
        flusher=flusher,
        producer_ids=ProducerIds(data.catalog),
        clock=clock,
    )
    rig = Rig(services, data, disk, syncer)
    async with trio.open_nursery() as nursery:
        if run:
            nursery.start_soon(flusher.run)
            nursery.start_soon(coordinator.run)
            await trio.testing.wait_all_tasks_blocked()
        try:
            yield rig
        finally:
            if syncer.gate is not None:
                syncer.gate.set()  # a round that has begun cannot be cancelled
            nursery.cancel_scope.cancel()
