"""Building and reading records, against other clients' builders and readers."""

from contextlib import suppress
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch as AioBatch
from aiokafka.record.default_records import DefaultRecordBatchBuilder as AioBuilder
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from minibroker.protocol.errors import CorruptMessage, InvalidRecord
from minibroker.records.batch import (
    HEADER_BYTES,
    BatchHeader,
    TimestampType,
    decode_header,
    verify_crc,
    write_header,
)
from minibroker.records.builder import BatchBuilder, build_batch, max_record_bytes
from minibroker.records.compression import Codec
from minibroker.records.record import Record, read_payload, read_records
from minibroker.records.scan import scan_pieces, scan_records
from tests.records.strategies import RecordParts, many_records, record_lists

MIB = 1024 * 1024


def parts_of(records: list[Record]) -> list[RecordParts]:
    return [(record.timestamp_ms, record.key, record.value, record.headers) for record in records]


def foreign_parts(records: Any) -> list[RecordParts]:
    return [(record.timestamp, record.key, record.value, tuple(record.headers)) for record in records]


def rebuilt(header: BatchHeader, payload: bytes) -> bytearray:
    """A batch with a right length and CRC around any payload: what a careless or malicious producer sends."""
    batch = bytearray(HEADER_BYTES) + payload
    write_header(batch, header._replace(batch_length=len(batch) - 12))
    return batch


@pytest.mark.parametrize("codec", Codec)
@given(records=record_lists, base_offset=st.integers(0, 2**62))
def test_round_trip(codec: Codec, records: list[RecordParts], base_offset: int) -> None:
    """What was appended is read, with offsets that count up from the base offset."""
    batch = build_batch(records, codec, base_offset=base_offset)
    verify_crc(batch)
    read = read_records(batch, max_bytes=MIB)
    assert parts_of(read) == records
    assert [record.offset for record in read] == list(range(base_offset, base_offset + len(records)))


@given(records=record_lists)
def test_the_bytes_are_those_of_kafka_python(records: list[RecordParts]) -> None:
    """Without compression two right builders have no freedom."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 30)
    for offset, (timestamp, key, value, headers) in enumerate(records):
        builder.append(offset, timestamp, key, value, list(headers))
    theirs = bytearray(builder.build())
    ours = build_batch(records)
    assert theirs[:12] + theirs[16:] == ours[:12] + ours[16:]  # the leader epoch is theirs to choose


@pytest.mark.parametrize("codec", Codec)
def test_aiokafka_reads_ours_and_we_read_its(codec: Codec) -> None:
    """Every codec, long batches, both ways."""
    records = many_records(500)
    assert foreign_parts(AioBatch(bytes(build_batch(records, codec)))) == records
    builder = AioBuilder(2, codec, False, -1, -1, -1, 1 << 30)
    for offset, (timestamp, key, value, headers) in enumerate(records):
        builder.append(offset, timestamp, key, value, list(headers))
    assert parts_of(read_records(bytes(builder.build()), max_bytes=MIB)) == records


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP])
def test_kafka_python_reads_ours(codec: Codec) -> None:
    """The codecs it has without further packages."""
    records = many_records(10_000)
    assert foreign_parts(DefaultRecordBatch(bytes(build_batch(records, codec)))) == records


def test_append_time_is_the_time_of_every_record() -> None:
    """With LogAppendTime the batch's max timestamp counts, whatever the producer wrote."""
    builder = BatchBuilder(timestamp_type=TimestampType.LOG_APPEND_TIME)
    for timestamp in (5, 1000, 20):
        builder.append(timestamp, None, b"")
    assert [record.timestamp_ms for record in read_records(builder.build(), max_bytes=MIB)] == [1000] * 3


@given(records=record_lists)
def test_the_builder_knows_its_size(records: list[RecordParts]) -> None:
    """Exactly, while the batch grows; and the bound asked before an append holds."""
    builder = BatchBuilder()
    for count, (timestamp, key, value, headers) in enumerate(records, 1):
        before = builder.size_bytes
        builder.append(timestamp, key, value, headers)
        assert builder.size_bytes - before <= max_record_bytes(key, value, headers)
        assert builder.size_bytes == len(builder.build())
        assert builder.record_count == count


def test_building_again_with_another_sequence() -> None:
    """A producer that gets a new id sends the same records under it."""
    builder = BatchBuilder(Codec.LZ4, producer_id=1, producer_epoch=0, base_sequence=5)
    builder.append(1, b"k", b"v")
    builder.build()
    builder.producer_id, builder.producer_epoch, builder.base_sequence = 2, 1, 0
    batch = builder.build()
    verify_crc(batch)
    header = decode_header(batch)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (2, 1, 0)


def test_a_batch_has_a_record() -> None:
    """An empty one is a mistake of the caller."""
    with pytest.raises(ValueError, match="at least one"):
        BatchBuilder().build()


