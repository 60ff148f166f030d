"""Traps of Fetch and ListOffsets, by the numbers and observations of the protocol page."""

from __future__ import annotations

import time
from uuid import UUID

import pytest

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.delete_topics import DeleteTopicsRequest
from minibroker.protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from minibroker.protocol.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from minibroker.records.compression import Codec
from minibroker.testing import BrokerThread
from tests.traps.talk import (
    NOW_MS,
    batch,
    create,
    describe,
    fetch,
    fetch_request,
    offset_at,
    produce,
    records_of,
)
from tests.traps.wire import Wire

LONG_MS = 30_000


def delete(wire: Wire, topic: str) -> None:
    (result,) = wire.ask(DeleteTopicsRequest(topic_names=[topic], timeout_ms=1000), 5).responses
    assert result.error_code == ErrorCode.NONE


@pytest.mark.parametrize("version", [4, 11, 12, 16])
def test_empty_records_are_not_null(wire: Wire, topic: str, version: int) -> None:
    """Trap 4: at the end of a log records are of length zero."""
    create(wire, topic)
    topic_id = describe(wire, topic).topic_id
    data = fetch(wire, fetch_request(topic, 0, topic_id=topic_id), version)
    assert data.records is not None
    assert len(data.records) == 0


def test_the_middle_of_a_batch_gets_the_whole_batch(wire: Wire, topic: str) -> None:
    """Trap 4: consumers skip what they did not ask for."""
    create(wire, topic)
    produce(wire, topic, batch(b"a", b"b", b"c"))
    data = fetch(wire, fetch_request(topic, 1))
    assert [record.offset for record in records_of(data)] == [0, 1, 2]


def test_the_first_batch_is_given_though_larger_than_the_limits(wire: Wire, topic: str) -> None:
    """Trap 4 and KIP-74: a consumer always gets on, of all partitions asked for only in the first with data."""
    create(wire, topic, partitions=3)
    for partition in (1, 2):
        for _ in range(2):
            produce(wire, topic, batch(b"x" * 1000), partition=partition)
    wanted = [FetchPartition(partition=index, partition_max_bytes=1) for index in range(3)]
    request = FetchRequest(max_bytes=1, topics=[FetchTopic(topic=topic, partitions=wanted)])
    (answer,) = wire.ask(request, 11).responses
    assert [len(records_of(part)) for part in answer.partitions] == [0, 1, 0]


def test_limits_hold_back_whole_batches(wire: Wire, topic: str) -> None:
    """Per partition and in all, never less than a batch, never a part of one."""
    create(wire, topic)
    for _ in range(3):
        produce(wire, topic, batch(b"x" * 1000))
    size = len(batch(b"x" * 1000))
    assert len(records_of(fetch(wire, fetch_request(topic, 0, partition_max_bytes=2 * size)))) == 2
    assert len(records_of(fetch(wire, fetch_request(topic, 0, max_bytes=3 * size - 1)))) == 2


def test_fetch_max_bytes_holds_whatever_is_asked_for(topic: str) -> None:
    """The broker's own limit: one batch is always given."""
    size = len(batch(b"x" * 1000))
    with BrokerThread({"fetch.max.bytes": 2 * size}) as broker, Wire(broker.address) as wire:
        for _ in range(3):
            produce(wire, topic, batch(b"x" * 1000))
        assert len(records_of(fetch(wire, fetch_request(topic, 0)))) == 2


def test_sessions_are_answered_with_session_0(wire: Wire, topic: str) -> None:
    """Trap 4: a client that asks for a session (epoch 0) hears of none; one that claims one is told so."""
    create(wire, topic)
    for epoch in (0, -1):
        response = wire.ask(fetch_request(topic, 0, session_id=0, session_epoch=epoch), 11)
        assert (response.error_code, response.session_id, len(response.responses)) == (ErrorCode.NONE, 0, 1)
    response = wire.ask(fetch_request(topic, 0, session_id=5, session_epoch=1), 11)
    assert response.error_code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    closing = wire.ask(fetch_request(topic, 0, session_id=5, session_epoch=-1), 11)
    assert (closing.error_code, len(closing.responses)) == (ErrorCode.NONE, 1)


