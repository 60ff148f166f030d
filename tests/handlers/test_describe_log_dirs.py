"""DescribeLogDirs: one directory, the size of what is in it, the room on its volume."""

import pytest

from minibroker.protocol.messages.describe_log_dirs import (
    DescribableLogDirTopic,
    DescribeLogDirsRequest,
    DescribeLogDirsResult,
)
from tests.handlers.harness import HandlerBench


async def describe(bench: HandlerBench, wanted: dict[str, list[int]] | None, version: int = 4) -> DescribeLogDirsResult:
    topics = None
    if wanted is not None:
        topics = [DescribableLogDirTopic(topic=name, partitions=indexes) for name, indexes in wanted.items()]
    response = await bench.ask(DescribeLogDirsRequest(topics=topics), version)
    [result] = response.results
    assert (response.error_code, result.error_code) == (0, 0)
    return result


@pytest.mark.parametrize("version", range(1, 5))
async def test_all_partitions_with_their_sizes(bench: HandlerBench, version: int) -> None:
    """What is in the log counts; nothing lags, nothing moves; the metadata log is not for clients."""
    await bench.create("t", 2)
    await bench.append("t", 10, 1)
    result = await describe(bench, None, version)
    assert result.log_dir == "/data"
    [topic] = result.topics
    assert topic.name == "t"
    empty, full = topic.partitions
    assert (empty.partition_index, empty.partition_size) == (0, 0)
    assert (full.partition_index, full.partition_size) == (1, bench.services.catalog.partition("t", 1).log.size_bytes)
    assert full.partition_size > 0
    assert (full.offset_lag, full.is_future_key) == (0, False)


async def test_the_volume_is_told_from_v4_on(bench: HandlerBench) -> None:
    """Its size and what is free of it."""
    result = await describe(bench, None)
    assert (result.total_bytes, result.usable_bytes) == (2**40, 2**40)
    assert (await describe(bench, None, 3)).total_bytes == -1


async def test_some_partitions(bench: HandlerBench) -> None:
    """Only those that are asked about and exist, each once."""
    await bench.create("t", 3)
    await bench.create("u")
    result = await describe(bench, {"t": [2, 0, 0, 9], "nope": [0]})
    assert [(topic.name, [one.partition_index for one in topic.partitions]) for topic in result.topics] == [
        ("t", [0, 2])
    ]
    assert (await describe(bench, {})).topics == []
