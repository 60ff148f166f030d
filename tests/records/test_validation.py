"""What a broker admits, what it refuses and how it says so."""

import struct
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.protocol.errors import (
    CorruptMessage,
    InvalidRecord,
    InvalidTimestamp,
    KafkaError,
    MessageTooLarge,
    UnsupportedCompressionType,
)
from minibroker.records import validation
from minibroker.records.batch import HEADER_BYTES, TimestampType, decode_header, verify_crc, write_header
from minibroker.records.builder import BatchBuilder, build_batch
from minibroker.records.compression import Codec
from minibroker.records.record import read_records
from minibroker.records.validation import (
    PASSING_BYTES,
    PASSING_RECORDS,
    PIECE_RECORDS,
    BatchLimits,
    Laborious,
    admit_batch,
    validate_batch,
)
from tests.records.strategies import many_records

NOW = 1_700_000_000_000
LIMITS = BatchLimits()
MIB = 1024 * 1024


def changed(batch: bytearray, **fields: Any) -> memoryview:
    """The batch with other header fields under a right CRC."""
    write_header(batch, decode_header(batch)._replace(**fields))
    return memoryview(batch)


def keyed(count: int = 4, codec: Codec = Codec.NONE) -> bytearray:
    return build_batch([(NOW + index, b"key", b"value", ()) for index in range(count)], codec)


@pytest.mark.parametrize("codec", Codec)
def test_a_good_batch_is_admitted_as_it_is(codec: Codec) -> None:
    """The same memory, not a byte changed, in every codec."""
    batch = build_batch(many_records(100), codec, producer_id=5, producer_epoch=0, base_sequence=0)
    before = bytes(batch)
    view = memoryview(batch)
    stored, header = admit_batch(view, LIMITS, NOW)
    assert stored is view
    assert bytes(stored) == before
    assert header == decode_header(before)


def test_every_truncation_is_refused() -> None:
    """A request whose records are cut at any byte."""
    batch = keyed()
    for size in range(len(batch)):
        with pytest.raises((CorruptMessage, InvalidRecord)):
            validate_batch(memoryview(batch)[:size], LIMITS, NOW)


def test_every_flipped_bit_is_refused() -> None:
    """Except in the leader epoch, which is the broker's to set, and in a base offset's place it is not 0."""
    batch = keyed(1)
    for position in [*range(12), *range(16, len(batch))]:
        for bit in range(8):
            batch[position] ^= 1 << bit
            with pytest.raises((CorruptMessage, InvalidRecord, MessageTooLarge)):
                validate_batch(memoryview(batch), LIMITS, NOW)
            batch[position] ^= 1 << bit


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    """With a Kafka error, whatever the bytes."""
    with pytest.raises(KafkaError):
        validate_batch(memoryview(bytearray(garbage)), LIMITS, NOW)


def test_old_formats_and_several_batches_are_invalid() -> None:
    """Not corrupt: a client would send the same bytes again."""
    batch = keyed()
    with pytest.raises(InvalidRecord, match="exactly one"):
        validate_batch(memoryview(batch + batch), LIMITS, NOW)
    for magic in (0, 1):
        batch[16] = magic
        with pytest.raises(InvalidRecord, match="v2"):
            validate_batch(memoryview(batch), LIMITS, NOW)


@pytest.mark.parametrize(
    "fields",
    [
        {"record_count": 0},
        {"record_count": -1},
        {"record_count": 3},
        {"record_count": 0, "last_offset_delta": -1},
        {"record_count": 1000, "last_offset_delta": 999},
        {"last_offset_delta": 4},
        {"last_offset_delta": -1},
        {"base_offset": 1},
        {"attributes": 0x20},
        {"attributes": 0x10},
        {"producer_id": -2},
        {"producer_id": 5, "producer_epoch": 0, "base_sequence": -1},
        {"producer_id": 5, "producer_epoch": -1, "base_sequence": 0},
    ],
    ids=str,
)
def test_a_batch_that_contradicts_itself_is_invalid(fields: dict[str, int]) -> None:
    """Its CRC is right, so it was made so."""
    with pytest.raises(InvalidRecord):
        validate_batch(changed(keyed(), **fields), LIMITS, NOW)


