"""The changes a broker makes to a batch when a topic's settings demand it: another codec, its own time.

Each keeps what is not its own business: offsets, sequence numbers, producer, the bytes of the records.
"""

from minibroker.protocol.errors import CorruptMessage
from minibroker.records.batch import (
    HEADER_BYTES,
    LOG_OVERHEAD_BYTES,
    TIMESTAMP_TYPE_BIT,
    BatchHeader,
    TimestampType,
    write_header,
)
from minibroker.records.compression import Buffer, Codec, compress
from minibroker.records.record import read_payload

CODEC_BITS = 0x07


def recompress(
    batch: Buffer, header: BatchHeader, codec: Codec, level: int | None = None, *, max_bytes: int
) -> tuple[bytearray, BatchHeader]:
    """The batch with its records in another codec (or in none), and its header.

    Raises CorruptMessage if the records are damaged or exceed `max_bytes` when decompressed.
    """
    payload = read_payload(batch, header, max_bytes)
    if len(payload) > max_bytes:  # what was not compressed: compressed, nobody here could read it
        raise CorruptMessage(f"records of {len(payload)} bytes, of which {max_bytes} may be compressed")
    return with_payload(header._replace(attributes=header.attributes & ~CODEC_BITS | codec), payload, level)


def with_payload(header: BatchHeader, payload: Buffer, level: int | None = None) -> tuple[bytearray, BatchHeader]:
    """A batch of `header` and plain records, compressed as the header says; length and CRC are set."""
    batch = bytearray(HEADER_BYTES)
    batch += payload if header.codec is Codec.NONE else compress(header.codec, payload, level)
    header = write_header(batch, header._replace(batch_length=len(batch) - LOG_OVERHEAD_BYTES))
    return batch, header


def stamp(
    batch: bytearray | memoryview, header: BatchHeader, timestamp_type: TimestampType, max_timestamp: int
) -> BatchHeader:
    """Set timestamp type and max timestamp in place, without a look at the records; returns the new header."""
    attributes = header.attributes & ~TIMESTAMP_TYPE_BIT | TIMESTAMP_TYPE_BIT * timestamp_type
    return write_header(batch, header._replace(attributes=attributes, max_timestamp=max_timestamp))
