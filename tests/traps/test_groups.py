"""Traps of groups and committed offsets on the wire, by the numbers and observations of the protocol page."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.describe_groups import DescribedGroup, DescribeGroupsRequest
from minibroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from minibroker.protocol.messages.heartbeat import HeartbeatRequest
from minibroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from minibroker.protocol.messages.leave_group import LeaveGroupRequest
from minibroker.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from minibroker.protocol.messages.offset_fetch import OffsetFetchRequest, OffsetFetchResponsePartition
from minibroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from minibroker.testing import BrokerThread
from tests.traps.talk import create
from tests.traps.wire import Wire

TEN_MINUTES_MS = 600_000


@pytest.fixture
def group() -> str:
    """A name that no other test uses."""
    return f"group-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def other(broker: BrokerThread) -> Iterator[Wire]:
    """A second member's connection."""
    with Wire(broker.address) as wire:
        yield wire


def join_request(group: str, member_id: str = "", *, session_timeout_ms: int = 30_000, **more: str) -> JoinGroupRequest:
    return JoinGroupRequest(
        group_id=group,
        session_timeout_ms=session_timeout_ms,
        rebalance_timeout_ms=TEN_MINUTES_MS,
        member_id=member_id,
        protocol_type=more.get("protocol_type", "consumer"),
        protocols=[JoinGroupRequestProtocol(name="range", metadata=b"opaque")],
    )


def join(wire: Wire, group: str) -> JoinGroupResponse:
    """Join as today's clients do: asked for a member id first, then with it."""
    first = wire.ask(join_request(group), 6)
    assert first.error_code == ErrorCode.MEMBER_ID_REQUIRED
    return wire.ask(join_request(group, first.member_id), 6)


def sync(wire: Wire, group: str, joined: JoinGroupResponse) -> bytes:
    """Synchronise, as the leader with an assignment for everybody."""
    assignments = [
        SyncGroupRequestAssignment(member_id=member.member_id, assignment=b"all") for member in joined.members
    ]
    response = wire.ask(
        SyncGroupRequest(
            group_id=group, generation_id=joined.generation_id, member_id=joined.member_id, assignments=assignments
        ),
        3,
    )
    assert response.error_code == ErrorCode.NONE
    return response.assignment


def heartbeat(wire: Wire, group: str, joined: JoinGroupResponse) -> int:
    request = HeartbeatRequest(group_id=group, generation_id=joined.generation_id, member_id=joined.member_id)
    return wire.ask(request, 3).error_code


def commit(
    wire: Wire,
    group: str,
    topic: str,
    offset: int,
    *,
    metadata: str | None = "",
    generation_id: int = -1,
    member_id: str = "",
    epoch: int = -1,
) -> int:
    """Commit an offset and return the error code."""
    position = OffsetCommitRequestPartition(
        partition_index=0, committed_offset=offset, committed_metadata=metadata, committed_leader_epoch=epoch
    )
    request = OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=generation_id,
        member_id=member_id,
        topics=[OffsetCommitRequestTopic(name=topic, partitions=[position])],
    )
    (answer,) = wire.ask(request, 8).topics[0].partitions
    return answer.error_code


def committed(wire: Wire, group: str) -> list[OffsetFetchResponsePartition]:
    """All that the group has committed, asked for with null topics."""
    response = wire.ask(OffsetFetchRequest(group_id=group, topics=None), 7)
    assert response.error_code == ErrorCode.NONE
    return [partition for topic in response.topics for partition in topic.partitions]


def describe_group(wire: Wire, group: str, version: int) -> DescribedGroup:
    (described,) = wire.ask(DescribeGroupsRequest(groups=[group]), version).groups
    return described


def test_join_group_asks_for_a_member_id_first(wire: Wire, group: str) -> None:
    """Trap 7: from version 4 on; the protocol type may be anything, and the metadata is nobody's business."""
    joined = join(wire, group)
    assert joined.member_id.startswith("raw-")
    assert joined.leader == joined.member_id
    assert [member.metadata for member in joined.members] == [b"opaque"]
    assert sync(wire, group, joined) == b"all"
    connect = wire.ask(join_request(f"{group}-connect", protocol_type="connect"), 3)
    assert (connect.error_code, connect.generation_id) == (ErrorCode.NONE, 1)


def test_heartbeats_say_what_the_group_does(wire: Wire, other: Wire, group: str) -> None:
    """As observed: NONE while the leader has not yet synced, REBALANCE_IN_PROGRESS while others join."""
    joined = join(wire, group)
    assert heartbeat(wire, group, joined) == ErrorCode.NONE
    sync(wire, group, joined)
    assert heartbeat(wire, group, joined) == ErrorCode.NONE
    second = other.ask(join_request(group), 6)
    other.send(join_request(group, second.member_id), 6)
    while (code := heartbeat(wire, group, joined)) == ErrorCode.NONE:
        pass
    assert code == ErrorCode.REBALANCE_IN_PROGRESS
    again = wire.ask(join_request(group, joined.member_id), 6)
    assert again.generation_id == joined.generation_id + 1
    assert other.receive(JoinGroupResponse, 6)[1].generation_id == again.generation_id
    assert heartbeat(wire, group, joined) == ErrorCode.ILLEGAL_GENERATION