def test_producer_fields_without_a_producer_are_not_looked_at() -> None:
    """kafkajs sends epoch 0 and sequence 0 with producer id -1."""
    validate_batch(changed(keyed(), producer_epoch=0, base_sequence=0), LIMITS, NOW)


@pytest.mark.parametrize("number", [5, 6, 7])
def test_unknown_codecs(number: int) -> None:
    """They have their own error, so that a client does not retry."""
    with pytest.raises(UnsupportedCompressionType):
        validate_batch(changed(keyed(), attributes=number), LIMITS, NOW)


def test_size_limit() -> None:
    """max.message.bytes counts the whole batch; it is asked before the CRC costs anything."""
    batch = keyed()
    limits = BatchLimits(max_message_bytes=len(batch))
    validate_batch(memoryview(batch), limits, NOW)
    with pytest.raises(MessageTooLarge, match=str(len(batch))):
        validate_batch(memoryview(batch), BatchLimits(max_message_bytes=len(batch) - 1), NOW)


@pytest.mark.parametrize("codec", Codec)
def test_compacted_topics_need_keys(codec: Codec) -> None:
    """Each keyless record is named by its index."""
    limits = BatchLimits(compacted=True)
    validate_batch(memoryview(keyed(codec=codec)), limits, NOW)
    batch = build_batch([(NOW, key, b"v", ()) for key in (b"a", None, b"", None)], codec)
    with pytest.raises(InvalidRecord) as caught:
        validate_batch(memoryview(batch), limits, NOW)
    assert [index for index, _ in caught.value.record_errors] == [1, 3]
    assert "record 1: " in caught.value.message


def test_damaged_records_are_found_where_records_are_visited() -> None:
    """A damaged stream is corrupt, damaged records are invalid, a bomb stays unexploded."""
    limits = BatchLimits(compacted=True, max_decompressed_bytes=MIB)
    batch = keyed(codec=Codec.GZIP)
    batch[HEADER_BYTES + 20] ^= 0xFF
    with pytest.raises(CorruptMessage):
        validate_batch(changed(batch), limits, NOW)
    batch = keyed()
    batch[HEADER_BYTES] ^= 0x04
    with pytest.raises(InvalidRecord):
        validate_batch(changed(batch), limits, NOW)
    bomb = build_batch([(NOW, b"key", bytes(2 * MIB), ())], Codec.ZSTD)
    with pytest.raises(CorruptMessage):
        validate_batch(memoryview(bomb), limits, NOW)


def test_times_too_far_ahead() -> None:
    """An hour is Kafka's default; the records at fault are named."""
    hour = 3_600_000
    times = [NOW, NOW + hour, NOW + hour + 1, NOW + 10 * hour]
    validate_batch(memoryview(build_batch([(time, None, b"", ()) for time in times[:2]])), LIMITS, NOW)
    batch = build_batch([(time, None, b"", ()) for time in times], Codec.LZ4)
    with pytest.raises(InvalidTimestamp) as caught:
        validate_batch(memoryview(batch), LIMITS, NOW)
    assert [index for index, _ in caught.value.record_errors] == [2, 3]


def test_times_too_far_back() -> None:
    """Only where the topic limits them; a record without a time has none to check."""
    limits = BatchLimits(timestamp_before_max_ms=1000)
    batch = build_batch([(time, None, b"", ()) for time in (NOW - 1000, NOW, -1, NOW - 1001)])
    validate_batch(memoryview(batch), LIMITS, NOW)
    with pytest.raises(InvalidTimestamp) as caught:
        validate_batch(memoryview(batch), limits, NOW)
    assert [index for index, _ in caught.value.record_errors] == [3]
    validate_batch(memoryview(build_batch([(-1, None, b"", ())])), limits, NOW)


