"""Our members beside those of other clients in one group: either may lead, and between them they read everything."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from minibroker.client import Admin, Consumer, Producer
from tests.client.members import CLIENTS, Member

PARTITIONS = 6
DEADLINE_S = 60


async def read(reader: Consumer, seen: set[tuple[int, int]]) -> None:
    """Poll for as long as the test runs."""
    while True:
        seen.update((record.partition, record.offset) for record in await reader.poll(timeout_ms=50))


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that other threads bring about."""
    with trio.move_on_after(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.02)
        return
    pytest.fail(f"not within {DEADLINE_S} s: {what}")


async def fill(bootstrap: str, topic: str, count: int) -> None:
    """So many records in each partition."""
    async with Producer(bootstrap) as producer:
        for number in range(count * PARTITIONS):
            await producer.send(topic, b"%d" % number, partition=number % PARTITIONS)


@pytest.mark.parametrize("we_lead", [True, False])
@pytest.mark.parametrize(
    ("client", "assignors"),
    [
        ("confluent", ("range", "roundrobin")),
        ("confluent", ("cooperative-sticky",)),
        ("kafka_python", ("range", "roundrobin")),
        ("kafka_python", ("sticky",)),
        ("aiokafka", ("roundrobin",)),
        ("aiokafka", ("sticky",)),
    ],
)
async def test_a_mixed_group_shares(
    bootstrap: str, topic: str, group: str, client: str, assignors: tuple[str, ...], we_lead: bool
) -> None:
    """Each gets half of the partitions, whoever came first and leads; when the other leaves, ours go on alone."""
    async with Admin(bootstrap) as admin:
        await admin.create_topic(topic, PARTITIONS)
    await fill(bootstrap, topic, 20)
    member = Member(bootstrap, topic, group, assignors)
    ours: set[tuple[int, int]] = set()
    consumer = Consumer(
        bootstrap,
        topics=[topic],
        group=group,
        assignors=assignors,
        auto_offset_reset="earliest",
        heartbeat_interval_ms=200,
        session_timeout_ms=6000,
    )
    try:
        if not we_lead:
            member.start(CLIENTS[client])
            await until(lambda: member.owned == PARTITIONS, "the foreign member owns all partitions")
        async with consumer as reader, trio.open_nursery() as nursery:
            nursery.start_soon(read, reader, ours)
            if we_lead:
                await until(lambda: len(reader.assignment) == PARTITIONS, "our member owns all partitions")
                member.start(CLIENTS[client])
            half = PARTITIONS // 2
            await until(lambda: (len(reader.assignment), member.owned) == (half, half), "each owns half")
            await fill(bootstrap, topic, 20)
            await until(lambda: len(ours | member.read) == 40 * PARTITIONS, "everything is read")
            await trio.to_thread.run_sync(member.stop)
            await until(lambda: len(reader.assignment) == PARTITIONS, "our member owns all partitions again")
            nursery.cancel_scope.cancel()
    finally:
        if not member.stopping.is_set():
            await trio.to_thread.run_sync(member.stop)
