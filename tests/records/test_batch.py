"""The batch header, the CRC, and walking through batches."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch

from minibroker.protocol.errors import CorruptMessage, UnsupportedCompressionType
from minibroker.records.batch import (
    DELETE_HORIZON_BIT,
    HEADER,
    HEADER_BYTES,
    TimestampType,
    assign,
    decode_header,
    iter_batches,
    verify_crc,
)
from minibroker.records.builder import build_batch
from minibroker.records.compression import Codec
from tests.records.strategies import many_records


def a_batch(codec: Codec = Codec.NONE, count: int = 10) -> bytearray:
    return build_batch(many_records(count), codec, producer_id=7, producer_epoch=3, base_sequence=40)


def test_header_agrees_with_kafka_python() -> None:
    """Every field lies where another client reads it."""
    batch = a_batch(Codec.GZIP)
    assign(batch, 1234, 5)
    ours, theirs = decode_header(batch), DefaultRecordBatch(batch)
    assert (ours.base_offset, ours.size_bytes, ours.partition_leader_epoch, ours.magic, ours.crc) == (
        theirs.base_offset,
        theirs.size_in_bytes,
        theirs.leader_epoch,
        theirs.magic,
        theirs.crc,
    )
    assert (ours.attributes, ours.codec, ours.timestamp_type, ours.is_transactional, ours.is_control) == (
        theirs.attributes,
        theirs.compression_type,
        theirs.timestamp_type,
        theirs.is_transactional,
        theirs.is_control_batch,
    )
    assert (ours.last_offset, ours.next_offset, ours.base_timestamp, ours.max_timestamp) == (
        theirs.last_offset,
        theirs.next_offset,
        theirs.first_timestamp,
        theirs.max_timestamp,
    )
    assert (ours.producer_id, ours.producer_epoch, ours.base_sequence, ours.last_sequence, ours.record_count) == (
        theirs.producer_id,
        theirs.producer_epoch,
        theirs.base_sequence,
        theirs.last_sequence,
        theirs.records_count,
    )


def test_sequences_wrap_to_zero() -> None:
    """After 2^31 - 1 a producer counts from 0 again; a batch without a sequence has no last one."""
    header = decode_header(a_batch())
    assert header._replace(base_sequence=2**31 - 1).last_sequence == header.last_offset_delta - 1
    assert header._replace(base_sequence=-1).last_sequence == -1


def test_attributes() -> None:
    """Each bit has its property."""
    header = decode_header(a_batch())._replace(attributes=0x38, base_timestamp=99)
    assert (header.timestamp_type, header.is_transactional, header.is_control) == (
        TimestampType.LOG_APPEND_TIME,
        True,
        True,
    )
    assert header.delete_horizon_ms is None
    assert header._replace(attributes=DELETE_HORIZON_BIT).delete_horizon_ms == 99
    with pytest.raises(UnsupportedCompressionType):
        _ = header._replace(attributes=7).codec


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1))
def test_assigning_a_place_keeps_the_crc(base_offset: int, leader_epoch: int) -> None:
    """A broker places a batch without touching what the CRC covers."""
    batch = a_batch()
    header = decode_header(batch)
    assign(memoryview(batch), base_offset, leader_epoch)
    verify_crc(batch)
    assert decode_header(batch) == header.assigned(base_offset, leader_epoch)
    assert header.assigned(base_offset, leader_epoch)[:3] == (base_offset, header.batch_length, leader_epoch)


def test_any_flipped_bit_under_the_crc_is_found() -> None:
    """From the attributes on, every single bit counts."""
    batch = a_batch(count=2)
    for position in range(17, len(batch)):
        for bit in range(8):
            batch[position] ^= 1 << bit
            with pytest.raises(CorruptMessage):
                verify_crc(batch)
            batch[position] ^= 1 << bit
    verify_crc(batch)


def test_short_and_foreign_headers_are_corrupt() -> None:
    """Too few bytes, another magic, or a length that does not hold the header."""
    batch = a_batch()
    for size in range(HEADER_BYTES):
        with pytest.raises(CorruptMessage):
            decode_header(batch[:size])
    for magic in (-1, 0, 1, 3):
        struct.pack_into(">b", batch, 16, magic)
        with pytest.raises(CorruptMessage):
            decode_header(batch)
    struct.pack_into(">b", batch, 16, 2)
    for length in (-(2**31), -1, 0, 48):
        struct.pack_into(">i", batch, 8, length)
        with pytest.raises(CorruptMessage):
            decode_header(batch)


def test_batches_one_after_another() -> None:
    """All whole batches come, as views; an incomplete one at the end is left out at whatever byte it was cut."""
    batches = [a_batch(count=count) for count in (1, 2, 300)]
    log = b"".join(batches)
    found = list(iter_batches(log))
    assert [bytes(view) for _, view in found] == batches
    assert [header.record_count for header, _ in found] == [1, 2, 300]
    whole = len(batches[0]) + len(batches[1])
    for size in range(whole, len(log), 61):
        assert len(list(iter_batches(log[:size]))) == 2


def test_garbage_between_batches_is_corrupt() -> None:
    """A walk never skips what it cannot read."""
    batches = iter_batches(a_batch() + bytes(100))
    next(batches)
    with pytest.raises(CorruptMessage):
        next(batches)


def test_the_struct_has_the_size_of_the_format() -> None:
    """61 bytes."""
    assert HEADER.size == HEADER_BYTES == 61