@pytest.mark.parametrize("claimed", [0, -1, NOW + 10**10])
def test_a_wrong_max_timestamp_is_mended(claimed: int) -> None:
    """Searches by time rely on it, so a header that cannot be right is checked against the records."""
    batch = build_batch([(NOW + 5, b"k", b"", ()), (NOW + 9, b"k", b"", ()), (NOW, b"k", b"", ())])
    header = validate_batch(changed(batch, max_timestamp=claimed), LIMITS, NOW)
    assert header.max_timestamp == NOW + 9
    assert decode_header(batch) == header
    verify_crc(batch)


def test_producers_cannot_claim_append_time() -> None:
    """Only the broker stamps so."""
    builder = BatchBuilder(timestamp_type=TimestampType.LOG_APPEND_TIME)
    builder.append(NOW, None, b"")
    with pytest.raises(InvalidTimestamp):
        validate_batch(memoryview(builder.build()), LIMITS, NOW)


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.ZSTD])
def test_append_time_is_stamped_without_touching_records(codec: Codec) -> None:
    """Type, max timestamp and CRC change in place, whatever time the producer wrote."""
    batch = build_batch([(5, b"k", b"a", ()), (NOW * 2, b"k", b"b", ())], codec)
    records = bytes(batch[HEADER_BYTES:])
    header = validate_batch(memoryview(batch), BatchLimits(timestamp_type=TimestampType.LOG_APPEND_TIME), NOW)
    verify_crc(batch)
    assert decode_header(batch) == header
    assert (header.timestamp_type, header.max_timestamp) == (TimestampType.LOG_APPEND_TIME, NOW)
    assert bytes(batch[HEADER_BYTES:]) == records
    assert {record.timestamp_ms for record in read_records(batch, max_bytes=MIB)} == {NOW}


@pytest.mark.parametrize("before", Codec)
@pytest.mark.parametrize("after", Codec)
def test_the_topics_codec(before: Codec, after: Codec) -> None:
    """A batch is stored in the topic's codec; all but the compression stays."""
    records = many_records(200)
    batch = build_batch(records, before, producer_id=5, producer_epoch=2, base_sequence=9)
    original = decode_header(batch)
    stored, header = admit_batch(memoryview(batch), BatchLimits(codec=after), NOW)
    verify_crc(stored)
    assert decode_header(stored) == header
    assert (header.codec, header.size_bytes) == (after, len(stored))
    changes = {"attributes": header.attributes, "batch_length": header.batch_length, "crc": header.crc}
    assert original._replace(**changes) == header
    assert [record[1:] for record in read_records(stored, max_bytes=MIB)] == [tuple(record) for record in records]


def test_a_batch_that_grows_beyond_the_limit() -> None:
    """Stored uncompressed, a small batch may become too large."""
    batch = build_batch([(NOW, None, bytes(10_000), ())], Codec.GZIP)
    with pytest.raises(MessageTooLarge):
        admit_batch(memoryview(batch), BatchLimits(codec=Codec.NONE, max_message_bytes=5000), NOW)


def test_nothing_is_compressed_that_could_not_be_unpacked() -> None:
    """A large batch that is not compressed stays so, or is refused where the topic wants it compressed."""
    limits = BatchLimits(compacted=True, max_decompressed_bytes=1024)
    batch = build_batch([(NOW, b"key", bytes(2000), ())])
    admit_batch(memoryview(batch), limits, NOW)
    with pytest.raises(CorruptMessage, match="compressed"):
        admit_batch(memoryview(batch), attrs.evolve(limits, codec=Codec.ZSTD), NOW)


def test_a_length_far_beyond_the_request_is_corrupt() -> None:
    """The length is a claim; nothing is allocated for it."""
    batch = keyed()
    struct.pack_into(">i", batch, 8, 2**31 - 1)
    with pytest.raises(CorruptMessage):
        validate_batch(memoryview(batch), LIMITS, NOW)


# In passing ---------------------------------------------------------------------------------------------------------

