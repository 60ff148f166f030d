"""The consumer by position: where it begins, what it hands out, and what it does when the cluster changes."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from minibroker.client.address import Address
from minibroker.client.consumer import Consumer
from minibroker.client.errors import ClientClosed, NoOffset
from minibroker.client.metadata import TopicPartition
from minibroker.client.partition_state import Seek, Start
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import CorruptMessage
from minibroker.records.batch import CONTROL_BIT, TRANSACTIONAL_BIT, BatchHeader, decode_header, write_header
from minibroker.records.builder import build_batch
from minibroker.records.compression import Codec
from tests.client.fake import FakeCluster, FakePartition, disconnect_before

T0 = TopicPartition("t", 0)


def consumer(fake: FakeCluster, **changes: Any) -> Consumer:
    """A consumer of the fake cluster."""
    return Consumer(fake.bootstrap, connect=fake.connect, **changes)


def fill(log: FakePartition, count: int, per_batch: int = 3, codec: Codec = Codec.NONE) -> None:
    """Append numbered records; the number is also the time in ms."""
    while count > 0:
        size = min(per_batch, count)
        log.append(build_batch([(log.end + i, None, b"%d" % (log.end + i), ()) for i in range(size)], codec))
        count -= size


async def take(reader: Consumer, count: int) -> list[int]:
    """The numbers of the next records."""
    found: list[int] = []
    while len(found) < count:
        found += [int(record.value or b"") for record in await reader.poll(count - len(found))]
    return found


async def test_reads_everything_in_order_and_waits_for_more(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """From the earliest record on, then whatever comes."""
    (log,) = fake.add_topic("t")
    fill(log, 10)
    async with consumer(fake, topics=["t"], start="earliest") as reader:
        assert await take(reader, 10) == list(range(10))
        assert await reader.poll(timeout_ms=2000) == []
        fill(log, 1)
        fake.notify()
        (record,) = await reader.poll()
    assert (record.topic, record.partition, record.offset, record.timestamp_ms, record.value) == ("t", 0, 10, 10, b"10")


async def test_iterates(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """`async for` hands out one record at a time; the position is behind the last one handed out."""
    (log,) = fake.add_topic("t")
    fill(log, 20, codec=Codec.ZSTD)
    seen = []
    async with consumer(fake, topics=["t"], start="earliest") as reader:
        async for record in reader:
            seen.append(record.offset)
            if record.offset == 7:
                assert await reader.position(T0) == 8
                assert reader.lag(T0) == 12
            if record.offset == 16:
                break
        assert await take(reader, 3) == [17, 18, 19]
    assert seen == list(range(17))


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("earliest", 0),
        (Seek(Start.TIME, 13), 13),
        (Seek(Start.LAST, 4), 16),
        (Seek(Start.LAST, 400), 0),
        (Seek(Start.OFFSET, 11), 11),
    ],
)
async def test_begins_where_it_is_told(autojump_clock: MockClock, fake: FakeCluster, start: Any, first: int) -> None:
    """Also in the middle of a batch."""
    (log,) = fake.add_topic("t")
    fill(log, 20, per_batch=6)
    async with consumer(fake, topics=["t"], start=start) as reader:
        assert await take(reader, 20 - first) == list(range(first, 20))


async def test_latest_and_a_time_beyond_the_end_mean_what_comes(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Nothing that was there before."""
    (log,) = fake.add_topic("t")
    fill(log, 5)
    for start in ("latest", Seek(Start.TIME, 10**6)):
        async with consumer(fake, partitions=[T0], start=start) as reader:
            end = log.end
            assert await reader.position(T0) == end
            fill(log, 1)
            fake.notify()
            assert await take(reader, 1) == [end]


