"""Produce with more work than fits in passing: it is done elsewhere, in the order of the request, and nothing is lost of it."""

from __future__ import annotations

from collections.abc import Coroutine

import pytest

from minibroker.config.settings import BrokerSettings
from minibroker.protocol.errors import ErrorCode, ProtocolError
from minibroker.protocol.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from minibroker.records.builder import build_batch
from minibroker.records.compression import Codec
from minibroker.records.validation import PASSING_RECORDS
from tests.handlers.harness import NOW_MS, HandlerBench, open_bench, rests_of, through_the_wire

LARGE = PASSING_RECORDS + 1
VERSION = 9


def batch(count: int = 1, key: bytes | None = b"key", sequence: int = -1) -> memoryview:
    producer = (5, 0) if sequence >= 0 else (-1, -1)
    return memoryview(
        build_batch(
            [(NOW_MS, key, b"", ())] * count,
            Codec.ZSTD,
            producer_id=producer[0],
            producer_epoch=producer[1],
            base_sequence=sequence,
        )
    )


def request(*batches: tuple[str, memoryview], acks: int = -1) -> ProduceRequest:
    topics = [
        TopicProduceData(name=name, partition_data=[PartitionProduceData(index=0, records=records)])
        for name, records in batches
    ]
    return ProduceRequest(acks=acks, timeout_ms=1000, topic_data=topics)


def told(response: ProduceResponse) -> list[tuple[int, int]]:
    return [(part.error_code, part.base_offset) for topic in response.responses for part in topic.partition_responses]


async def test_batches_are_appended_in_the_order_of_the_request(bench: HandlerBench) -> None:
    """Those before a laborious one at once, those behind it after it; each has its own answer."""
    await bench.create("c", cleanup_policy="compact")
    await bench.create("t")
    asked = request(
        ("c", batch(sequence=0)),
        ("t", batch()),
        ("c", batch(LARGE, sequence=1)),
        ("c", batch(sequence=LARGE + 1)),
        ("nope!", batch()),
        ("c", batch(LARGE, None)),
        ("t", batch(LARGE)),
    )
    reply = bench.start(asked, VERSION)
    assert isinstance(reply, Coroutine)
    assert bench.services.catalog.partition("c", 0).log_end_offset == 1
    reply.close()
    response = await bench.ask(asked, VERSION)
    assert told(response) == [
        (0, 0),
        (0, 1),
        (0, 1),
        (0, LARGE + 1),
        (ErrorCode.INVALID_TOPIC_EXCEPTION, -1),
        (ErrorCode.INVALID_RECORD, -1),
        (0, 2),
    ]


async def test_what_others_receive_meanwhile_is_not_appended(bench: HandlerBench) -> None:
    """The records of a request lie in a buffer that all connections share: they are copied before the first wait."""
    await bench.create("c", cleanup_policy="compact")
    asked = through_the_wire(request(("c", batch(LARGE)), ("c", batch())), VERSION)
    shared = [topic.partition_data[0].records for topic in asked.topic_data]
    reply = bench.start(asked, VERSION, as_it_is=True)
    for records in shared:
        assert isinstance(records, memoryview)
        records[:] = bytes(len(records))
    assert told((await reply).response) == [(0, 0), (0, LARGE)]


@pytest.mark.parametrize(("key", "appended"), [(b"key", LARGE + 1), (None, 0)])
async def test_nobody_is_told_without_acks(bench: HandlerBench, key: bytes | None, appended: int) -> None:
    """All is appended; or the connection ends, as with any failure."""
    await bench.create("c", cleanup_policy="compact")
    reply = bench.start(request(("c", batch(LARGE, key)), ("c", batch()), acks=0), VERSION)
    if key is None:
        with pytest.raises(ProtocolError):
            await reply
    else:
        assert await reply is None
    assert bench.services.catalog.partition("c", 0).log_end_offset == appended


async def test_a_topic_may_go_while_its_batch_is_checked() -> None:
    """Its batch hears of that, and the others are appended."""
    async with open_bench(BrokerSettings(log_dirs="/data", auto_create_topics_enable=False)) as bench:
        await bench.create("c", cleanup_policy="compact")
        await bench.create("t")
        reply = bench.start(request(("c", batch(LARGE)), ("t", batch())), VERSION)
        bench.services.catalog.delete_topic("c")
        assert told((await reply).response) == [(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1), (0, 0)]


async def test_a_multitude_of_batches_lets_others_in(bench: HandlerBench) -> None:
    """However small each of them is."""
    await bench.create("t")
    ticks = 0

    def clock() -> float:
        nonlocal ticks
        ticks += 1
        return ticks / 1000

    bench.services.clock.now = clock
    reply = bench.start(request(*[("t", batch())] * 100), VERSION)
    assert await rests_of(reply) > 5
    assert bench.services.catalog.partition("t", 0).log_end_offset == 100