ZEROS = bytes(2 * PASSING_BYTES)
LABORIOUS = {
    "many records for a compacted topic": (BatchLimits(compacted=True), [b""] * (PASSING_RECORDS + 1), Codec.NONE, 0),
    "large records for a compacted topic": (BatchLimits(compacted=True), [ZEROS], Codec.ZSTD, 0),
    "many records with a doubtful time": (LIMITS, [b""] * (PASSING_RECORDS + 1), Codec.NONE, -5),
    "large records with a doubtful time": (LIMITS, [ZEROS], Codec.GZIP, -5),
    "many records for another codec": (BatchLimits(codec=Codec.LZ4), [b""] * (PASSING_RECORDS + 1), Codec.NONE, 0),
    "large records for another codec": (BatchLimits(codec=Codec.LZ4), [ZEROS], Codec.SNAPPY, 0),
    "large plain records for another codec": (BatchLimits(codec=Codec.LZ4), [ZEROS], Codec.NONE, 0),
}


@pytest.mark.parametrize(("limits", "values", "codec", "lie_ms"), LABORIOUS.values(), ids=list(LABORIOUS))
def test_what_takes_long_is_not_done_in_passing(
    limits: BatchLimits, values: list[bytes], codec: Codec, lie_ms: int
) -> None:
    """It is left to whoever has time, and is admitted there as if it had never been tried before."""
    batch = build_batch([(NOW, b"key", value, ()) for value in values], codec)
    view = changed(batch, max_timestamp=NOW + lie_ms)
    untouched = memoryview(bytearray(view))
    with pytest.raises(Laborious):
        admit_batch(view, limits, NOW, in_passing=True)
    stored, header = admit_batch(view, limits, NOW)
    assert (bytes(stored), header) == (bytes(admit_batch(untouched, limits, NOW)[0]), decode_header(stored))


@pytest.mark.parametrize("codec", Codec)
def test_what_needs_no_visit_is_admitted_in_passing_whatever_its_size(codec: Codec) -> None:
    """Nobody unpacks it."""
    records = [(NOW, b"key", ZEROS, ()), *[(NOW, b"key", b"", ())] * PASSING_RECORDS]
    batch = memoryview(build_batch(records, codec))
    stored, _ = admit_batch(batch, BatchLimits(max_message_bytes=len(batch)), NOW, in_passing=True)
    assert stored is batch


@pytest.mark.parametrize("codec", Codec)
def test_what_is_small_is_done_in_passing(codec: Codec) -> None:
    """A visit, and another codec."""
    for limits in (BatchLimits(compacted=True), BatchLimits(codec=Codec.GZIP)):
        stored, _ = admit_batch(memoryview(keyed(100, codec)), limits, NOW, in_passing=True)
        assert len(read_records(stored, max_bytes=MIB)) == 100
        with pytest.raises(KafkaError):
            admit_batch(memoryview(keyed(100, codec))[:-1], limits, NOW, in_passing=True)


def test_of_many_faults_the_first_are_named() -> None:
    """With their number: an answer would be larger than its request by far. Those behind the first piece are found too."""
    records = [(NOW, b"key" if index < PASSING_RECORDS else None, b"", ()) for index in range(PASSING_RECORDS + 500)]
    with pytest.raises(InvalidRecord, match="500 of 5500 records") as caught:
        validate_batch(memoryview(build_batch(records, Codec.ZSTD)), BatchLimits(compacted=True), NOW)
    assert [index for index, _ in caught.value.record_errors] == list(range(PASSING_RECORDS, PASSING_RECORDS + 100))


def test_a_long_visit_hands_the_interpreter_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each piece; a visit in passing, by the event loop itself, never rests."""
    rests: list[float] = []
    monkeypatch.setattr(validation.time, "sleep", rests.append)
    limits = BatchLimits(compacted=True)
    admit_batch(memoryview(keyed(PASSING_RECORDS)), limits, NOW, in_passing=True)
    assert not rests
    validate_batch(memoryview(keyed(PASSING_RECORDS + 1)), limits, NOW)
    assert len(rests) == PASSING_RECORDS // PIECE_RECORDS + 1
