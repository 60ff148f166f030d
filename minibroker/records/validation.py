"""What a broker checks before it appends a producer's batch, and the little it may change in it.

The header, the CRC and the counts are checked always; single records are visited only where a topic's settings demand
it: keys (a compacted topic), timestamps that the header alone cannot vouch for, another codec. Each refusal has Kafka's
code, and where records are to blame `record_errors` names them (Produce v8, KIP-467).
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from minibroker.protocol.errors import CorruptMessage, InvalidRecord, InvalidTimestamp, KafkaError, MessageTooLarge
from minibroker.records.batch import (
    CONTROL_BIT,
    HEADER_BYTES,
    MAGIC,
    MAGIC_POSITION,
    NO_PRODUCER_ID,
    NO_TIMESTAMP,
    TIMESTAMP_TYPE_BIT,
    TRANSACTIONAL_BIT,
    BatchHeader,
    TimestampType,
    decode_header,
    verify_crc,
)
from minibroker.records.compression import Codec, codec_of
from minibroker.records.record import read_payload
from minibroker.records.rewrite import recompress, stamp
from minibroker.records.scan import ScannedRecord, scan_pieces

SMALLEST_RECORD_BYTES = 7  # one byte for each of its parts
MAX_RECORDS = 1_000_000
"""In one batch: the most that any client makes (librdkafka's `batch.num.messages`). A compressed megabyte could claim
twenty times as many, which would cost whoever visits them minutes and gigabytes."""
MAX_TIMESTAMP_MS = 2**63 - 1
HOUR_MS = 3_600_000
SHOWN_RECORD_ERRORS = 3
MOST_RECORD_ERRORS = 100
"""So many records of a batch are named: a batch of a kilobyte may have a million that are at fault."""
PASSING_RECORDS = 5_000
"""What may be visited in passing: it takes ten milliseconds."""
PASSING_BYTES = 65_536
"""What may be unpacked, or packed in another codec, in passing: the slowest level of zstd takes thirty milliseconds."""

PIECE_RECORDS = 500
REST_S = 0.0001
"""Whoever visits more than that does it beside the event loop, which would get the interpreter but every five milliseconds:
a rest after each piece, of a millisecond, hands it over as soon as it is wanted."""


class Laborious(Exception):
    """The records of a batch have to be visited or packed anew, and that would take too long to do it in passing."""


@attrs.frozen(kw_only=True)
class BatchLimits:
    """What a topic's settings ask of a batch; the defaults are Kafka's."""

    max_message_bytes: int = 1_048_588
    """Of the whole batch as it is stored, header included (`max.message.bytes`)."""

    max_decompressed_bytes: int = 64 * 1024 * 1024
    """Of its records; asked only where they are visited."""

    timestamp_type: TimestampType = TimestampType.CREATE_TIME
    timestamp_before_max_ms: int = MAX_TIMESTAMP_MS
    timestamp_after_max_ms: int = HOUR_MS
    compacted: bool = False
    """Whether every record needs a key."""

    codec: Codec | None = None
    """What batches are stored with (`compression.type`); None leaves it to the producer."""

    codec_level: int | None = None


def admit_batch(
    batch: memoryview, limits: BatchLimits, now_ms: int, *, in_passing: bool = False
) -> tuple[memoryview, BatchHeader]:
    """Check a producer's batch and make of it what is to be stored: the same memory unless another codec is due.

    Raises what `validate_batch` does, and MessageTooLarge if the batch grew too large in the other codec. Safe in any
    thread.
    """
    header = validate_batch(batch, limits, now_ms, in_passing=in_passing)
    if limits.codec is None or header.codec is limits.codec:
        return batch, header
    with _limited(header, limits, in_passing) as most:
        stored, header = recompress(batch, header, limits.codec, limits.codec_level, max_bytes=most)
    _check_size(len(stored), limits)
    return memoryview(stored), header


def validate_batch(batch: memoryview, limits: BatchLimits, now_ms: int, *, in_passing: bool = False) -> BatchHeader:
    """Check one batch of a producer and return its header; `batch` must be writable, as its time may be set in place.

    Raises CorruptMessage (bytes damaged on the way), InvalidRecord (a batch that contradicts itself, or records that
    are not allowed here), MessageTooLarge, InvalidTimestamp, UnsupportedCompressionType; Laborious only `in_passing`.
    """
    header = _decode(batch)
    size_bytes = len(batch)
    _check_size(size_bytes, limits)
    verify_crc(batch)
    _check_header(header, size_bytes)
    if limits.compacted:
        _check_records(batch, header, limits, _reject_keyless, InvalidRecord, in_passing)
    if limits.timestamp_type is TimestampType.LOG_APPEND_TIME:
        return stamp(batch, header, TimestampType.LOG_APPEND_TIME, now_ms)
    return _check_timestamps(batch, header, limits, now_ms, in_passing)


def _decode(batch: memoryview) -> BatchHeader:
    size_bytes = len(batch)
    if size_bytes > MAGIC_POSITION and batch[MAGIC_POSITION] < MAGIC:
        raise InvalidRecord(f"magic {batch[MAGIC_POSITION]}: only record batches of format v2 are accepted")
    if not size_bytes:
        raise InvalidRecord("a request must bring one batch for each partition it names")
    header = decode_header(batch)
    if header.size_bytes > size_bytes:
        raise CorruptMessage(f"a batch of {header.size_bytes} bytes is cut short at {size_bytes}")
    if header.size_bytes < size_bytes:
        raise InvalidRecord("a request must bring exactly one batch for a partition")
    return header


def _check_size(size_bytes: int, limits: BatchLimits) -> None:
    if size_bytes > limits.max_message_bytes:
        raise MessageTooLarge(
            f"the batch has {size_bytes} bytes, the topic's max.message.bytes is {limits.max_message_bytes}"
        )


def _check_header(header: BatchHeader, size_bytes: int) -> None:
    """Refuse a batch that contradicts itself, or claims what is not a producer's to claim."""
    # Unpacked at once: this runs for every request, and a property costs as much as all these comparisons.
    base_offset, _, _, _, _, attributes, last_offset_delta, _, _, producer_id, epoch, sequence, count = header
    codec = codec_of(attributes)
    if base_offset != 0:
        raise InvalidRecord(f"a producer's batch has base offset 0, not {base_offset}")
    if count <= 0 or count != last_offset_delta + 1:
        raise InvalidRecord(f"{count} records do not fit a last offset delta of {last_offset_delta}")
    if count > MAX_RECORDS:
        raise InvalidRecord(f"{count} records are more than the {MAX_RECORDS} that a batch may have")
    if codec is Codec.NONE and count * SMALLEST_RECORD_BYTES > size_bytes - HEADER_BYTES:
        raise InvalidRecord(f"{count} records do not fit in {size_bytes} bytes")
    if attributes & CONTROL_BIT:
        raise InvalidRecord("a producer cannot write control records")
    if producer_id < 0:
        # Some clients leave 0 in the other producer fields; Kafka does not look at them either.
        if attributes & TRANSACTIONAL_BIT or producer_id != NO_PRODUCER_ID:
            raise InvalidRecord(f"producer id {producer_id} is none")
    elif sequence < 0 or epoch < 0:
        raise InvalidRecord(f"producer {producer_id} has epoch {epoch} and sequence {sequence}")


def _check_timestamps(
    batch: memoryview, header: BatchHeader, limits: BatchLimits, now_ms: int, in_passing: bool
) -> BatchHeader:
    """Check the producer's times. The header's maximum speaks for all records while only the latest counts.

    Returns the header, mended if its maximum is found to be wrong: searches by time rely on it.
    """
    if header.attributes & TIMESTAMP_TYPE_BIT:
        raise InvalidTimestamp("a producer cannot set the timestamp type LogAppendTime")
    earliest = now_ms - limits.timestamp_before_max_ms
    latest = now_ms + limits.timestamp_after_max_ms
    base = header.base_timestamp
    if base <= header.max_timestamp <= latest and earliest <= 0:
        return header

    def reject_out_of_range(record: ScannedRecord) -> str | None:
        timestamp = base + record.timestamp_delta
        if timestamp == NO_TIMESTAMP or earliest <= timestamp <= latest:
            return None
        return f"timestamp {timestamp} is not within {max(earliest, 0)} and {latest}"

    maximum = base + _check_records(batch, header, limits, reject_out_of_range, InvalidTimestamp, in_passing)
    return header if maximum == header.max_timestamp else stamp(batch, header, header.timestamp_type, maximum)


def _check_records(
    batch: memoryview,
    header: BatchHeader,
    limits: BatchLimits,
    reject: Callable[[ScannedRecord], str | None],
    error: type[KafkaError],
    in_passing: bool,
) -> int:
    """Visit every record; return the largest timestamp delta.

    Raises `error` with the index and the fault of each that `reject` names, or of the first of them if they are many.
    """
    if in_passing and header.codec is Codec.NONE and header.record_count <= PASSING_RECORDS:
        in_passing = False  # it has the size that it came with
    with _limited(header, limits, in_passing) as most:
        payload = read_payload(batch, header, most)
    faults: list[tuple[int, str]] = []
    faulty = 0
    maximum = -sys.maxsize
    for records in scan_pieces(payload, header, PIECE_RECORDS):
        if header.record_count > PASSING_RECORDS:
            time.sleep(REST_S)
        # As many offsets as records, and they rise: an offset is an index.
        wrong = [(record.offset_delta, fault) for record in records if (fault := reject(record)) is not None]
        faulty += len(wrong)
        faults += wrong[: MOST_RECORD_ERRORS - len(faults)]
        maximum = max(maximum, max([record.timestamp_delta for record in records]))
    if faulty:
        shown = "; ".join(f"record {index}: {fault}" for index, fault in faults[:SHOWN_RECORD_ERRORS])
        raise error(f"{faulty} of {header.record_count} records are refused: {shown}", faults)
    return maximum


def _reject_keyless(record: ScannedRecord) -> str | None:
    return "a compacted topic needs a key" if record.key is None else None


@contextmanager
def _limited(header: BatchHeader, limits: BatchLimits, in_passing: bool) -> Iterator[int]:
    """How many bytes records may become when they are unpacked. Raises Laborious if that is too few in passing."""
    if not in_passing:
        yield limits.max_decompressed_bytes
        return
    if header.record_count > PASSING_RECORDS:
        raise Laborious
    try:
        yield min(limits.max_decompressed_bytes, PASSING_BYTES)
    except CorruptMessage:
        raise Laborious from None
