"""Batches that lose records to compaction."""

import pytest
from aiokafka.record.default_records import DefaultRecordBatch as AioBatch
from hypothesis import given
from hypothesis import strategies as st

from minibroker.records.batch import HEADER_BYTES, TimestampType, decode_header, verify_crc
from minibroker.records.builder import BatchBuilder, build_batch
from minibroker.records.compression import Codec
from minibroker.records.record import read_payload, read_records
from minibroker.records.retention import empty_batch, retain_records
from minibroker.records.scan import scan_records
from tests.records.strategies import RecordParts, many_records, record_lists

MIB = 1024 * 1024
HORIZON = 1_700_000_086_400_000


def thinned(batch: bytearray, slots: set[int], horizon: int | None = None) -> bytearray:
    header = decode_header(batch)
    payload = read_payload(batch, header, MIB)
    records = [record for slot, record in enumerate(scan_records(payload, header)) if slot in slots]
    smaller, new_header = retain_records(header, payload, records, delete_horizon_ms=horizon)
    verify_crc(smaller)
    assert decode_header(smaller) == new_header
    return smaller


@given(records=record_lists, horizon=st.none() | st.integers(0, 2**45), data=st.data())
@pytest.mark.parametrize("codec", Codec)
def test_what_stays_is_unchanged(
    codec: Codec, records: list[RecordParts], horizon: int | None, data: st.DataObject
) -> None:
    """Offsets, times, keys, values, headers of the remaining records; range and producer of the batch."""
    slots = data.draw(st.sets(st.integers(0, len(records) - 1), min_size=1))
    batch = build_batch(records, codec, base_offset=1000, producer_id=3, producer_epoch=1, base_sequence=77)
    smaller = thinned(batch, slots, horizon)
    before, after = decode_header(batch), decode_header(smaller)
    assert read_records(smaller, max_bytes=MIB) == [
        record for slot, record in enumerate(read_records(batch, max_bytes=MIB)) if slot in slots
    ]
    assert (after.base_offset, after.last_offset, after.codec) == (before.base_offset, before.last_offset, codec)
    assert (after.producer_id, after.producer_epoch, after.base_sequence, after.last_sequence) == (
        before.producer_id,
        before.producer_epoch,
        before.base_sequence,
        before.last_sequence,
    )
    assert after.max_timestamp == max(records[slot][0] for slot in slots)
    assert after.record_count == len(slots)


@pytest.mark.parametrize("codec", Codec)
def test_another_client_reads_the_times_of_a_batch_with_a_horizon(codec: Codec) -> None:
    """The mark stands in the place of the base timestamp, and every client computes times from there."""
    records = many_records(100)
    smaller = thinned(build_batch(records, codec), set(range(0, 100, 7)), HORIZON)
    header = decode_header(smaller)
    assert header.delete_horizon_ms == header.base_timestamp == HORIZON
    assert [(record.timestamp, record.key) for record in AioBatch(bytes(smaller))] == [
        (timestamp, key) for timestamp, key, _, _ in records[::7]
    ]


def test_the_first_horizon_stays() -> None:
    """A batch that is compacted again keeps its mark, else its tombstones would live for ever."""
    once = thinned(build_batch(many_records(10)), set(range(9)), HORIZON)
    twice = thinned(once, {0, 3}, HORIZON + 5)
    assert decode_header(twice).delete_horizon_ms == HORIZON


def test_no_horizon_where_times_cannot_be_moved() -> None:
    """A record whose distance to the mark exceeds 64 bits: its batch stays without one."""
    batch = build_batch([(2**63 - 1, b"k", None, ()), (0, b"l", None, ())])
    smaller = thinned(batch, {0, 1}, -10)
    assert decode_header(smaller).delete_horizon_ms is None
    assert [record.timestamp_ms for record in read_records(smaller, max_bytes=MIB)] == [2**63 - 1, 0]


def test_append_time_stays() -> None:
    """With LogAppendTime the max timestamp is every record's time, whichever records stay."""
    builder = BatchBuilder(timestamp_type=TimestampType.LOG_APPEND_TIME)
    for timestamp in (5, 9, 1):
        builder.append(timestamp, b"k", b"v")
    for horizon in (None, HORIZON):
        assert [
            record.timestamp_ms for record in read_records(thinned(builder.build(), {2}, horizon), max_bytes=MIB)
        ] == [9]


@pytest.mark.parametrize("codec", Codec)
def test_an_empty_batch_still_knows_its_place_and_producer(codec: Codec) -> None:
    """61 bytes, uncompressed, without a record."""
    batch = build_batch(many_records(10), codec, base_offset=50, producer_id=3, producer_epoch=1, base_sequence=7)
    before = decode_header(batch)
    emptied, after = empty_batch(before)
    verify_crc(emptied)
    assert decode_header(emptied) == after
    assert len(emptied) == HEADER_BYTES
    assert (after.base_offset, after.last_offset, after.base_sequence, after.last_sequence) == (50, 59, 7, 16)
    assert (after.record_count, after.codec, after.max_timestamp) == (0, Codec.NONE, before.max_timestamp)
    assert read_records(emptied, max_bytes=MIB) == []
    assert list(AioBatch(bytes(emptied))) == []
