"""The group APIs, version by version, as clients see them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio.testing
from trio.testing import MockClock

from minibroker.protocol.errors import ErrorCode, GroupIdNotFound, InvalidGroupId
from minibroker.protocol.messages.delete_groups import DeleteGroupsRequest
from minibroker.protocol.messages.describe_groups import DescribeGroupsRequest
from minibroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from minibroker.protocol.messages.heartbeat import HeartbeatRequest
from minibroker.protocol.messages.join_group import JoinGroupResponse
from minibroker.protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from minibroker.protocol.messages.list_groups import ListGroupsRequest
from minibroker.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from minibroker.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
)
from minibroker.protocol.messages.sync_group import SyncGroupRequest
from minibroker.topics.names import CONSUMER_OFFSETS
from tests.coordinator.rig import Rig, committing, joining, open_rig


async def member(rig: Rig, **changes: Any) -> JoinGroupResponse:
    """The only member of the group "g", which is stable."""
    joined = await rig.join(**changes)
    await rig.sync(joined, instance_id=changes.get("group_instance_id"))
    return joined


def of(joined: JoinGroupResponse) -> dict[str, Any]:
    """How a member names itself in a commit."""
    return {"member_id": joined.member_id, "generation_id_or_member_epoch": joined.generation_id}


# FindCoordinator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(7))
async def test_this_broker_coordinates_every_group(autojump_clock: MockClock, version: int) -> None:
    """At the address by which the client came; the first question makes the topic."""
    async with open_rig() as rig:
        many = version >= 4
        request = FindCoordinatorRequest(coordinator_keys=["g"]) if many else FindCoordinatorRequest(key="g")
        response = await rig.call(request, version)
        found = response.coordinators[0] if many else response
        assert (found.error_code, found.node_id, found.host, found.port) == (0, 0, "broker", 9092)
        assert CONSUMER_OFFSETS in rig.services.catalog.topics


@pytest.mark.parametrize(("key_type", "error"), [(1, ErrorCode.NONE), (2, ErrorCode.INVALID_REQUEST)])
async def test_coordinators_of_other_kinds(autojump_clock: MockClock, key_type: int, error: ErrorCode) -> None:
    """Of transactional ids too, so that their clients hear from InitProducerId what is missing; of share groups not."""
    async with open_rig() as rig:
        request = FindCoordinatorRequest(key_type=key_type, coordinator_keys=["a", "b"])
        response = await rig.call(request, 6)
        assert [found.error_code for found in response.coordinators] == [error, error]
        assert CONSUMER_OFFSETS not in rig.services.catalog.topics


# JoinGroup, SyncGroup, Heartbeat, LeaveGroup ------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(10))
async def test_every_version_of_join_leads_into_the_group(autojump_clock: MockClock, version: int) -> None:
    """In one step or two, with a session timeout that is the rebalance timeout as well in version 0."""
    async with open_rig() as rig:
        request = joining(rebalance_timeout_ms=60_000 if version >= 1 else -1)
        joined = await rig.call(request, version)
        if version >= 4:
            assert joined.error_code == ErrorCode.MEMBER_ID_REQUIRED
            joined = await rig.call(joining(joined.member_id), version)
        assert (joined.error_code, joined.generation_id, joined.protocol_name) == (0, 1, "range")
        assert joined.leader == joined.member_id == joined.members[0].member_id
        (kept,) = rig.coordinator.machine.live["g"].members.values()
        assert kept.rebalance_timeout_ms == (60_000 if version >= 1 else 10_000)
        assert (kept.client_id, kept.client_host) == ("c", "/10.0.0.1")


@pytest.mark.parametrize("version", [0, 6, 9])
async def test_refusals_of_join_are_answers(autojump_clock: MockClock, version: int) -> None:
    """With the member id that was sent."""
    async with open_rig() as rig:
        refused = await rig.call(joining("m"), version)
        assert (refused.error_code, refused.member_id) == (ErrorCode.UNKNOWN_MEMBER_ID, "m")
        refused = await rig.call(joining("m", session_timeout_ms=1), version)
        assert (refused.error_code, refused.member_id) == (ErrorCode.INVALID_SESSION_TIMEOUT, "m")


async def test_a_client_without_an_id_may_join(autojump_clock: MockClock) -> None:
    """client_id may be null."""
    async with open_rig() as rig:
        answer = await rig.call(joining(), 9, client_id=None)
        assert answer.error_code == ErrorCode.MEMBER_ID_REQUIRED


async def test_sync_must_say_its_protocol(autojump_clock: MockClock) -> None:
    """From version 5 on."""
    async with open_rig() as rig:
        joined = await member(rig)
        request = SyncGroupRequest(group_id="g", member_id=joined.member_id, generation_id=joined.generation_id)
        assert (await rig.call(request, 5)).error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        answer = await rig.call(request, 4)
        assert (answer.error_code, answer.assignment) == (0, joined.member_id.encode())


@pytest.mark.parametrize("version", range(5))
async def test_heartbeats_of_every_version(autojump_clock: MockClock, version: int) -> None:
    """The empty group id is no group's."""
    async with open_rig() as rig:
        joined = await member(rig)
        request = HeartbeatRequest(group_id="g", member_id=joined.member_id, generation_id=joined.generation_id)
        assert (await rig.call(request, version)).error_code == ErrorCode.NONE
        request.group_id = ""
        assert (await rig.call(request, version)).error_code == ErrorCode.INVALID_GROUP_ID


