"""Long answers: they have an end, one is made at a time, and others have their turn meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from minibroker.config.settings import BrokerSettings
from minibroker.handlers.context import Services
from minibroker.handlers.turns import LEAST_ROOM_BYTES, TURN_STEPS, Steps, in_turns
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from minibroker.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from minibroker.protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from minibroker.protocol.messages.describe_groups import DescribeGroupsRequest
from minibroker.protocol.messages.describe_log_dirs import DescribableLogDirTopic, DescribeLogDirsRequest
from minibroker.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from minibroker.protocol.messages.join_group import JoinGroupRequestProtocol
from minibroker.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic
from minibroker.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
)
from tests.coordinator.rig import Rig, committing, open_rig
from tests.handlers.harness import HandlerBench, finish, open_bench, rests_of

SMALL = BrokerSettings(log_dirs="/data", queued_max_request_bytes=LEAST_ROOM_BYTES)
"""Every answer has the least room."""
TOPIC = 2


# The helper ---------------------------------------------------------------------------------------------------------


def ones(count: int) -> Steps:
    """So many small steps."""
    for _ in range(count):
        yield 1


def test_few_steps_are_done_at_once() -> None:
    """Without a coroutine: that would cost a small request more than its answer."""
    assert in_turns(ones(TURN_STEPS), lambda: "done", services()) == "done"


async def test_many_steps_rest_in_between() -> None:
    """Whoever else wants to run does so once a turn."""
    reply = in_turns(ones(10 * TURN_STEPS), lambda: "done", services())
    assert await rests_of(reply) >= 9


async def test_one_long_answer_is_made_at_a_time() -> None:
    """The first turn is everybody's; then the next begins when the one before is done."""
    done: list[str] = []
    alone = trio.Lock()

    def steps(name: str) -> Steps:
        for _ in range(5):
            done.append(name)
            yield TURN_STEPS + 1

    replies = [in_turns(steps(name), lambda: None, services(), alone) for name in "ab"]
    async with trio.open_nursery() as nursery:
        for reply in replies:
            nursery.start_soon(finish, reply)
    rest = done[2:]
    assert rest in (["a"] * 4 + ["b"] * 4, ["b"] * 4 + ["a"] * 4)


async def test_work_for_other_threads_is_done_by_the_workers() -> None:
    """Its result and its error come back; the loop's thread has no part in it."""
    shared = services()
    seen: list[object] = []

    def work() -> tuple[bool, int]:
        return threading.get_ident() == own, shared.workers.borrowed_tokens

    def fail() -> None:
        raise ValueError("in a thread")

    def steps() -> Steps:
        seen.append((yield work))
        with pytest.raises(ValueError, match="in a thread"):
            yield fail
        yield 1
        seen.append("end")

    own = threading.get_ident()
    await finish(in_turns(steps(), lambda: None, shared))
    assert seen == [(False, 1), "end"]


def services() -> Services:
    """Of which `in_turns` needs the workers alone."""
    return cast(Services, SimpleNamespace(workers=trio.CapacityLimiter(1)))


# One name, many times -----------------------------------------------------------------------------------------------


async def test_metadata_describes_a_topic_once(bench: HandlerBench) -> None:
    """However often a request names it, by name or by id; so for one that is not there."""
    await bench.create("t", 3)
    topic_id = bench.services.catalog.topic("t").id
    wanted = [
        MetadataRequestTopic(name="t"),
        MetadataRequestTopic(name="nope!"),
        MetadataRequestTopic(name=None, topic_id=topic_id),
    ]
    request = MetadataRequest(topics=wanted * 1000, allow_auto_topic_creation=False)
    topics = (await bench.ask(request, 12)).topics
    assert [(topic.name, len(topic.partitions)) for topic in topics] == [("t", 3), ("nope!", 0), ("t", 3)]


async def test_configs_are_described_once(bench: HandlerBench) -> None:
    """The broker's, asked for a thousand times in a request of kilobytes."""
    resources = [DescribeConfigsResource(resource_type=4, resource_name="0")] * 1000
    [result] = (await bench.ask(DescribeConfigsRequest(resources=resources), 4)).results
    assert len(result.configs) > 50


async def test_log_dirs_list_a_topic_once(bench: HandlerBench) -> None:
    """With all the partitions that the request names, wherever."""
    await bench.create("t", 5)
    wanted = [DescribableLogDirTopic(topic="t", partitions=[index]) for index in (3, 1, 3, 9, -1)]
    [result] = (await bench.ask(DescribeLogDirsRequest(topics=wanted), 4)).results
    assert [[one.partition_index for one in topic.partitions] for topic in result.topics] == [[1, 3]]