def test_strangers_are_told_so(wire: Wire, topic: str, group: str) -> None:
    """Trap 18: UNKNOWN_MEMBER_ID for heartbeats and commits, INVALID_SESSION_TIMEOUT for impatient members."""
    create(wire, topic)
    joined = join(wire, group)
    sync(wire, group, joined)
    assert commit(wire, group, topic, 1, generation_id=1, member_id="stranger") == ErrorCode.UNKNOWN_MEMBER_ID
    assert heartbeat(wire, f"{group}-2", joined) == ErrorCode.UNKNOWN_MEMBER_ID
    impatient = wire.ask(join_request(group, session_timeout_ms=1), 6)
    assert impatient.error_code == ErrorCode.INVALID_SESSION_TIMEOUT
    assert commit(wire, group, topic, 1, generation_id=7, member_id=joined.member_id) == ErrorCode.ILLEGAL_GENERATION
    assert commit(wire, group, topic, 1, generation_id=1, member_id=joined.member_id) == ErrorCode.NONE


def test_committed_offsets_keep_what_was_said(wire: Wire, topic: str, group: str) -> None:
    """Trap 8: null topics means all; metadata and the leader epoch are kept, -1 is unknown."""
    create(wire, topic)
    assert commit(wire, group, topic, 5, metadata="mine", epoch=3) == ErrorCode.NONE
    (found,) = committed(wire, group)
    assert (found.committed_offset, found.metadata, found.committed_leader_epoch) == (5, "mine", 3)
    assert commit(wire, group, topic, -7, metadata=None) == ErrorCode.NONE
    (found,) = committed(wire, group)
    assert (found.committed_offset, found.metadata, found.committed_leader_epoch) == (-7, "", -1)


def test_metadata_beside_an_offset_is_limited(wire: Wire, topic: str, group: str) -> None:
    """As observed: 4,096 characters are taken, one more is not."""
    create(wire, topic)
    assert commit(wire, group, topic, 1, metadata="x" * 4096) == ErrorCode.NONE
    assert commit(wire, group, topic, 2, metadata="x" * 4097) == ErrorCode.OFFSET_METADATA_TOO_LARGE
    assert commit(wire, "", topic, 3) == ErrorCode.NONE


def test_commits_between_join_and_sync_are_refused(wire: Wire, topic: str, group: str) -> None:
    """As observed: the assignment of that generation is not known yet."""
    create(wire, topic)
    joined = join(wire, group)
    member = {"generation_id": joined.generation_id, "member_id": joined.member_id}
    assert commit(wire, group, topic, 1, **member) == ErrorCode.REBALANCE_IN_PROGRESS  # type: ignore[arg-type]
    sync(wire, group, joined)
    assert commit(wire, group, topic, 1, **member) == ErrorCode.NONE  # type: ignore[arg-type]


def test_groups_without_members(wire: Wire, topic: str, group: str) -> None:
    """As observed: Empty; one never heard of is Dead up to version 5, GROUP_ID_NOT_FOUND in version 6."""
    create(wire, topic)
    commit(wire, group, topic, 1)
    assert describe_group(wire, group, 5).group_state == "Empty"
    stranger = describe_group(wire, f"{group}-2", 5)
    assert (stranger.group_state, stranger.error_code) == ("Dead", ErrorCode.NONE)
    assert describe_group(wire, f"{group}-2", 6).error_code == ErrorCode.GROUP_ID_NOT_FOUND
    joined = join(wire, f"{group}-3")
    wire.ask(LeaveGroupRequest(group_id=f"{group}-3", member_id=joined.member_id), 2)
    assert describe_group(wire, f"{group}-3", 5).group_state == "Empty"


@pytest.mark.parametrize("version", range(7))
def test_find_coordinator_is_answered_at_once(broker: BrokerThread, wire: Wire, group: str, version: int) -> None:
    """Trap 19: librdkafka asks for every group.id, and does nothing before the answer."""
    if version < 4:
        response = wire.ask(FindCoordinatorRequest(key=group), version)
        found = (response.error_code, response.node_id, response.host, response.port)
    else:
        (coordinator,) = wire.ask(FindCoordinatorRequest(coordinator_keys=[group]), version).coordinators
        found = (coordinator.error_code, coordinator.node_id, coordinator.host, coordinator.port)
    assert found == (ErrorCode.NONE, 0, broker.host, broker.port)
