"""Produce: a batch that is to come again later comes before those that were in flight behind it."""

from collections.abc import Callable

import pytest

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    TopicProduceData,
)
from minibroker.records.builder import build_batch
from minibroker.topics.catalog import Catalog
from tests.handlers.harness import NOW_MS, HandlerBench

PRODUCER_ID = 5


async def produce(bench: HandlerBench, sequence: int, *, damaged: bool = False) -> PartitionProduceResponse:
    batch = build_batch(
        [(NOW_MS, b"key", b"value", ())], producer_id=PRODUCER_ID, producer_epoch=0, base_sequence=sequence
    )
    batch[-1] ^= damaged
    topic = TopicProduceData(name="t", partition_data=[PartitionProduceData(index=0, records=memoryview(batch))])
    response = await bench.ask(ProduceRequest(acks=-1, timeout_ms=1000, topic_data=[topic]), 9)
    return response.responses[0].partition_responses[0]


def short_of_space(catalog: Catalog, refusing: bool) -> None:
    catalog.short_of_space = refusing


def short_of_replicas(catalog: Catalog, refusing: bool) -> None:
    catalog.alter_configs("t", {"min.insync.replicas": "2" if refusing else "1"})


@pytest.mark.parametrize("refuse", [short_of_space, short_of_replicas])
async def test_a_refused_first_batch_is_still_the_first(
    bench: HandlerBench, refuse: Callable[[Catalog, bool], None]
) -> None:
    """A new producer's second batch, in flight when the first is refused, is not taken in its place."""
    await bench.create("t")
    refuse(bench.services.catalog, True)
    assert (await produce(bench, 0)).error_code == ErrorCode.NOT_ENOUGH_REPLICAS
    refuse(bench.services.catalog, False)
    assert (await produce(bench, 1)).error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert [(await produce(bench, sequence)).base_offset for sequence in (0, 1)] == [0, 1]


async def test_a_first_batch_is_awaited_for_a_topic_that_its_refusal_made(bench: HandlerBench) -> None:
    """There is something to remember the producer by, although nothing could be appended."""
    bench.services.catalog.short_of_space = True
    assert (await produce(bench, 0)).error_code == ErrorCode.NOT_ENOUGH_REPLICAS
    bench.services.catalog.short_of_space = False
    assert (await produce(bench, 1)).error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert (await produce(bench, 0)).base_offset == 0


async def test_a_batch_that_never_may_come_is_not_awaited(bench: HandlerBench) -> None:
    """A damaged one hears so although there is no space, and what it says of its producer is not believed."""
    await bench.create("t")
    bench.services.catalog.short_of_space = True
    assert (await produce(bench, 0, damaged=True)).error_code == ErrorCode.CORRUPT_MESSAGE
    assert PRODUCER_ID not in bench.services.catalog.partition("t", 0).log.producer_state.entries
