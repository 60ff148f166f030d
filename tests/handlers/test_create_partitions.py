"""CreatePartitions: more of them, placed or not, once per topic."""

from collections.abc import Coroutine

import pytest

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.create_partitions import (
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)
from tests.handlers.harness import HandlerBench, open_bench
from tests.simulation.disk import only_synced


def grow(name: str, count: int, placed: list[list[int]] | None = None) -> CreatePartitionsTopic:
    assignments = None if placed is None else [CreatePartitionsAssignment(broker_ids=ids) for ids in placed]
    return CreatePartitionsTopic(name=name, count=count, assignments=assignments)


async def ask(
    bench: HandlerBench, *topics: CreatePartitionsTopic, validate_only: bool = False, version: int = 3
) -> list[CreatePartitionsTopicResult]:
    request = CreatePartitionsRequest(topics=list(topics), validate_only=validate_only)
    return (await bench.ask(request, version)).results


def count(bench: HandlerBench, name: str = "t") -> int:
    return len(bench.services.catalog.topics[name].partitions)


async def test_many_partitions_are_made_in_turns(bench: HandlerBench) -> None:
    """A request for more than a few is a coroutine that lets others in, and given up it has made none."""
    await bench.create("t")
    request = CreatePartitionsRequest(topics=[grow("t", 1000)], validate_only=False)
    given_up, reply = bench.start(request, 3), bench.start(request, 3)
    assert isinstance(given_up, Coroutine)
    assert isinstance(reply, Coroutine)
    given_up.close()
    assert count(bench) == 1
    assert (await reply).response.results[0].error_code == 0
    assert count(bench) == 1000


@pytest.mark.parametrize("version", range(4))
async def test_a_topic_grows_and_stays_so(bench: HandlerBench, version: int) -> None:
    """The new partitions are there after the answer, and after a power cut; the records of the old ones stay."""
    await bench.create("t")
    await bench.append("t", 3)
    [result] = await ask(bench, grow("t", 4), version=version)
    assert (result.error_code, result.error_message, count(bench)) == (0, None, 4)
    async with open_bench(disk=only_synced(bench.disk)) as after:
        assert count(after) == 4
        assert after.services.catalog.partition("t", 0).log_end_offset == 3


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (grow("t", 2), ErrorCode.INVALID_PARTITIONS),
        (grow("t", 1), ErrorCode.INVALID_PARTITIONS),
        (grow("t", -1), ErrorCode.INVALID_PARTITIONS),
        (grow("t", 200000), ErrorCode.INVALID_PARTITIONS),
        (grow("nope", 3), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (grow("a b", 3), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (grow("__cluster_metadata", 3), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (grow("t", 4, [[0]]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (grow("t", 3, [[0], [0]]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (grow("t", 3, []), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (grow("t", 3, [[]]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (grow("t", 3, [[7]]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (grow("t", 3, [[0, 7]]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
    ],
)
async def test_refusals(bench: HandlerBench, wanted: CreatePartitionsTopic, code: ErrorCode) -> None:
    """No increase, no such topic, or no such place: Kafka's codes, and the topic is as before."""
    await bench.create("t", 2)
    [result] = await ask(bench, wanted)
    assert result.error_code == code
    assert result.error_message
    assert count(bench) == 2


async def test_the_offsets_topic_keeps_its_partitions(bench: HandlerBench) -> None:
    """Another count would have the coordinator look for every group in the wrong partition, validated or done."""
    bench.services.coordinator.create_topic()
    before = count(bench, "__consumer_offsets")
    for validate_only in (True, False):
        [result] = await ask(bench, grow("__consumer_offsets", before + 1), validate_only=validate_only)
        assert result.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert count(bench, "__consumer_offsets") == before


async def test_new_partitions_can_be_placed(bench: HandlerBench) -> None:
    """On this broker, as many as are missing."""
    await bench.create("t", 2)
    [result] = await ask(bench, grow("t", 4, [[0], [0]]))
    assert (result.error_code, count(bench)) == (0, 4)


async def test_each_topic_is_answered_once(bench: HandlerBench) -> None:
    """One that is named twice is refused once and keeps what it has; the others grow."""
    await bench.create("t")
    await bench.create("u")
    results = await ask(bench, grow("t", 2), grow("u", 2), grow("t", 3))
    assert sorted((result.name, result.error_code) for result in results) == [
        ("t", ErrorCode.INVALID_REQUEST),
        ("u", 0),
    ]
    assert (count(bench, "t"), count(bench, "u")) == (1, 2)


async def test_validate_only_changes_nothing(bench: HandlerBench) -> None:
    """The answer is that of an increase."""
    await bench.create("t")
    good, bad = await ask(bench, grow("t", 2), grow("nope", 2), validate_only=True)
    assert (good.error_code, bad.error_code) == (0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    assert count(bench) == 1