async def test_seeking_takes_effect_at_once(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """What was fetched before is forgotten, and a long poll at the old position is not waited for."""
    (log,) = fake.add_topic("t")
    fill(log, 20)
    async with consumer(fake, partitions=[T0], start="latest", fetch_max_wait_ms=30_000) as reader:
        assert await reader.poll(timeout_ms=100) == []
        started = trio.current_time()
        reader.seek(T0, 5)
        assert await take(reader, 2) == [5, 6]
        reader.seek_to("earliest")
        assert await reader.position(T0) == 0
        assert await take(reader, 1) == [0]
        reader.seek_to(Seek(Start.LAST, 2), [T0])
        assert await take(reader, 2) == [18, 19]
        assert trio.current_time() - started < 1
        with pytest.raises(KeyError):
            reader.seek(TopicPartition("t", 9), 0)


async def test_paused_partitions_wait(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Nothing is handed out of them, not even what was fetched; nothing is lost either."""
    logs = fake.add_topic("t", 2)
    for log in logs:
        fill(log, 10)
    async with consumer(fake, topics=["t"], start="earliest") as reader:
        record = await anext(aiter(reader))
        other = 1 - record.partition
        reader.pause([TopicPartition("t", record.partition)])
        assert reader.paused == {TopicPartition("t", record.partition)}
        rest = [await reader.poll(100, timeout_ms=100) for _ in range(3)]
        assert [(r.partition, r.offset) for batch in rest for r in batch] == [(other, n) for n in range(10)]
        reader.resume(reader.paused)
        assert await take(reader, 9) == list(range(1, 10))


async def test_partitions_take_turns(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """A long partition does not starve a short one."""
    logs = fake.add_topic("t", 2)
    for log in logs:
        fill(log, 1000, per_batch=100)
    async with consumer(fake, topics=["t"], start="earliest") as reader:
        first = await reader.poll(50)
        second = await reader.poll(50)
    assert {record.partition for record in first + second} == {0, 1}


async def test_an_offset_out_of_range_is_reset(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """As `auto_offset_reset` says; or raised, and then seeking mends it."""
    (log,) = fake.add_topic("t")
    fill(log, 10)
    async with consumer(fake, partitions=[T0], start=Seek(Start.OFFSET, 99), auto_offset_reset="earliest") as reader:
        assert await take(reader, 1) == [0]
    async with consumer(fake, partitions=[T0], start=Seek(Start.OFFSET, 99), auto_offset_reset="error") as reader:
        with pytest.raises(NoOffset, match="t-0 has no offset 99"):
            await reader.poll()
        reader.seek(T0, 8)
        assert await take(reader, 2) == [8, 9]


async def test_a_leader_that_moves_is_followed(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Without a record lost or doubled; also when the old one is gone."""
    fake.addresses[2] = Address("two", 9092)
    (log,) = fake.add_topic("t", 1, leaders=[2])
    fill(log, 5)
    async with consumer(fake, topics=["t"], start="earliest") as reader:
        assert await take(reader, 5) == list(range(5))
        fake.stop_node(2)
        log.leader, log.leader_epoch = 1, 1
        fill(log, 5)
        assert await take(reader, 5) == list(range(5, 10))


async def test_a_broken_fetch_is_repeated(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Connections break; readers do not notice."""
    (log,) = fake.add_topic("t")
    fill(log, 5)
    fake.fault(ApiKey.FETCH, disconnect_before, disconnect_before)
    fake.fault(ApiKey.LIST_OFFSETS, disconnect_before)
    async with consumer(fake, topics=["t"], start="earliest") as reader:
        assert await take(reader, 5) == list(range(5))


async def test_a_topic_made_anew_is_read_from_its_beginning(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """The old position means nothing in it, even if it exists."""
    (log,) = fake.add_topic("t")
    fill(log, 5)
    async with consumer(fake, topics=["t"], start="earliest") as reader:
        assert await take(reader, 5) == list(range(5))
        del fake.topics["t"]
        fake.notify()
        await trio.sleep(1)
        (log,) = fake.add_topic("t")
        fill(log, 8)
        assert await take(reader, 8) == list(range(8))


async def test_new_partitions_are_read_from_their_beginning(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Also by a reader that began at the end: all of them is news."""
    logs = fake.add_topic("t", 1)
    fill(logs[0], 3)
    async with consumer(fake, topics=["t"], metadata_max_age_ms=10_000) as reader:
        assert await reader.poll(timeout_ms=100) == []
        log = FakePartition()
        fill(log, 4)
        logs.append(log)
        assert await take(reader, 4) == list(range(4))
        assert reader.assignment == {T0, TopicPartition("t", 1)}


async def test_a_pattern_follows_topics_as_they_appear(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """The whole name must match."""
    fill(fake.add_topic("logs.a")[0], 2)
    fill(fake.add_topic("xlogs.a")[0], 2)
    async with consumer(fake, pattern=r"logs\..*", start="earliest", metadata_max_age_ms=10_000) as reader:
        assert await take(reader, 2) == [0, 1]
        fill(fake.add_topic("logs.b")[0], 3)
        assert await take(reader, 3) == [0, 1, 2]


def changed(batch: bytearray, **fields: int) -> bytearray:
    """The batch with other header fields."""
    write_header(batch, BatchHeader(**{**decode_header(batch)._asdict(), **fields}))
    return batch


async def test_control_batches_and_aborted_records_are_not_handed_out(
    autojump_clock: MockClock, fake: FakeCluster
) -> None:
    """But the position passes over them; with read_uncommitted aborted records are there (KIP-98)."""
    from minibroker.protocol.messages.fetch import AbortedTransaction

    (log,) = fake.add_topic("t")

    def data(number: int, producer_id: int) -> bytearray:
        batch = build_batch([(number, None, b"%d" % number, ())], producer_id=-1)
        return changed(batch, attributes=TRANSACTIONAL_BIT, producer_id=-1 if producer_id < 0 else producer_id)

    def marker(commit: int, producer_id: int) -> bytearray:
        batch = build_batch([(0, b"\0\0" + bytes((0, commit)), b"\0" * 6, ())])
        return changed(batch, attributes=TRANSACTIONAL_BIT | CONTROL_BIT, producer_id=producer_id)

    parts = [data(0, 7), data(1, 8), marker(0, 7), data(3, 7), marker(1, 8), marker(1, 7), data(6, 9)]
    for part in parts:
        log.forget_producers()
        header = decode_header(part)
        log.append(changed(part, producer_id=-1))
        write_header(log.batches[-1], header._replace(base_offset=log.end - 1))

    def with_aborted(request: Any, proceed: Any) -> Any:
        async def answer() -> Any:
            response = await proceed()
            response.responses[0].partitions[0].aborted_transactions = [
                AbortedTransaction(producer_id=7, first_offset=0)
            ]
            return response

        return answer()

    fake.fault(ApiKey.FETCH, with_aborted)
    async with consumer(fake, topics=["t"], start="earliest", isolation_level="read_committed") as reader:
        assert await take(reader, 3) == [1, 3, 6]
    async with consumer(fake, topics=["t"], start="earliest") as reader:
        assert await take(reader, 4) == [0, 1, 3, 6]
        assert await reader.position(T0) == 7


async def test_a_damaged_batch_is_raised_and_can_be_passed(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """What is before it is handed out first; the error says where; seeking past it goes on."""
    (log,) = fake.add_topic("t")
    fill(log, 9)
    log.batches[1][-3] ^= 1
    async with consumer(fake, topics=["t"], start="earliest") as reader:
        assert await take(reader, 3) == [0, 1, 2]
        for _ in range(2):
            with pytest.raises(CorruptMessage, match="t-0, batch at offset 3"):
                await reader.poll()
        reader.seek(T0, 6)
        assert await take(reader, 3) == [6, 7, 8]


async def test_buffers_are_bounded(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """A reader that does not read holds back the fetching; nothing is lost."""
    (log,) = fake.add_topic("t")
    fill(log, 300, per_batch=1)
    size = len(log.batches[0])
    log.most_batches = 10
    async with consumer(fake, topics=["t"], start="earliest", max_partition_fetch_bytes=10 * size) as reader:
        assert await take(reader, 1) == [0]
        await trio.sleep(10)
        assert len(fake.requests(ApiKey.FETCH)) < 5
        assert await take(reader, 299) == list(range(1, 300))


async def test_two_tasks_may_not_poll_at_once(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """It is refused rather than to share records by chance."""
    fake.add_topic("t")
    async with consumer(fake, topics=["t"]) as reader, trio.open_nursery() as nursery:
        nursery.start_soon(reader.poll)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await reader.poll()
        nursery.cancel_scope.cancel()


async def test_closing_ends_a_poll_in_another_task(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """It would wait forever."""
    fake.add_topic("t")

    async def read(reader: Consumer) -> None:
        with pytest.raises(ClientClosed):
            await reader.poll()

    async with trio.open_nursery() as nursery, consumer(fake, topics=["t"]) as reader:
        nursery.start_soon(read, reader)
        await trio.testing.wait_all_tasks_blocked()


async def test_offsets_can_be_asked_for(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Begin, end, and by time."""
    (log,) = fake.add_topic("t")
    fill(log, 10)
    log.start = 3
    async with consumer(fake) as reader:
        assert await reader.beginning_offsets([T0]) == {T0: 3}
        assert await reader.end_offsets([T0]) == {T0: 10}
        assert await reader.offsets_for_times({T0: 7}) == {T0: 7}
        assert await reader.offsets_for_times({T0: 70}) == {T0: -1}


async def test_a_closed_consumer_says_so(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Before and after its block; committing needs a group."""
    fake.add_topic("t")
    reader = consumer(fake, topics=["t"])
    with pytest.raises(ClientClosed):
        await reader.poll()
    async with reader:
        with pytest.raises(ValueError, match="with a group"):
            await reader.commit()
    with pytest.raises(ClientClosed):
        await reader.poll()


async def test_topics_without_ids_are_fetched_by_name(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """A broker before Metadata 10 and Fetch 13."""
    (log,) = fake.add_topic("t")
    fill(log, 5)
    fake.versions[ApiKey.METADATA] = (0, 9)
    async with consumer(fake, topics=["t"], start="earliest") as reader:
        assert await take(reader, 5) == list(range(5))
    assert {version for _, key, version, _ in fake.seen if key is ApiKey.FETCH} == {12}
