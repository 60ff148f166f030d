"""DeleteRecords: where a log begins afterwards, who refuses, and that the deleted does not come back."""

import pytest

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from tests.handlers.harness import HandlerBench, open_bench
from tests.simulation.disk import only_synced

BEYOND = ErrorCode.OFFSET_OUT_OF_RANGE


async def delete(
    bench: HandlerBench, topic: str, *wanted: tuple[int, int], version: int = 2
) -> list[tuple[int, int, ErrorCode]]:
    partitions = [DeleteRecordsPartition(partition_index=index, offset=offset) for index, offset in wanted]
    request = DeleteRecordsRequest(topics=[DeleteRecordsTopic(name=topic, partitions=partitions)])
    [found] = (await bench.ask(request, version)).topics
    assert found.name == topic
    return [(one.partition_index, one.low_watermark, ErrorCode(one.error_code)) for one in found.partitions]


@pytest.mark.parametrize("version", range(3))
@pytest.mark.parametrize(
    ("offset", "low_watermark", "code"),
    [
        (3, 3, ErrorCode.NONE),
        (0, 0, ErrorCode.NONE),
        (10, 10, ErrorCode.NONE),
        (-1, 10, ErrorCode.NONE),
        (11, -1, BEYOND),
        (-2, -1, BEYOND),
    ],
)
async def test_where_the_log_begins(
    bench: HandlerBench, offset: int, low_watermark: int, code: ErrorCode, version: int
) -> None:
    """At the offset, -1 being the high watermark; not beyond it."""
    await bench.create("t")
    await bench.append("t", 10)
    assert await delete(bench, "t", (0, offset), version=version) == [(0, low_watermark, code)]
    assert bench.services.catalog.partition("t", 0).log_start_offset == max(low_watermark, 0)


async def test_a_log_start_never_goes_back(bench: HandlerBench) -> None:
    """A smaller offset than the log start answers the log start."""
    await bench.create("t")
    await bench.append("t", 10)
    await delete(bench, "t", (0, 5))
    assert await delete(bench, "t", (0, 2)) == [(0, 5, ErrorCode.NONE)]


async def test_what_does_not_exist(bench: HandlerBench) -> None:
    """An unknown topic or partition is its own matter; the other partitions are served."""
    await bench.create("t", 2)
    await bench.append("t", 4, 1)
    assert await delete(bench, "t", (9, 1), (1, 2)) == [
        (9, -1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (1, 2, ErrorCode.NONE),
    ]
    assert await delete(bench, "nope", (0, 1)) == [(0, -1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)]


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ("compact", ErrorCode.POLICY_VIOLATION),
        ("", ErrorCode.POLICY_VIOLATION),
        ("compact,delete", ErrorCode.NONE),
        ("delete", ErrorCode.NONE),
    ],
)
async def test_only_topics_that_delete(bench: HandlerBench, policy: str, code: ErrorCode) -> None:
    """A cleanup.policy without delete refuses."""
    await bench.create("t", cleanup_policy=policy)
    await bench.append("t", 4)
    assert [result[2] for result in await delete(bench, "t", (0, 2))] == [code]


async def test_the_brokers_own_topics_refuse(bench: HandlerBench) -> None:
    """INVALID_TOPIC_EXCEPTION."""
    bench.services.catalog.create_topic("__consumer_offsets", 1)
    assert await delete(bench, "__consumer_offsets", (0, 0)) == [(0, -1, ErrorCode.INVALID_TOPIC_EXCEPTION)]


@pytest.mark.parametrize("flush_messages", ["1", "1000"])
async def test_the_deleted_does_not_come_back(bench: HandlerBench, flush_messages: str) -> None:
    """After the answer a power cut changes nothing, also where records themselves are flushed late."""
    await bench.create("t", flush_messages=flush_messages)
    await bench.append("t", 10)
    assert await delete(bench, "t", (0, -1)) == [(0, 10, ErrorCode.NONE)]
    async with open_bench(disk=only_synced(bench.disk)) as after:
        partition = after.services.catalog.partition("t", 0)
        assert (partition.log_start_offset, partition.log_end_offset) == (10, 10)


async def test_a_partition_is_treated_once(bench: HandlerBench) -> None:
    """As it is named last, however often: each move would be a record of its own in the metadata log."""
    await bench.create("t")
    await bench.append("t", 100)
    wanted = [
        DeleteRecordsTopic(
            name="t", partitions=[DeleteRecordsPartition(partition_index=0, offset=at) for at in (first, first + 1)]
        )
        for first in range(0, 90, 2)
    ]
    before = bench.services.catalog.metadata.log.log_end_offset
    [topic] = (await bench.ask(DeleteRecordsRequest(topics=wanted, timeout_ms=1), 2)).topics
    assert [(part.low_watermark, part.error_code) for part in topic.partitions] == [(89, 0)]
    assert bench.services.catalog.metadata.log.log_end_offset == before + 1