@pytest.mark.parametrize("version", range(6))
async def test_leaving_in_every_version(autojump_clock: MockClock, version: int) -> None:
    """Before version 3 one member's error is the response's."""
    async with open_rig() as rig:
        joined = await member(rig)
        for expected in (ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID):
            if version >= 3:
                members = [MemberIdentity(member_id=joined.member_id), MemberIdentity(member_id="stranger")]
                response = await rig.call(LeaveGroupRequest(group_id="g", members=members), version)
                codes = [answer.error_code for answer in response.members]
                assert (response.error_code, codes) == (0, [expected, ErrorCode.UNKNOWN_MEMBER_ID])
            else:
                response = await rig.call(LeaveGroupRequest(group_id="g", member_id=joined.member_id), version)
                assert response.error_code == expected


# OffsetCommit, OffsetFetch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(2, 10))
async def test_commits_of_every_version(autojump_clock: MockClock, version: int) -> None:
    """Of a member, with what the version can say."""
    async with open_rig() as rig:
        joined = await member(rig)
        assert await rig.commit(5, version=version, metadata="note", **of(joined)) == ErrorCode.NONE
        stored = rig.coordinator.machine.image.offsets_of("g")["t"][0]
        assert (stored.offset, stored.metadata) == (5, "note")
        assert stored.leader_epoch == (3 if version >= 6 else -1)


async def test_a_retention_of_the_clients_own(autojump_clock: MockClock) -> None:
    """Only versions 2 to 4 can ask for it."""
    async with open_rig() as rig:
        assert await rig.commit(5, version=4, retention_time_ms=1000) == ErrorCode.NONE
        stored = rig.coordinator.machine.image.offsets_of("g")["t"][0]
        assert stored.expire_timestamp_ms == stored.commit_timestamp_ms + 1000
        assert await rig.commit(5, version=5) == ErrorCode.NONE
        assert rig.coordinator.machine.image.offsets_of("g")["t"][0].expire_timestamp_ms == -1


