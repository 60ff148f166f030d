"""What compaction makes of a batch when some of its records go.

The batch keeps its place and its producer: base offset, last offset, epoch, sequence number. So offsets never change,
and who rebuilds the state of idempotent producers from headers still finds it, even in a batch without any record left.
"""

from collections.abc import Sequence

from minibroker.records.batch import DELETE_HORIZON_BIT, TIMESTAMP_TYPE_BIT, BatchHeader
from minibroker.records.rewrite import CODEC_BITS, with_payload
from minibroker.records.scan import ScannedRecord
from minibroker.records.varint import encode_varint

MAX_TIMESTAMP_DELTA = 2**63 - 1


def retain_records(
    header: BatchHeader, payload: bytes, records: Sequence[ScannedRecord], *, delete_horizon_ms: int | None = None
) -> tuple[bytearray, BatchHeader]:
    """The batch with only `records`, at least one, of its decompressed `payload`, in the codec it had.

    `delete_horizon_ms` marks from when on its tombstones may go (KIP-534). The mark takes the place of the base
    timestamp, so the records are written anew with their distance to it; a batch that has a mark keeps it.
    """
    header = header._replace(record_count=len(records))
    if not header.attributes & TIMESTAMP_TYPE_BIT:
        latest = max(record.timestamp_delta for record in records)
        header = header._replace(max_timestamp=header.base_timestamp + latest)
    if delete_horizon_ms is not None and header.delete_horizon_ms is None:
        shift = header.base_timestamp - delete_horizon_ms
        if all(abs(record.timestamp_delta + shift) <= MAX_TIMESTAMP_DELTA for record in records):
            header = header._replace(
                attributes=header.attributes | DELETE_HORIZON_BIT, base_timestamp=delete_horizon_ms
            )
            return with_payload(header, b"".join([_moved(payload, record, shift) for record in records]))
    return with_payload(header, b"".join([payload[record.start : record.end] for record in records]))


def empty_batch(header: BatchHeader) -> tuple[bytearray, BatchHeader]:
    """The batch without its records: only offsets, producer and times are left."""
    return with_payload(header._replace(attributes=header.attributes & ~CODEC_BITS, record_count=0), b"")


def _moved(payload: bytes, record: ScannedRecord, shift: int) -> bytes:
    """One record as it is in a batch whose base timestamp is earlier by `shift` ms."""
    body = b"\x00" + encode_varint(record.timestamp_delta + shift) + payload[record.offset_position : record.end]
    return encode_varint(len(body)) + body
