"""Traps of Produce and InitProducerId, by the numbers and observations of the protocol page."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.api_versions import ApiVersionsRequest
from minibroker.protocol.messages.init_producer_id import InitProducerIdRequest
from minibroker.protocol.messages.metadata import MetadataRequest
from minibroker.protocol.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from minibroker.records.batch import HEADER_BYTES, compute_crc
from minibroker.records.compression import Codec
from minibroker.records.validation import MAX_RECORDS, PASSING_RECORDS
from minibroker.testing import BrokerThread
from tests.traps.talk import batch, create, offset_at, produce, produce_request, values
from tests.traps.wire import Wire

HOUR_MS = 3_600_000
ATTRIBUTES_POSITION, LAST_OFFSET_DELTA_POSITION = 21, 23


def with_crc(damaged: bytearray) -> bytearray:
    """The batch with a CRC that fits what was done to it."""
    damaged[17:21] = compute_crc(damaged).to_bytes(4, "big")
    return damaged


def in_middle(damaged: bytearray) -> bytearray:
    damaged[-3] ^= 1
    return damaged


def contradicting(damaged: bytearray) -> bytearray:
    damaged[LAST_OFFSET_DELTA_POSITION : LAST_OFFSET_DELTA_POSITION + 4] = (7).to_bytes(4, "big")
    return with_crc(damaged)


def with_unknown_codec(damaged: bytearray) -> bytearray:
    damaged[ATTRIBUTES_POSITION + 1] |= 5
    return with_crc(damaged)


def two_of_them(damaged: bytearray) -> bytearray:
    return damaged + damaged


def of_old_format(damaged: bytearray) -> bytearray:
    damaged[16] = 1
    return damaged


@pytest.mark.parametrize("version", [0, 1, 2])
def test_produce_0_to_2_is_advertised_and_refused(wire: Wire, topic: str, version: int) -> None:
    """Trap 2: each partition hears UNSUPPORTED_VERSION, and the connection stays."""
    keys = {key.api_key: key for key in wire.ask(ApiVersionsRequest(), 0).api_keys}
    assert keys[0].min_version == 0
    create(wire, topic)
    assert produce(wire, topic, b"message set", version=version).error_code == ErrorCode.UNSUPPORTED_VERSION
    assert values(wire, topic) == []


def test_acks_0_has_no_answer_and_holds_nothing_up(wire: Wire, topic: str) -> None:
    """Trap 9: what comes next is the answer to the next request, and the records are there."""
    create(wire, topic)
    for value in (b"a", b"b"):
        wire.send(produce_request(topic, batch(value), acks=0), 9)
    assert produce(wire, topic, batch(b"c")).base_offset == 2
    assert values(wire, topic) == [b"a", b"b", b"c"]


def test_a_failure_under_acks_0_hangs_up(wire: Wire, topic: str) -> None:
    """Trap 9: there is no other way to tell the producer."""
    create(wire, topic)
    wire.send(produce_request(topic, in_middle(batch(b"a")), acks=0), 9)
    assert wire.is_closed()


def test_answers_keep_the_order_of_requests(wire: Wire, topic: str) -> None:
    """Trap 9: though some wait for the disk and others do not."""
    create(wire, topic)
    sent = []
    for acks in (-1, 1, -1, 1):
        sent.append((wire.send(produce_request(topic, batch(b"x"), acks=acks), 9), 9))
        sent.append((wire.send(MetadataRequest(topics=[]), 9), 9))
    assert [int.from_bytes(wire.receive_frame()[:4], "big") for _ in sent] == [number for number, _ in sent]


@pytest.mark.parametrize("acks", [-2, 2, 32767])
def test_other_acks_are_invalid(wire: Wire, topic: str, acks: int) -> None:
    """INVALID_REQUIRED_ACKS, and nothing is appended."""
    create(wire, topic)
    assert produce(wire, topic, batch(b"a"), acks=acks).error_code == ErrorCode.INVALID_REQUIRED_ACKS
    assert values(wire, topic) == []


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (in_middle, ErrorCode.CORRUPT_MESSAGE),
        (contradicting, ErrorCode.INVALID_RECORD),
        (with_unknown_codec, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
        (two_of_them, ErrorCode.INVALID_RECORD),
        (of_old_format, ErrorCode.INVALID_RECORD),
        (lambda whole: whole[:-1], ErrorCode.CORRUPT_MESSAGE),
        (lambda whole: whole[:HEADER_BYTES], ErrorCode.CORRUPT_MESSAGE),
        (lambda whole: whole[:20], ErrorCode.CORRUPT_MESSAGE),
        (lambda whole: whole[:0], ErrorCode.INVALID_RECORD),
        (lambda whole: None, ErrorCode.INVALID_RECORD),
    ],
)
def test_a_refused_batch_has_its_code_and_is_not_appended(
    wire: Wire, topic: str, damage: Callable[[bytearray], bytearray | None], code: ErrorCode
) -> None:
    """As observed: corrupt bytes 2, a batch that contradicts itself 87; a better code than -1 for an unknown codec."""
    create(wire, topic)
    answer = produce(wire, topic, damage(batch(b"a", b"b")))
    assert (answer.error_code, answer.base_offset, answer.log_append_time_ms) == (code, -1, -1)
    assert produce(wire, topic, batch(b"good")).base_offset == 0
    assert values(wire, topic) == [b"good"]


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD])
def test_a_damaged_compressed_stream_is_refused_where_it_is_read(wire: Wire, topic: str, codec: Codec) -> None:
    """Kafka says -1; a compacted topic, where records are visited, says what is wrong."""
    create(wire, topic, cleanup_policy="compact")
    damaged = batch(b"x" * 500, codec=codec)
    damaged[HEADER_BYTES:] = b"\xff" * (len(damaged) - HEADER_BYTES)
    assert produce(wire, topic, with_crc(damaged)).error_code in (ErrorCode.CORRUPT_MESSAGE, ErrorCode.INVALID_RECORD)
    assert values(wire, topic) == []


def test_max_message_bytes_is_enforced(wire: Wire, topic: str) -> None:
    """Trap 11: MESSAGE_TOO_LARGE for a batch one byte above it, not for one as large as it."""
    exact = batch(b"x" * 1000)
    create(wire, topic, max_message_bytes=str(len(exact)))
    assert produce(wire, topic, batch(b"x" * 1001)).error_code == ErrorCode.MESSAGE_TOO_LARGE
    assert produce(wire, topic, exact).error_code == ErrorCode.NONE


def test_keyless_records_to_a_compacted_topic_are_named(wire: Wire, topic: str) -> None:
    """Trap 11: INVALID_RECORD, from v8 on with the record's index and a message."""
    create(wire, topic, cleanup_policy="compact")
    answer = produce(wire, topic, batch(b"a", b"b", key=None), version=8)
    assert answer.error_code == ErrorCode.INVALID_RECORD
    assert [error.batch_index for error in answer.record_errors] == [0, 1]
    assert all("key" in (error.batch_index_error_message or "") for error in answer.record_errors)
    assert answer.error_message
    assert produce(wire, topic, batch(b"a", key=None), version=7).error_code == ErrorCode.INVALID_RECORD
    assert produce(wire, topic, batch(b"a")).base_offset == 0