async def test_a_partition_is_committed_once(autojump_clock: MockClock) -> None:
    """As it is named last, however often: a request is not a thousand records for one offset."""
    async with open_rig() as rig:
        await rig.call(committing(1), 8)
        request = committing(1)
        (topic,) = request.topics
        topic.partitions = [attrs.evolve(topic.partitions[0], committed_offset=offset) for offset in range(1000)]
        before = [partition.log_end_offset for partition in rig.services.catalog.topics[CONSUMER_OFFSETS].partitions]
        (answered,) = (await rig.call(request, 8)).topics
        assert [partition.error_code for partition in answered.partitions] == [ErrorCode.NONE] * 1000
        after = [partition.log_end_offset for partition in rig.services.catalog.topics[CONSUMER_OFFSETS].partitions]
        assert sum(after) == sum(before) + 1
        assert rig.coordinator.machine.image.offsets_of("g")["t"][0].offset == 999


async def test_what_a_commit_can_hear(autojump_clock: MockClock) -> None:
    """Unknown topics and partitions first, then what is wrong with the member, then with the metadata."""
    async with open_rig() as rig:
        assert await rig.commit(1, topic="unknown") == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert await rig.commit(1, 4) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert await rig.commit(1, metadata="x" * 4097) == ErrorCode.OFFSET_METADATA_TOO_LARGE
        joined = await member(rig)
        assert await rig.commit(1, 4) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert await rig.commit(1, metadata="x" * 4097) == ErrorCode.UNKNOWN_MEMBER_ID
        assert await rig.commit(1, **{**of(joined), "generation_id_or_member_epoch": 7}) == ErrorCode.ILLEGAL_GENERATION
        assert await rig.commit(1, metadata=None, **of(joined)) == ErrorCode.NONE
        assert await rig.commit(1, group_id="") == ErrorCode.NONE


async def test_one_bad_partition_spoils_no_other(autojump_clock: MockClock) -> None:
    """Each has its own answer."""
    async with open_rig() as rig:
        request = committing(1)
        request.topics += (
            committing(1, 9).topics + committing(2, 1, metadata="x" * 4097).topics + committing(3, 2).topics
        )
        response = await rig.call(request, 9)
        codes = [topic.partitions[0].error_code for topic in response.topics]
        assert codes == [0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.OFFSET_METADATA_TOO_LARGE, 0]
        assert await rig.committed() == {("t", 0): 1, ("t", 2): 3}


@pytest.mark.parametrize("version", range(1, 10))
async def test_committed_offsets_in_every_version(autojump_clock: MockClock, version: int) -> None:
    """Those asked for, -1 where nothing was committed, for a known topic or not."""
    async with open_rig() as rig:
        await rig.commit(5, 1, metadata="note")
        wanted = {"t": [1, 2], "unknown": [0]}
        if version >= 8:
            topics = [OffsetFetchRequestTopic(name=name, partition_indexes=indexes) for name, indexes in wanted.items()]
            groups = [OffsetFetchRequestGroup(group_id=name, topics=topics) for name in ("g", "other")]
            found = (await rig.call(OffsetFetchRequest(groups=groups), version)).groups
            assert [group.group_id for group in found] == ["g", "other"]
            assert {partition.committed_offset for topic in found[1].topics for partition in topic.partitions} == {-1}
            response = found[0]
        else:
            old = [OffsetFetchRequestTopic(name=name, partition_indexes=indexes) for name, indexes in wanted.items()]
            response = await rig.call(OffsetFetchRequest(group_id="g", topics=old), version)
        assert response.error_code == ErrorCode.NONE
        answers = [
            (
                topic.name,
                partition.partition_index,
                partition.committed_offset,
                partition.metadata,
                partition.error_code,
            )
            for topic in response.topics
            for partition in topic.partitions
        ]
        assert answers == [("t", 1, 5, "note", 0), ("t", 2, -1, "", 0), ("unknown", 0, -1, "", 0)]
        epoch = response.topics[0].partitions[0].committed_leader_epoch
        assert epoch == (3 if version >= 5 else -1)