@pytest.mark.parametrize("offset", [-1, 2, 1 << 62])
def test_offsets_that_are_not_there_are_out_of_range(wire: Wire, topic: str, offset: int) -> None:
    """Trap 18: below the start and beyond the end; the end itself can be waited for. Errors do not wait."""
    create(wire, topic)
    produce(wire, topic, batch(b"a"))
    data = fetch(wire, fetch_request(topic, offset, min_bytes=1, max_wait_ms=LONG_MS))
    assert (data.error_code, data.high_watermark) == (ErrorCode.OFFSET_OUT_OF_RANGE, -1)
    assert fetch(wire, fetch_request(topic, 1)).error_code == ErrorCode.NONE


def test_a_long_poll_wakes_when_min_bytes_are_there(broker: BrokerThread, wire: Wire, topic: str) -> None:
    """Not before, and at once then: it would have waited for much longer than this test has patience."""
    create(wire, topic)
    size = len(batch(b"x" * 100))
    wire.send(fetch_request(topic, 0, min_bytes=2 * size, max_wait_ms=10 * LONG_MS), 11)
    with Wire(broker.address) as producer:
        produce(producer, topic, batch(b"x" * 100))
        assert wire.is_quiet()
        produce(producer, topic, batch(b"y" * 100))
    _, response = wire.receive(FetchResponse, 11)
    assert [record.value for record in records_of(response.responses[0].partitions[0])] == [b"x" * 100, b"y" * 100]


def test_a_long_poll_ends_at_max_wait(wire: Wire, topic: str) -> None:
    """With what there is, which may be nothing or too little."""
    create(wire, topic)
    produce(wire, topic, batch(b"a"))
    for offset, count in ((0, 1), (1, 0)):
        began = time.monotonic()
        data = fetch(wire, fetch_request(topic, offset, min_bytes=1 << 20, max_wait_ms=20))
        assert time.monotonic() - began >= 0.02
        assert len(records_of(data)) == count


def test_a_long_poll_hears_of_a_deletion(broker: BrokerThread, wire: Wire, topic: str) -> None:
    """Trap 20: it does not wait for records that cannot come."""
    create(wire, topic)
    wire.send(fetch_request(topic, 0, min_bytes=1, max_wait_ms=10 * LONG_MS), 11)
    with Wire(broker.address) as admin:
        delete(admin, topic)
    _, response = wire.receive(FetchResponse, 11)
    assert response.responses[0].partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_a_topic_made_anew_has_a_new_id(wire: Wire, topic: str) -> None:
    """Trap 20: and fetches by the old id are UNKNOWN_TOPIC_ID; the old records are gone."""
    create(wire, topic)
    produce(wire, topic, batch(b"old"))
    old_id = describe(wire, topic).topic_id
    delete(wire, topic)
    assert create(wire, topic) == ErrorCode.NONE
    new_id = describe(wire, topic).topic_id
    assert new_id not in (old_id, UUID(int=0))
    old = fetch(wire, fetch_request("", 0, topic_id=old_id, min_bytes=1, max_wait_ms=LONG_MS), 13)
    assert old.error_code == ErrorCode.UNKNOWN_TOPIC_ID
    assert records_of(fetch(wire, fetch_request("", 0, topic_id=new_id), 13)) == []
    assert produce(wire, topic, batch(b"new")).base_offset == 0


def test_topic_ids_survive_a_restart(topic: str) -> None:
    """Trap 6: random, never zero, the same in the broker's next life."""
    with BrokerThread() as broker:
        ids = []
        for _ in range(2):
            with Wire(broker.address) as wire:
                ids.append(describe(wire, topic, auto_create=True).topic_id)
            broker.stop()
            broker.start()
    assert ids[0] == ids[1] != UUID(int=0)