def test_a_timestamp_too_far_ahead_is_refused(wire: Wire, topic: str) -> None:
    """As observed: INVALID_TIMESTAMP (32), with the record that has it; the clock that counts is the broker's."""
    now_ms = time.time_ns() // 1_000_000
    create(wire, topic, message_timestamp_after_max_ms=str(HOUR_MS))
    answer = produce(wire, topic, batch(b"a", first_ms=now_ms + 2 * HOUR_MS))
    assert answer.error_code == ErrorCode.INVALID_TIMESTAMP
    assert [error.batch_index for error in answer.record_errors] == [0]
    assert produce(wire, topic, batch(b"a", first_ms=now_ms)).error_code == ErrorCode.NONE


def test_zstd_needs_version_7(wire: Wire, topic: str) -> None:
    """KIP-110: an older client could not read it back."""
    create(wire, topic)
    zstd = batch(b"a", codec=Codec.ZSTD)
    assert produce(wire, topic, zstd, version=6).error_code == ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    assert produce(wire, topic, zstd, version=7).error_code == ErrorCode.NONE


def test_one_bad_partition_leaves_the_others_alone(wire: Wire, topic: str) -> None:
    """Each partition of a request has its own answer."""
    create(wire, topic, partitions=2)
    data = [
        PartitionProduceData(index=index, records=records)
        for index, records in ((0, batch(b"a")), (1, in_middle(batch(b"b"))), (2, batch(b"c")))
    ]
    request = ProduceRequest(acks=-1, topic_data=[TopicProduceData(name=topic, partition_data=data)])
    (answer,) = wire.ask(request, 9).responses
    assert [(part.index, part.error_code) for part in answer.partition_responses] == [
        (0, ErrorCode.NONE),
        (1, ErrorCode.CORRUPT_MESSAGE),
        (2, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ]


def test_the_first_produce_creates_a_topic(wire: Wire, topic: str) -> None:
    """Unlike Kafka, which wants a Metadata request first; a name that no topic may have is refused all the same."""
    assert produce(wire, topic, batch(b"a")).error_code == ErrorCode.NONE
    assert values(wire, topic) == [b"a"]
    assert produce(wire, "no/topic", batch(b"a")).error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert produce(wire, "__consumer_offsets", batch(b"a")).error_code == ErrorCode.INVALID_TOPIC_EXCEPTION


def test_log_append_time_is_told(wire: Wire, topic: str) -> None:
    """With message.timestamp.type=LogAppendTime the answer and the records carry the broker's time; else -1."""
    create(wire, topic, message_timestamp_type="LogAppendTime")
    before_ms = time.time_ns() // 1_000_000
    answer = produce(wire, topic, batch(b"a", first_ms=1000))
    assert answer.log_append_time_ms >= before_ms
    assert offset_at(wire, topic, answer.log_append_time_ms).timestamp == answer.log_append_time_ms
    other = produce(wire, f"{topic}-2", batch(b"a"))
    assert other.log_append_time_ms == -1


def test_a_duplicate_is_answered_with_its_first_offset_also_after_a_restart(topic: str) -> None:
    """Trap 13: by producer id, epoch and sequences; five batches are remembered, the sixth back is out of order."""
    with BrokerThread() as broker:
        with Wire(broker.address) as wire:
            producer_id = wire.ask(InitProducerIdRequest(transactional_id=None), 4).producer_id
            batches = [batch(b"%d" % number, producer=(producer_id, 0, number)) for number in range(6)]
            for number, records in enumerate(batches):
                assert produce(wire, topic, records).base_offset == number
        for _ in range(2):
            with Wire(broker.address) as wire:
                for number in range(1, 6):
                    answer = produce(wire, topic, batches[number])
                    assert (answer.error_code, answer.base_offset) == (ErrorCode.NONE, number)
                out_of_order = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
                assert produce(wire, topic, batches[0]).error_code == out_of_order
                gap = batch(b"gap", producer=(producer_id, 0, 7))
                assert produce(wire, topic, gap).error_code == out_of_order
                assert values(wire, topic) == [b"%d" % number for number in range(6)]
            broker.stop()
            broker.start()


def test_epochs_of_producers_are_checked(wire: Wire, topic: str) -> None:
    """Trap 13: a new epoch begins at sequence 0, and then the old one is INVALID_PRODUCER_EPOCH."""
    create(wire, topic)
    producer_id = wire.ask(InitProducerIdRequest(transactional_id=None), 4).producer_id
    assert produce(wire, topic, batch(b"a", producer=(producer_id, 0, 0))).base_offset == 0
    late = produce(wire, topic, batch(b"b", producer=(producer_id, 1, 5)))
    assert late.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert produce(wire, topic, batch(b"b", producer=(producer_id, 1, 0))).base_offset == 1
    old = produce(wire, topic, batch(b"c", producer=(producer_id, 0, 1)))
    assert old.error_code == ErrorCode.INVALID_PRODUCER_EPOCH


def test_a_partition_that_knows_nothing_of_a_producer_takes_any_sequence(wire: Wire, topic: str) -> None:
    """As observed: retention may have removed what it knew."""
    create(wire, topic)
    assert produce(wire, topic, batch(b"a", producer=(77_777, 3, 42))).base_offset == 0


def test_a_producer_id_is_never_given_out_twice() -> None:
    """Not by two connections, nor by the broker's next life."""
    with BrokerThread() as broker:
        ids: list[int] = []
        for _ in range(3):
            for _ in range(2):
                with Wire(broker.address) as wire:
                    ids += [wire.ask(InitProducerIdRequest(transactional_id=None), 4).producer_id for _ in range(3)]
            broker.stop()
            broker.start()
    assert len(set(ids)) == 18


def test_a_batch_has_a_bounded_number_of_records(wire: Wire, topic: str) -> None:
    """A compressed megabyte could claim many millions, which would cost whoever has to visit them minutes."""
    create(wire, topic)
    claim = batch(b"x" * 1000, codec=Codec.GZIP)
    claim[LAST_OFFSET_DELTA_POSITION : LAST_OFFSET_DELTA_POSITION + 4] = MAX_RECORDS.to_bytes(4, "big")
    claim[HEADER_BYTES - 4 : HEADER_BYTES] = (MAX_RECORDS + 1).to_bytes(4, "big")
    assert produce(wire, topic, with_crc(claim)).error_code == ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("acks", [-1, 0])
def test_no_request_overtakes_one_whose_records_have_to_be_visited(wire: Wire, topic: str, acks: int) -> None:
    """However long that takes: an idempotent producer's next batch, sent behind it, is appended behind it."""
    create(wire, topic, cleanup_policy="compact")
    producer = wire.ask(InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1), 4)
    count = 2 * PASSING_RECORDS
    sequences = [0, count, count + 1]
    for sequence in sequences:
        records = batch(
            *[b""] * (1 if sequence else count),
            codec=Codec.GZIP,
            producer=(producer.producer_id, producer.producer_epoch, sequence),
        )
        wire.send(produce_request(topic, records, acks=-1 if sequence else acks), 9)
    for sequence in sequences[acks == 0 :]:
        (answer,) = wire.receive(ProduceResponse, 9)[1].responses[0].partition_responses
        assert (answer.error_code, answer.base_offset) == (ErrorCode.NONE, sequence)