@pytest.mark.parametrize("version", [2, 7, 8, 9])
async def test_null_topics_mean_all(autojump_clock: MockClock, version: int) -> None:
    """All that the group has committed; of a group that is not there, nothing."""
    async with open_rig() as rig:
        await rig.commit(5, 1)
        await rig.commit(6, 2)
        for group_id, expected in (("g", [5, 6]), ("other", [])):
            if version >= 8:
                groups = [OffsetFetchRequestGroup(group_id=group_id, topics=None)]
                response = (await rig.call(OffsetFetchRequest(groups=groups), version)).groups[0]
            else:
                response = await rig.call(OffsetFetchRequest(group_id=group_id, topics=None), version)
            offsets = [partition.committed_offset for topic in response.topics for partition in topic.partitions]
            assert (response.error_code, offsets) == (0, expected)


@pytest.mark.parametrize("version", [1, 2, 8])
async def test_where_an_error_of_the_group_is_told(autojump_clock: MockClock, version: int) -> None:
    """In every partition, in the response, or in the group's part of it."""
    async with open_rig() as rig:
        await rig.commit(5)
        disk = rig.disk.restarted()
    async with open_rig(disk, run=False) as rig:
        loading = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        if version >= 8:
            request = OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id="g", topics=None)])
            assert (await rig.call(request, version)).groups[0].error_code == loading
            return
        topics = [OffsetFetchRequestTopic(name="t", partition_indexes=[0])]
        response = await rig.call(OffsetFetchRequest(group_id="g", topics=topics), version)
        if version >= 2:
            assert (response.error_code, response.topics) == (loading, [])
        else:
            assert response.topics[0].partitions[0].error_code == loading


# DescribeGroups, ListGroups -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(7))
async def test_a_stable_group_is_described(autojump_clock: MockClock, version: int) -> None:
    """With protocol, metadata and assignments, and who its members are."""
    async with open_rig() as rig:
        joined = await member(rig, group_instance_id="one")
        request = DescribeGroupsRequest(groups=["g"], include_authorized_operations=version >= 3)
        (group,) = (await rig.call(request, version)).groups
        assert (group.error_code, group.group_state, group.protocol_type, group.protocol_data) == (
            0,
            "Stable",
            "consumer",
            "range",
        )
        (shown,) = group.members
        assert (shown.member_id, shown.client_id, shown.client_host) == (joined.member_id, "c", "/10.0.0.1")
        assert (shown.member_metadata, shown.member_assignment) == (b"r", joined.member_id.encode())
        assert shown.group_instance_id == ("one" if version >= 4 else None)
        assert (group.authorized_operations > 0) == (version >= 3)


async def test_groups_in_other_states_are_described(autojump_clock: MockClock) -> None:
    """An empty one keeps its type; one that is not there is Dead, and from version 6 on an error."""
    async with open_rig() as rig:
        joined = await member(rig)
        await rig.leave(joined.member_id)
        await rig.commit(1, group_id="simple")
        request = DescribeGroupsRequest(groups=["g", "simple", "none"])
        groups = (await rig.call(request, 5)).groups
        assert [(group.group_state, group.protocol_type, group.error_code) for group in groups] == [
            ("Empty", "consumer", 0),
            ("Empty", "", 0),
            ("Dead", "", 0),
        ]
        newest = (await rig.call(request, 6)).groups[2]
        assert (newest.group_state, newest.error_code) == ("Dead", ErrorCode.GROUP_ID_NOT_FOUND)
        assert newest.error_message == "Group none not found."


async def test_a_group_in_a_round_shows_no_protocol(autojump_clock: MockClock) -> None:
    """What it will agree on is not known yet."""
    async with open_rig(group_initial_rebalance_delay_ms=3000) as rig:
        first = await rig.call(joining(), 9)
        held = rig.start(joining(first.member_id), 9)
        (group,) = (await rig.call(DescribeGroupsRequest(groups=["g"]), 6)).groups
        assert (group.group_state, group.protocol_data) == ("PreparingRebalance", "")
        assert group.members[0].member_metadata == b""
        assert (await rig.finish(held, 9)).generation_id == 1