async def test_groups_are_described_once(autojump_clock: MockClock) -> None:
    """With their offsets as well."""
    async with open_rig() as rig:
        await rig.join()
        await rig.call(committing(5, group_id="simple"), 8)
        described = (await rig.call(DescribeGroupsRequest(groups=["g", "simple", "g"]), 5)).groups
        assert [(group.group_id, len(group.members)) for group in described] == [("g", 1), ("simple", 0)]
        named = [OffsetFetchRequestGroup(group_id=name, topics=None) for name in ("simple", "none", "simple")]
        fetched = (await rig.call(OffsetFetchRequest(groups=named), 8)).groups
        assert [(group.group_id, len(group.topics)) for group in fetched] == [("simple", 1), ("none", 0)]


# Many names ---------------------------------------------------------------------------------------------------------


async def test_configs_of_many_topics_have_an_end() -> None:
    """Those there is no room for are refused, each by itself; asked for by themselves they are described."""
    async with open_bench(SMALL) as bench:
        names = [f"t{index}" for index in range(400)]
        for name in names:
            bench.services.catalog.create_topic(name, 1)

        async def ask(*wanted: str) -> list[tuple[int, int]]:
            resources = [DescribeConfigsResource(resource_type=TOPIC, resource_name=name) for name in wanted]
            results = (await bench.ask(DescribeConfigsRequest(resources=resources), 4)).results
            assert [result.resource_name for result in results] == list(wanted)
            return [(result.error_code, len(result.configs)) for result in results]

        told = await ask(*names)
        refused = (ErrorCode.POLICY_VIOLATION, 0)
        assert told == [told[0]] * (len(told) - told.count(refused)) + [refused] * told.count(refused)
        assert 0 < told.count(refused) < len(names)
        assert await ask(names[-1]) == [told[0]]


async def _big_group(rig: Rig, group_id: str, size_bytes: int) -> None:
    protocols = [JoinGroupRequestProtocol(name="range", metadata=bytes(size_bytes))]
    joined = await rig.join(group_id=group_id, protocols=protocols)
    await rig.sync(joined, group_id)


