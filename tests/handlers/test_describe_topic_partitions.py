"""DescribeTopicPartitions: topics in order, page by page."""

import pytest

from minibroker.config.settings import BrokerSettings
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    TopicRequest,
)
from tests.handlers.harness import HandlerBench, open_bench

Page = list[tuple[str | None, list[int]]]


async def describe(
    bench: HandlerBench, *names: str, limit: int = 2000, cursor: tuple[str, int] | None = None
) -> DescribeTopicPartitionsResponse:
    request = DescribeTopicPartitionsRequest(
        topics=[TopicRequest(name=name) for name in names],
        response_partition_limit=limit,
        cursor=Cursor(topic_name=cursor[0], partition_index=cursor[1]) if cursor else None,
    )
    return await bench.ask(request, 0)


def page(response: DescribeTopicPartitionsResponse) -> tuple[Page, tuple[str, int] | None]:
    cursor = response.next_cursor
    return (
        [(topic.name, [partition.partition_index for partition in topic.partitions]) for topic in response.topics],
        None if cursor is None else (cursor.topic_name, cursor.partition_index),
    )


async def test_topics_are_described_in_order_each_once(bench: HandlerBench) -> None:
    """With ids, leader and replicas; an unknown or illegal name has its code."""
    await bench.create("b", 2)
    await bench.create("a")
    response = await describe(bench, "b", "nope", "a", "b", "x y")
    assert page(response) == ([("a", [0]), ("b", [0, 1]), ("nope", []), ("x y", [])], None)
    assert [ErrorCode(topic.error_code) for topic in response.topics] == [
        ErrorCode.NONE,
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.INVALID_TOPIC_EXCEPTION,
    ]
    first = response.topics[0]
    assert first.topic_id == bench.services.catalog.topics["a"].id
    [partition] = first.partitions
    assert (partition.leader_id, partition.replica_nodes, partition.isr_nodes) == (0, [0], [0])
    assert (partition.offline_replicas, partition.eligible_leader_replicas) == ([], [])


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 100])
@pytest.mark.parametrize("names", [(), ("a", "b", "c", "nope")])
async def test_following_the_cursor_finds_every_partition_once(
    bench: HandlerBench, names: tuple[str, ...], limit: int
) -> None:
    """Whatever the page size, pages are full and together hold everything."""
    for name, count in (("a", 3), ("b", 1), ("c", 2)):
        await bench.create(name, count)
    found = []
    cursor = None
    while True:
        topics, following = page(await describe(bench, *names, limit=limit, cursor=cursor))
        described = [(name, index) for name, indexes in topics for index in indexes]
        found += described
        if following is None:
            break
        assert len(described) == limit
        assert following != cursor
        cursor = following
    assert found == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("c", 0), ("c", 1)]


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_page_holds_at_least_one_partition(bench: HandlerBench, limit: int) -> None:
    """Or nobody would ever get on."""
    await bench.create("a", 3)
    assert page(await describe(bench, "a", limit=limit)) == ([("a", [0])], ("a", 1))


async def test_the_broker_limits_pages_too() -> None:
    """max.request.partition.size.limit, whatever the request says."""
    async with open_bench(BrokerSettings(log_dirs="/data", max_request_partition_size_limit=2)) as bench:
        await bench.create("a", 3)
        assert page(await describe(bench, "a")) == ([("a", [0, 1])], ("a", 2))


@pytest.mark.parametrize("cursor", [("b", 1), ("a", -1)])
async def test_a_cursor_must_fit_the_request(bench: HandlerBench, cursor: tuple[str, int]) -> None:
    """INVALID_REQUEST for each topic: there is no better place for it."""
    await bench.create("a", 3)
    response = await describe(bench, "a", cursor=cursor)
    assert [topic.error_code for topic in response.topics] == [ErrorCode.INVALID_REQUEST]


async def test_a_cursor_whose_topic_has_gone_goes_on_with_the_next(bench: HandlerBench) -> None:
    """When all topics are asked for, their list may change between two pages."""
    await bench.create("a", 3)
    await bench.create("c", 1)
    assert page(await describe(bench, cursor=("b", 7))) == ([("c", [0])], None)
    assert page(await describe(bench, cursor=("a", 99))) == ([("a", []), ("c", [0])], None)
