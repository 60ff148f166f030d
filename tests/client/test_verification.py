"""Reading a partition through: what is found, where it begins and ends, and that the rest is read."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from trio.testing import MockClock

from minibroker.client.admin import Admin
from minibroker.client.metadata import TopicPartition
from minibroker.client.verification import PartitionCheck
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData
from minibroker.records.batch import decode_header, write_header
from minibroker.records.compression import Codec
from tests.client.fake import FakeCluster, FakePartition
from tests.client.test_consumer import fill

T0 = TopicPartition("t", 0)


async def check(fake: FakeCluster, *, gaps_allowed: bool = False) -> PartitionCheck:
    """Read the partition t-0 of the fake cluster through; its progress must add up to what is found."""
    told: list[tuple[int, int]] = []
    async with Admin(fake.bootstrap, connect=fake.connect) as admin:
        found = await admin.check(T0, gaps_allowed=gaps_allowed, advance=lambda *step: told.append(step))
    assert (found.batches, found.records) == (len(told), sum(records for records, _ in told))
    assert found.size_bytes == sum(size for _, size in told)
    return found


def ranges(found: PartitionCheck) -> list[tuple[int, int]]:
    """The bad ranges as (first, behind the last)."""
    return [(bad.start_offset, bad.end_offset) for bad in found.bad]


def refuse(fake: FakeCluster, log: FakePartition, damaged: Iterable[int]) -> None:
    """Have the broker answer with KAFKA_STORAGE_ERROR where one of these batches comes next, as ours does."""
    bad = [(decode_header(log.batches[number]), number) for number in damaged]

    def fetch(_node_id: int, request: Any, _version: int) -> FetchResponse:
        offset = request.topics[0].partitions[0].fetch_offset
        first = next(number for number, batch in enumerate(log.batches) if decode_header(batch).next_offset > offset)
        answer = PartitionData(partition_index=0, records=b"", high_watermark=log.end)
        if any(header.base_offset <= offset < header.next_offset for header, _ in bad):
            answer.error_code = ErrorCode.KAFKA_STORAGE_ERROR
        else:
            behind = min((number for _, number in bad if number > first), default=len(log.batches))
            answer.records = b"".join(log.batches[first:behind])
        return FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=[answer])])

    fake.handlers[ApiKey.FETCH] = fetch


@pytest.mark.parametrize("codec", list(Codec))
async def test_what_is_whole_is_read_and_counted(autojump_clock: MockClock, fake: FakeCluster, codec: Codec) -> None:
    """All batches, in several fetches, from where the partition begins."""
    (log,) = fake.add_topic("t")
    fill(log, 50, codec=codec)
    log.most_batches = 4
    del log.batches[:2]
    log.start = 7  # in the middle of a batch, as DeleteRecords may leave it
    found = await check(fake)
    assert found.is_good
    assert (found.begin, found.end, found.batches, found.records) == (7, 50, 15, 44)


async def test_an_empty_partition_is_whole(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """There is nothing to fetch."""
    fake.add_topic("t")
    found = await check(fake)
    assert (found.is_good, found.begin, found.end, found.batches) == (True, 0, 0, 0)


@pytest.mark.parametrize("damaged", [[0], [3], [9], [0, 1, 2], [7, 8, 9], [2, 3, 4, 5], list(range(10)), [1, 8]])
@pytest.mark.parametrize("is_sent", [True, False], ids=["sent", "refused"])
async def test_damage_is_found_with_its_limits(
    autojump_clock: MockClock, fake: FakeCluster, damaged: list[int], is_sent: bool
) -> None:
    """Whether the broker sends the damaged batch, as Kafka does, or refuses to."""
    (log,) = fake.add_topic("t")
    fill(log, 1000, per_batch=100)
    if is_sent:
        for number in damaged:
            log.batches[number][-3] ^= 1
    else:
        refuse(fake, log, damaged)
    found = await check(fake)
    runs = [number for number in damaged if number - 1 not in damaged]
    ends = [number + 1 for number in damaged if number + 1 not in damaged]
    assert ranges(found) == [(100 * first, 100 * end) for first, end in zip(runs, ends, strict=True)]
    assert found.records == 1000 - 100 * len(damaged)
    reason = "CRC" if is_sent else "the disk failed, or the partition's log is damaged there"
    assert all(reason in bad.reason for bad in found.bad)


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_damaged_is_called_good(autojump_clock: MockClock, fake: FakeCluster, seed: int) -> None:
    """With damage of any size anywhere: what is called bad begins and ends with damage, and holds all of it."""
    random = Random(seed)
    (log,) = fake.add_topic("t")
    for _ in range(40):
        size = random.choice([1, 2, 30, 400])
        fill(log, size, per_batch=size)
    limits = [(decode_header(batch).base_offset, decode_header(batch).next_offset) for batch in log.batches]
    damaged = random.sample(range(40), random.choice([1, 2, 10]))
    refuse(fake, log, damaged)
    found = await check(fake)
    lost = {offset for number in damaged for offset in range(*limits[number])}
    called_bad = {offset for first, end in ranges(found) for offset in range(first, end)}
    assert lost <= called_bad
    assert found.records + len(called_bad) == log.end
    assert {first for first, _ in ranges(found)} <= {limits[number][0] for number in damaged}
    assert {end for _, end in ranges(found)} <= {limits[number][1] for number in damaged}


async def test_missing_offsets_are_found_unless_it_is_compacted(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Whole batches, or records within one."""
    (log,) = fake.add_topic("t")
    fill(log, 12)
    write_header(log.batches[3], decode_header(log.batches[3])._replace(last_offset_delta=3))
    del log.batches[1]
    log.end = 13
    found = await check(fake)
    assert list(map(str, found.bad)) == [
        "offsets 3 to 5: missing, and it is not compacted",
        "offsets 9 to 12: 1 of 4 records are missing",
    ]
    log.batches.pop()
    found = await check(fake, gaps_allowed=True)
    assert (found.is_good, found.end, found.records) == (True, 13, 6)