@pytest.mark.parametrize("version", [5, 6])
async def test_large_groups_are_described_a_few_at_a_time(autojump_clock: MockClock, version: int) -> None:
    """Clients ask again for those that are told to be loading; one that never fits is refused for good."""
    async with open_rig(queued_max_request_bytes=LEAST_ROOM_BYTES) as rig:
        for name in ("a", "b", "c"):
            await _big_group(rig, name, LEAST_ROOM_BYTES * 2 // 3)
        await _big_group(rig, "huge", LEAST_ROOM_BYTES)

        async def ask(*names: str) -> list[tuple[int, int]]:
            groups = (await rig.call(DescribeGroupsRequest(groups=list(names)), version)).groups
            return [(group.error_code, len(group.members)) for group in groups]

        later = (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, 0)
        assert await ask("a", "b", "c") == [(0, 1), later, later]
        assert await ask("b", "c") == [(0, 1), later]
        assert await ask("huge", "a") == [(ErrorCode.POLICY_VIOLATION, 0), later]


async def test_many_offsets_are_fetched_a_few_at_a_time(autojump_clock: MockClock) -> None:
    """As groups are; the versions that take one group refuse one that never fits as a whole."""
    async with open_rig(queued_max_request_bytes=LEAST_ROOM_BYTES) as rig:
        rig.services.catalog.create_topic("big", 6000)
        rig.services.catalog.create_topic("other", 6000)
        for name, count in (("a", 5000), ("b", 5000), ("huge", 9000)):
            for topic in ("big", "other")[: 1 + (count > 6000)]:
                request = committing(7, topic=topic, group_id=name)
                (part,) = request.topics[0].partitions
                request.topics[0].partitions = [
                    type(part)(partition_index=index, committed_offset=7, committed_metadata="")
                    for index in range(min(count, 6000))
                ]
                await rig.call(request, 8)

        async def ask(*names: str) -> list[tuple[int, int]]:
            named = [OffsetFetchRequestGroup(group_id=name, topics=None) for name in names]
            groups = (await rig.call(OffsetFetchRequest(groups=named), 8)).groups
            return [(group.error_code, sum(len(topic.partitions) for topic in group.topics)) for group in groups]

        later = (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, 0)
        assert await ask("a", "b", "none") == [(0, 5000), later, later]
        assert await ask("b", "none") == [(0, 5000), (0, 0)]
        assert await ask("huge") == [(ErrorCode.POLICY_VIOLATION, 0)]
        alone = await rig.call(OffsetFetchRequest(group_id="huge", topics=None), 7)
        assert (alone.error_code, alone.topics) == (ErrorCode.POLICY_VIOLATION, [])
        topics = [OffsetFetchRequestTopic(name=name, partition_indexes=list(range(4500))) for name in ("big", "other")]
        old = await rig.call(OffsetFetchRequest(group_id="huge", topics=topics), 1)
        assert {part.error_code for topic in old.topics for part in topic.partitions} == {ErrorCode.POLICY_VIOLATION}


# Others have their turn ---------------------------------------------------------------------------------------------


async def test_metadata_of_thousands_of_topics_lets_others_in(bench: HandlerBench) -> None:
    """A request for more than a turn's worth is a coroutine, which rests, and its answer is whole."""
    names = [f"no {index}" for index in range(3 * TURN_STEPS)]
    request = MetadataRequest(topics=[MetadataRequestTopic(name=name) for name in names])
    rests = await rests_of(bench.start(request, 12))
    assert rests >= 2
    assert [topic.name for topic in (await bench.ask(request, 12)).topics] == names


async def test_topics_made_on_demand_let_others_in(bench: HandlerBench) -> None:
    """Each is as much work as describing a hundred; all are there in the end."""
    request = MetadataRequest(topics=[MetadataRequestTopic(name=f"t{index}") for index in range(50)])
    assert await rests_of(bench.start(request, 12)) >= 4
    assert len([name for name in bench.services.catalog.topics if name.startswith("t")]) == 50


async def test_changes_to_many_topics_let_others_in(bench: HandlerBench) -> None:
    """To their settings, their records, and their being there: each is a step, and all are made in the end."""
    names = [f"t{index}" for index in range(TURN_STEPS // 5)]
    for name in names:
        bench.services.catalog.create_topic(name, 2)
    await bench.services.flusher.wait_durable(bench.services.catalog.flush_ticket())
    topics = bench.services.catalog.topics

    config = AlterableConfig(name="retention.ms", config_operation=0, value="1000000")
    resources = [AlterConfigsResource(resource_type=TOPIC, resource_name=name, configs=[config]) for name in names]
    assert await rests_of(bench.start(IncrementalAlterConfigsRequest(resources=resources), 1)) >= 4
    assert all(topics[name].configs for name in names)

    parts = [DeleteRecordsPartition(partition_index=index, offset=-1) for index in range(2)]
    request = DeleteRecordsRequest(topics=[DeleteRecordsTopic(name=name, partitions=parts) for name in names])
    assert await rests_of(bench.start(request, 2)) >= 2
    (told, *_) = (await bench.ask(request, 2)).topics
    assert [(part.partition_index, part.error_code) for part in told.partitions] == [(0, 0), (1, 0)]

    deletion = DeleteTopicsRequest(topics=[DeleteTopicState(name=name) for name in names])
    assert await rests_of(bench.start(deletion, 6)) >= 2
    assert not any(name in topics for name in names)


async def test_a_group_may_commit_while_its_offsets_are_fetched(autojump_clock: MockClock) -> None:
    """And lose a topic: what is told is from before or from after."""
    async with open_rig() as rig:
        rig.services.catalog.create_topic("big", 3 * TURN_STEPS)
        request = committing(7, topic="big")
        (part,) = request.topics[0].partitions
        request.topics[0].partitions = [
            type(part)(partition_index=index, committed_offset=7) for index in range(3 * TURN_STEPS - 1)
        ]
        await rig.call(request, 8)
        await rig.call(committing(7, topic="t"), 8)
        named = [OffsetFetchRequestGroup(group_id="g", topics=None)]
        reply = rig.start(OffsetFetchRequest(groups=named), 8)
        assert isinstance(reply, Coroutine)
        await rig.call(committing(9, topic="big", partition=3 * TURN_STEPS - 1), 8)
        rig.services.catalog.delete_topic("t")
        (group,) = (await rig.finish(reply, 8)).groups
        assert [len(topic.partitions) for topic in group.topics if topic.name == "big"] == [3 * TURN_STEPS - 1]