@pytest.mark.parametrize(
    ("states", "types", "listed"),
    [
        ([], [], {"g", "simple"}),
        (["stable "], [], {"g"}),
        (["Empty", "Dead"], ["Classic"], {"simple"}),
        ([], ["consumer"], set()),
    ],
)
async def test_groups_are_listed(
    autojump_clock: MockClock, states: list[str], types: list[str], listed: set[str]
) -> None:
    """By state and type, however they are spelled."""
    async with open_rig() as rig:
        await member(rig)
        await rig.commit(1, group_id="simple")
        response = await rig.call(ListGroupsRequest(states_filter=states, types_filter=types), 5)
        assert {group.group_id for group in response.groups} == listed
        assert {(group.group_type, group.protocol_type) for group in response.groups} <= {
            ("classic", "consumer"),
            ("classic", ""),
        }


# DeleteGroups, OffsetDelete -----------------------------------------------------------------------------------------


async def test_which_groups_can_be_deleted(autojump_clock: MockClock) -> None:
    """Those that are there and have no members."""
    async with open_rig() as rig:
        await member(rig)
        await rig.commit(1, group_id="simple")
        response = await rig.call(DeleteGroupsRequest(groups_names=["g", "simple", "none", "simple"]), 2)
        assert [(result.group_id, result.error_code) for result in response.results] == [
            ("g", ErrorCode.NON_EMPTY_GROUP),
            ("simple", ErrorCode.NONE),
            ("none", ErrorCode.GROUP_ID_NOT_FOUND),
        ]


def deleting(group_id: str, topic: str, *partitions: int) -> OffsetDeleteRequest:
    named = [OffsetDeleteRequestPartition(partition_index=index) for index in partitions]
    return OffsetDeleteRequest(group_id=group_id, topics=[OffsetDeleteRequestTopic(name=topic, partitions=named)])


async def test_which_offsets_can_be_deleted(autojump_clock: MockClock) -> None:
    """Those of existing partitions, whether there is one or not."""
    async with open_rig() as rig:
        await rig.commit(1)
        await rig.commit(1, 2)
        response = await rig.call(deleting("g", "t", 0, 1, 9), 0)
        codes = [partition.error_code for partition in response.topics[0].partitions]
        assert codes == [0, 0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
        assert await rig.committed() == {("t", 2): 1}


async def test_offsets_that_are_read_stay(autojump_clock: MockClock) -> None:
    """A member whose subscription cannot be read might read anything."""
    async with open_rig() as rig:
        joined = await member(rig)
        await rig.commit(1, **of(joined))
        response = await rig.call(deleting("g", "t", 0), 0)
        assert response.topics[0].partitions[0].error_code == ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
        assert await rig.committed() == {("t", 0): 1}


async def test_subscriptions_are_read_once_for_all_topics(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a deletion, however many topics it names: members may subscribe to a hundred thousand."""
    looked = []
    monkeypatch.setattr(
        "minibroker.groups.offsets.subscribed_topics", lambda group: looked.append(group) or frozenset(["t"])
    )
    async with open_rig() as rig:
        joined = await member(rig)
        await rig.commit(1, **of(joined))
        request = OffsetDeleteRequest(
            group_id="g", topics=[topic for n in range(50) for topic in deleting("g", "t", n).topics]
        )
        request.topics += deleting("g", "u", 0).topics
        response = await rig.call(request, 0)
        assert len(looked) == 1
        codes = [topic.partitions[0].error_code for topic in response.topics]
        unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert codes == [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC] * 4 + [unknown] * 47


@pytest.mark.parametrize(("group_id", "error"), [("", InvalidGroupId), ("none", GroupIdNotFound)])
async def test_errors_of_the_whole_deletion_are_raised(
    autojump_clock: MockClock, group_id: str, error: type[Exception]
) -> None:
    """The dispatcher makes a response of them."""
    async with open_rig() as rig:
        with pytest.raises(error):
            rig.start(deleting(group_id, "t", 0), 0)
        await trio.testing.wait_all_tasks_blocked()