async def test_a_batch_that_is_not_what_its_crc_covers_is_found(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """The CRC leaves out the base offset, and is right for records that are not."""
    (log,) = fake.add_topic("t")
    fill(log, 9)
    log.batches[1][7] = 200
    log.batches[2][70] ^= 0x7F
    write_header(log.batches[2], decode_header(log.batches[2]))
    found = await check(fake)
    assert ranges(found) == [(3, 9)]
    assert "a batch of offsets 200 to 202, where 9 is the end" in found.bad[0].reason


async def test_what_retention_deletes_meanwhile_is_not_missed(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """The reading goes on where the partition begins now; what was deleted is no damage."""
    (log,) = fake.add_topic("t")
    fill(log, 9)

    def retention(_request: Any, proceed: Any) -> Any:
        del log.batches[:2]
        log.start = 6
        return proceed()

    fake.fault(ApiKey.FETCH, retention)
    found = await check(fake)
    assert (found.is_good, found.records, found.end) == (True, 3, 9)


async def test_what_is_produced_meanwhile_does_no_harm(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """The reading ends, and what came with the last fetch is counted as well."""
    (log,) = fake.add_topic("t")
    fill(log, 9)

    def produce(_request: Any, proceed: Any) -> Any:
        fill(log, 6)
        return proceed()

    fake.fault(ApiKey.FETCH, produce)
    found = await check(fake)
    assert (found.is_good, found.records, found.end) == (True, 15, 15)


async def test_a_partition_without_a_leader_is_said_to_be(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """It is neither good nor damaged: it could not be read."""
    (log,) = fake.add_topic("t")
    log.leader = -1
    found = await check(fake)
    assert (found.is_good, found.bad) == (False, [])
    assert "t-0 has no leader" in found.error