def test_an_emptied_batch_reads_as_no_records() -> None:
    """Compaction leaves batches without records for the sake of their producer."""
    header = decode_header(build_batch(many_records(3)))._replace(record_count=0)
    assert read_records(rebuilt(header, b""), max_bytes=MIB) == []


def test_header_keys_that_are_not_text() -> None:
    """They come with replacement characters instead of stopping the consumer for ever."""
    batch = build_batch([(1, None, None, (("ab", b"c"),))])
    payload = bytes(batch[HEADER_BYTES:]).replace(b"ab", b"\xff\xfe")
    [record] = read_records(rebuilt(decode_header(batch), payload), max_bytes=MIB)
    assert record.headers == (("��", b"c"),)


@pytest.mark.parametrize("codec", Codec)
def test_every_truncation_of_a_batch_is_refused(codec: Codec) -> None:
    """Cut at any byte, the answer is one of two errors."""
    batch = build_batch(many_records(5), codec)
    for size in range(len(batch)):
        with pytest.raises((CorruptMessage, InvalidRecord)):
            read_records(batch[:size], max_bytes=MIB)


def test_every_truncation_of_the_records_is_refused() -> None:
    """The same with a header and CRC made for the shorter payload, by the reader as by the scanner."""
    batch = build_batch(many_records(5))
    header, payload = decode_header(batch), bytes(batch[HEADER_BYTES:])
    for cut in [*(payload[:size] for size in range(len(payload))), payload + b"\x00"]:
        with pytest.raises(InvalidRecord):
            read_records(rebuilt(header, cut), max_bytes=MIB)
        with pytest.raises(InvalidRecord):
            scan_records(cut, header)


@pytest.mark.parametrize("count", [-(2**31), -1, 4, 6, 2**31 - 1])
def test_a_wrong_count_is_refused(count: int) -> None:
    """Before anything is allocated for it."""
    batch = build_batch(many_records(5))
    header, payload = decode_header(batch)._replace(record_count=count), bytes(batch[HEADER_BYTES:])
    with pytest.raises(InvalidRecord):
        read_records(rebuilt(header, payload), max_bytes=MIB)
    with pytest.raises(InvalidRecord):
        scan_records(payload, header)


@given(data=st.data())
def test_damaged_records_raise_invalid_record_only(data: st.DataObject) -> None:
    """Any bytes changed, inserted or left out under a right CRC: records or InvalidRecord, never something else."""
    batch = build_batch(many_records(4))
    payload = bytearray(batch[HEADER_BYTES:])
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(payload)))
        payload[start : start + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=12) | st.sampled_from([b"\xff" * 9 + b"\x01", b"\xff\xff\xff\xff\x0f", b"\x01", b"\x03"])
        )
    header = decode_header(batch)
    for read in (
        lambda: read_records(rebuilt(header, bytes(payload)), max_bytes=MIB),
        lambda: scan_records(bytes(payload), header),
    ):
        with suppress(InvalidRecord):
            read()


@given(records=record_lists)
def test_the_scanner_sees_what_the_reader_sees(records: list[RecordParts]) -> None:
    """The same keys, times, offsets and null values; and the pieces together are the payload."""
    batch = build_batch(records)
    header = decode_header(batch)
    payload = read_payload(batch, header, MIB)
    scanned = scan_records(payload, header)
    assert [(record.key, record.has_value) for record in scanned] == [(r[1], r[2] is not None) for r in records]
    assert [header.base_timestamp + record.timestamp_delta for record in scanned] == [r[0] for r in records]
    assert [record.offset_delta for record in scanned] == list(range(len(records)))
    assert b"".join(payload[record.start : record.end] for record in scanned) == payload


@given(records=record_lists, most=st.integers(1, 5))
def test_pieces_are_what_the_whole_is(records: list[RecordParts], most: int) -> None:
    """The same records, so many at a time; a batch that is cut or goes on is refused all the same."""
    batch = build_batch(records)
    header, payload = decode_header(batch), bytes(batch[HEADER_BYTES:])
    pieces = list(scan_pieces(payload, header, most))
    assert [record for piece in pieces for record in piece] == scan_records(payload, header)
    assert all(len(piece) == most for piece in pieces[:-1])
    for wrong in (payload[:-1], payload + b"\x00"):
        with pytest.raises(InvalidRecord):
            list(scan_pieces(wrong, header, most))


def test_the_scanner_wants_rising_offsets_within_the_batch() -> None:
    """Compaction trusts offsets, so repeated, falling, negative and overrunning ones are refused."""
    batch = build_batch([(1, b"a", b"b", ()), (1, b"a", b"b", ())])
    header = decode_header(batch)
    payload = bytearray(batch[HEADER_BYTES:])
    size = len(payload) // 2
    for offset in (0, 1, 3, 4):  # zigzag: 0, -1, -2, 2
        payload[size + 3] = offset
        with pytest.raises(InvalidRecord):
            scan_records(bytes(payload), header)
    payload[size + 3] = 2
    assert len(scan_records(bytes(payload), header)) == 2
