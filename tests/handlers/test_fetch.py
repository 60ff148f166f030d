"""Long polls: what a wake-up costs, and that whoever waits gets what came."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from minibroker.config.settings import BrokerSettings
from minibroker.handlers.fetch import AWAITED_BYTES, TURN_PARTITIONS
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from minibroker.records.batch import iter_batches
from minibroker.storage.errors import StorageError
from minibroker.storage.scrub import forget_checks
from minibroker.topics.partition import Partition
from tests.handlers.harness import HandlerBench, open_bench, rests_of
from tests.simulation.disk import SimulatedFile

PARTITIONS = 50
VERSION = 11
WAIT_MS = 10_000


def request(min_bytes: int, max_bytes: int = 1 << 20, partitions: int = PARTITIONS) -> FetchRequest:
    wanted = [
        FetchPartition(partition=index, fetch_offset=0, partition_max_bytes=1 << 20) for index in range(partitions)
    ]
    topics = [FetchTopic(topic="t", partitions=wanted)]
    return FetchRequest(max_bytes=max_bytes, min_bytes=min_bytes, max_wait_ms=WAIT_MS, topics=topics)


def sizes(response: FetchResponse) -> dict[int, int]:
    return {
        data.partition_index: data.records.size_bytes
        for topic in response.responses
        for data in topic.partitions
        if data.records
    }


class Poll:
    """A long poll that waits."""

    def __init__(self, reply: Coroutine[Any, Any, FetchResponse]) -> None:
        self.reply = reply
        self.response: FetchResponse | None = None

    async def run(self) -> None:
        self.response = await self.reply


@asynccontextmanager
async def polling(bench: HandlerBench, asked: FetchRequest) -> AsyncIterator[Poll]:
    await bench.create("t", PARTITIONS)
    poll = Poll(bench.start(asked, VERSION))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll.run)
        await wait_all_tasks_blocked()
        yield poll


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The partitions that are read, one after the other."""
    seen: list[int] = []
    read = Partition.read

    def counted(self: Partition, *args: Any, **options: Any) -> Any:
        seen.append(self.index)
        return read(self, *args, **options)

    monkeypatch.setattr(Partition, "read", counted)
    return seen


@pytest.mark.parametrize("max_bytes", [1 << 20, 1000])
async def test_only_what_has_moved_is_read_at_a_wake_up(
    autojump_clock: MockClock, bench: HandlerBench, reads: list[int], max_bytes: int
) -> None:
    """Ten records in one of fifty partitions do not have all of them read ten times, also if it can never be enough."""
    async with polling(bench, request(1 << 30, max_bytes)) as poll:
        reads.clear()
        for _ in range(10):
            await bench.append("t", 5, partition=7)
            await wait_all_tasks_blocked()
        assert set(reads) == {7}
        assert poll.response is None
    assert poll.response is not None
    assert list(sizes(poll.response)) == [7]


async def test_what_comes_to_several_partitions_is_added_up(autojump_clock: MockClock, bench: HandlerBench) -> None:
    """The poll ends with the record that makes it enough, and has all of them."""
    async with polling(bench, request(220)) as poll:
        began = trio.current_time()
        for index in (3, 9, 3):
            assert poll.response is None
            await bench.append("t", 1, partition=index)
            await wait_all_tasks_blocked()
        assert poll.response is not None
        found = sizes(poll.response)
        assert list(found) == [3, 9]
        assert sum(found.values()) >= 220
        assert trio.current_time() - began < WAIT_MS / 1000


async def test_a_deleted_topic_ends_the_wait(autojump_clock: MockClock, bench: HandlerBench) -> None:
    """With its error, as anything does that a read of everything would refuse."""
    async with polling(bench, request(1 << 30)) as poll:
        bench.services.catalog.delete_topic("t")
        await wait_all_tasks_blocked()
        assert poll.response is not None
        codes = {data.error_code for topic in poll.response.responses for data in topic.partitions}
        assert codes == {ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}


async def test_the_end_of_the_broker_ends_the_wait(autojump_clock: MockClock, bench: HandlerBench) -> None:
    """With what there is."""
    async with polling(bench, request(1 << 30)) as poll:
        await bench.append("t", 1, partition=4)
        bench.services.end()
        await wait_all_tasks_blocked()
        assert poll.response is not None
        assert list(sizes(poll.response)) == [4]


async def test_many_partitions_are_read_in_turns(autojump_clock: MockClock, bench: HandlerBench) -> None:
    """Others are let in meanwhile, and the answer is whole."""
    await bench.create("t", 3 * TURN_PARTITIONS)
    asked = request(0, partitions=3 * TURN_PARTITIONS)
    assert await rests_of(bench.start(asked, VERSION)) >= 2
    (topic,) = (await bench.ask(asked, VERSION)).responses
    assert [data.partition_index for data in topic.partitions] == list(range(3 * TURN_PARTITIONS))


async def test_few_may_wait_for_many_partitions(autojump_clock: MockClock) -> None:
    """As many as fit into the memory for requests; others get at once what there is, and those who wait are woken as ever."""
    count = 2 * TURN_PARTITIONS
    settings = BrokerSettings(log_dirs="/data", queued_max_request_bytes=3 * count * AWAITED_BYTES)
    async with open_bench(settings) as bench, trio.open_nursery() as nursery:
        await bench.create("t", count)
        began = trio.current_time()
        replies = [bench.start(request(1, partitions=count), VERSION) for _ in range(5)]
        assert [isinstance(reply, FetchResponse) for reply in replies] == [False, False, False, True, True]
        polls = [Poll(reply) for reply in replies[:3]]
        for poll in polls:
            nursery.start_soon(poll.run)
        await wait_all_tasks_blocked()
        assert [poll.response for poll in polls] == [None, None, None]
        await bench.append("t", 1)
        await wait_all_tasks_blocked()
        waited = [poll.response for poll in polls if poll.response and sizes(poll.response)]
        assert len(waited) == 3
        assert trio.current_time() == began
        assert bench.services.awaited == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_bad_sector_refuses_what_it_holds(
    bench: HandlerBench, monkeypatch: pytest.MonkeyPatch, order: tuple[int, int]
) -> None:
    """Other partitions are read, and so is what lies well before it in its own."""
    await bench.create("t", 2)
    for _ in range(400):
        await bench.append("t", 1, partition=0)
    await bench.append("t", 1, partition=1)
    log = bench.services.catalog.partition("t", 0).log
    forget_checks(log)
    pread, sector = SimulatedFile.pread, log.size_bytes * 3 // 4

    def failing(file: SimulatedFile, size: int, position: int) -> bytes:
        if file is log.active.file() and position <= sector < position + size:
            raise StorageError("Input/output error")
        return pread(file, size, position)

    monkeypatch.setattr(SimulatedFile, "pread", failing)
    offset, refused = 0, False
    while not refused:
        wanted = [
            FetchPartition(partition=index, fetch_offset=offset * (not index), partition_max_bytes=1 << 20)
            for index in order
        ]
        asked = FetchRequest(min_bytes=1, max_wait_ms=0, topics=[FetchTopic(topic="t", partitions=wanted)])
        reply = bench.start(asked, VERSION)
        response = await reply if isinstance(reply, Coroutine) else reply
        assert sizes(response)[1]
        (data,) = [found for found in response.responses[0].partitions if not found.partition_index]
        refused = data.error_code == ErrorCode.KAFKA_STORAGE_ERROR
        offset += sum(1 for _ in iter_batches(memoryview(data.records.read()))) if data.records else 0
    assert 200 < offset <= 300
