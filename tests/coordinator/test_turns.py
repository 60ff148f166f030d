"""Requests to the coordinator that name or find much: others have their turn meanwhile, and what they change counts."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from trio.testing import MockClock

from minibroker.handlers import list_groups, offset_commit
from minibroker.handlers.context import Endpoint, RequestContext
from minibroker.handlers.offset_delete import BYTES_PER_STEP
from minibroker.handlers.registry import BY_KEY
from minibroker.handlers.turns import TURN_STEPS, Steps
from minibroker.protocol.api import ApiKey
from minibroker.protocol.consumer_protocol import ConsumerProtocolSubscription, encode_versioned
from minibroker.protocol.errors import ErrorCode, GroupIdNotFound
from minibroker.protocol.messages.delete_groups import DeleteGroupsRequest
from minibroker.protocol.messages.join_group import JoinGroupRequestProtocol
from minibroker.protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from minibroker.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
)
from minibroker.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from tests.coordinator.rig import Rig, open_rig

MANY = TURN_STEPS + 1
NOBODY = -1


def committing(*topics: str, generation: int = NOBODY) -> OffsetCommitRequest:
    """A commit for so many partitions of each topic that it takes more than a turn."""
    parts = [OffsetCommitRequestPartition(partition_index=index, committed_offset=7) for index in range(MANY)]
    named = [OffsetCommitRequestTopic(name=topic, partitions=parts) for topic in topics]
    return OffsetCommitRequest(group_id="g", generation_id_or_member_epoch=generation, topics=named)


def codes(response: Any) -> list[set[int]]:
    """The error codes of every topic."""
    return [{partition.error_code for partition in topic.partitions} for topic in response.topics]


def start(rig: Rig, request: Any, version: int) -> Any:
    reply = rig.start(request, version)
    assert isinstance(reply, Coroutine)
    return reply


@pytest.mark.parametrize("key", [ApiKey.OFFSET_COMMIT, ApiKey.OFFSET_DELETE, ApiKey.DELETE_GROUPS])
def test_what_a_client_sends_later_happens_later(key: ApiKey) -> None:
    """A short commit does not overtake the long one before it on its connection."""
    assert BY_KEY[key].in_order


def half_way(rig: Rig, request: OffsetCommitRequest) -> tuple[Steps, OffsetCommitResponse]:
    """The steps of a commit, of which all are done that concern its first two topics, and its answer."""
    context = RequestContext(
        services=rig.services,
        version=8,
        client_id="c",
        client_host="10.0.0.1",
        endpoint=Endpoint(host="broker", port=9092),
    )
    response = OffsetCommitResponse()
    steps = offset_commit._commit(request, response, context)
    for _ in range(1 + 2 * MANY):
        next(steps)
    return steps, response


async def test_others_have_their_turn_while_much_is_committed(autojump_clock: MockClock) -> None:
    """Nothing is stored before all is, in one batch."""
    async with open_rig() as rig:
        for topic in ("a", "b"):
            rig.services.catalog.create_topic(topic, MANY)
        reply = start(rig, committing("a", "b"), 8)
        assert not rig.coordinator.machine.image.offsets
        assert codes(await rig.finish(reply, 8)) == [{ErrorCode.NONE}] * 2
        assert len(await rig.committed()) == 2 * MANY
        log = next(one.log for one in rig.coordinator.topic.partitions() if one.log_end_offset)
        assert len(list(log.read_batches(0, log.log_end_offset))) == 1


async def test_a_topic_that_is_deleted_takes_along_what_is_just_committed_for_it(autojump_clock: MockClock) -> None:
    """Also if a namesake is there by then; what is committed for others is stored."""
    async with open_rig() as rig:
        catalog = rig.services.catalog
        for topic in ("gone", "changed", "big"):
            catalog.create_topic(topic, MANY)
        steps, response = half_way(rig, committing("gone", "changed", "big"))
        for topic in ("gone", "changed"):
            catalog.delete_topic(topic)
        await catalog.wait_left(["gone", "changed"])
        catalog.create_topic("changed", MANY)
        list(steps)
        assert rig.coordinator.machine.image.offsets_of("g").keys() == {"big"}
        assert codes(response) == [{ErrorCode.NONE}] * 3


async def test_who_is_no_member_any_more_commits_nothing(autojump_clock: MockClock) -> None:
    """Although it was one when its commit began; every partition hears so, once."""
    async with open_rig() as rig:
        for topic in ("a", "b"):
            rig.services.catalog.create_topic(topic, MANY)
        joined = await rig.join()
        await rig.sync(joined)
        request = committing("a", "b", generation=joined.generation_id)
        request.member_id = joined.member_id
        steps, response = half_way(rig, request)
        await rig.leave(joined.member_id)
        list(steps)
        assert rig.coordinator.machine.image.offsets_of("g") == {}
        assert codes(response) == [{ErrorCode.UNKNOWN_MEMBER_ID}] * 2
        assert [len(topic.partitions) for topic in response.topics] == [MANY] * 2


async def test_a_long_subscription_is_read_alone(autojump_clock: MockClock) -> None:
    """Before offsets are deleted; if the group is deleted meanwhile, that is told."""
    topics = [f"{index:06}" for index in range(MANY * BYTES_PER_STEP // 6)]
    said = encode_versioned(ConsumerProtocolSubscription(topics=["read", *topics]))
    protocols = [JoinGroupRequestProtocol(name="range", metadata=said)]
    parts = [OffsetDeleteRequestPartition(partition_index=0)]
    named = [OffsetDeleteRequestTopic(name=topic, partitions=parts) for topic in ("t", "read")]
    async with open_rig() as rig:
        rig.services.catalog.create_topic("read", 1)
        joined = await rig.join(protocols=protocols)
        await rig.sync(joined)
        request = OffsetDeleteRequest(group_id="g", topics=named)
        first, second = start(rig, request, 0), start(rig, request, 0)
        assert codes(await rig.finish(first, 0)) == [{ErrorCode.NONE}, {ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC}]
        await rig.leave(joined.member_id)
        await rig.call(DeleteGroupsRequest(groups_names=["g"]), 2)
        with pytest.raises(GroupIdNotFound):
            await rig.finish(second, 0)


async def test_others_have_their_turn_while_groups_are_listed(autojump_clock: MockClock) -> None:
    """A group that is deleted meanwhile is told of as it was, or not at all."""
    async with open_rig() as rig:
        names = [f"g{number}" for number in range(MANY)]
        for name in names:
            await rig.commit(1, group_id=name, generation_id_or_member_epoch=NOBODY)
        reply = start(rig, ListGroupsRequest(), 4)
        assert {group.group_id for group in (await rig.finish(reply, 4)).groups} == set(names)
        response = ListGroupsResponse()
        steps = list_groups._list(ListGroupsRequest(), response, rig.coordinator.machine)
        for _ in range(2):
            next(steps)
        await rig.call(DeleteGroupsRequest(groups_names=[names[0], names[-1]]), 2)
        list(steps)
        assert [group.group_id for group in response.groups] == names[:-1]