@pytest.mark.parametrize(
    ("epoch", "code"), [(-1, ErrorCode.NONE), (0, ErrorCode.NONE), (1, ErrorCode.UNKNOWN_LEADER_EPOCH)]
)
def test_leader_epochs_are_checked(wire: Wire, topic: str, epoch: int, code: ErrorCode) -> None:
    """KIP-320: -1 is "unknown" and always right; one from the future is not."""
    create(wire, topic)
    request = fetch_request(topic, 0)
    request.topics[0].partitions[0].current_leader_epoch = epoch
    assert fetch(wire, request).error_code == code


def test_several_topics_and_partitions_in_one_request(wire: Wire, topic: str) -> None:
    """Each with its own records, and those that do not exist with their own error."""
    for name in (topic, f"{topic}-2"):
        create(wire, name, partitions=2)
        for partition in range(2):
            produce(wire, name, batch(f"{name}/{partition}".encode()), partition=partition)
    partitions = [FetchPartition(partition=index, partition_max_bytes=1 << 20) for index in range(3)]
    topics = [FetchTopic(topic=name, partitions=partitions) for name in (topic, f"{topic}-2")]
    response = wire.ask(FetchRequest(max_bytes=1 << 20, topics=topics), 11)
    for answer in response.responses:
        for part in answer.partitions:
            if part.partition_index == 2:
                assert part.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            else:
                expected = f"{answer.topic}/{part.partition_index}".encode()
                assert [record.value for record in records_of(part)] == [expected]


@pytest.mark.parametrize("codec", list(Codec), ids=lambda codec: codec.name.lower())
def test_offsets_by_time_are_exact_inside_compressed_batches(wire: Wire, topic: str, codec: Codec) -> None:
    """The first record that is not older, though it stands in the middle of a batch."""
    create(wire, topic)
    produce(wire, topic, batch(*[b"x" * 50] * 10, codec=codec, first_ms=NOW_MS))
    produce(wire, topic, batch(*[b"y" * 50] * 10, codec=codec, first_ms=NOW_MS + 100))
    for asked, offset, found in ((0, 0, 0), (7, 7, 7), (50, 10, 100), (105, 15, 105)):
        answer = offset_at(wire, topic, NOW_MS + asked)
        assert (answer.offset, answer.timestamp) == (offset, NOW_MS + found)
    beyond = offset_at(wire, topic, NOW_MS + 110)
    assert (beyond.offset, beyond.timestamp, beyond.leader_epoch) == (-1, -1, -1)


def test_special_offsets(wire: Wire, topic: str) -> None:
    """Latest, earliest, the record with the largest timestamp, the local start, the end of tiered storage."""
    create(wire, topic)
    produce(wire, topic, batch(b"a", b"b", first_ms=NOW_MS + 1000))
    produce(wire, topic, batch(b"c", first_ms=NOW_MS))
    found = {special: offset_at(wire, topic, special, 9) for special in (-1, -2, -3, -4, -5)}
    assert [found[special].offset for special in (-1, -2, -3, -4, -5)] == [3, 0, 1, 0, -1]
    assert found[-3].timestamp == NOW_MS + 1001
    assert found[-1].timestamp == found[-2].timestamp == -1


@pytest.mark.parametrize("version", [2, 3, 4])
def test_offset_for_leader_epoch(wire: Wire, topic: str, version: int) -> None:
    """Trap 3: also in version 2. The present epoch ends at the log's end; one never heard of is undefined."""
    create(wire, topic)
    produce(wire, topic, batch(b"a", b"b"))
    wanted = [OffsetForLeaderPartition(partition=0, leader_epoch=epoch) for epoch in (0, 5)]
    request = OffsetForLeaderEpochRequest(topics=[OffsetForLeaderTopic(topic=topic, partitions=wanted)])
    (answer,) = wire.ask(request, version).topics
    assert [(part.leader_epoch, part.end_offset) for part in answer.partitions] == [(0, 2), (-1, -1)]
