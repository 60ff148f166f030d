"""The header of a record batch (format v2, magic 2): 61 bytes, then the records, compressed or not.

    position  bytes  field
           0      8  base offset             patched by the broker
           8      4  batch length            of everything after this field
          12      4  partition leader epoch  patched by the broker
          16      1  magic                   2
          17      4  CRC-32C                 of everything after this field
          21      2  attributes              0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
          23      4  last offset delta
          27      8  base timestamp          or the delete horizon (KIP-534)
          35      8  max timestamp
          43      8  producer id
          51      2  producer epoch
          53      4  base sequence
          57      4  record count

The base offset and the leader epoch lie outside the CRC, so a broker places a batch in its log without reading it.
Source: https://kafka.apache.org/documentation/#recordbatch
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from fastcrc import crc32

from minibroker.protocol.errors import CorruptMessage
from minibroker.records.compression import CODEC_BITS, Buffer, Codec, codec_of

HEADER_BYTES = 61
LOG_OVERHEAD_BYTES = 12  # base offset and batch length: what the batch length does not count
LEADER_EPOCH_POSITION = 12
MAGIC_POSITION = 16
CRC_POSITION = 17
ATTRIBUTES_POSITION = 21  # where the CRC's range begins
MAGIC = 2

TIMESTAMP_TYPE_BIT = 0x08
TRANSACTIONAL_BIT = 0x10
CONTROL_BIT = 0x20
DELETE_HORIZON_BIT = 0x40

NO_TIMESTAMP = -1
NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1
NO_SEQUENCE = -1
NO_LEADER_EPOCH = -1
LEADER_EPOCH = 0
"""Of every batch in a log of ours: a broker that is alone was ever its leader."""
MAX_SEQUENCE = 2**31 - 1  # sequences wrap to 0 after it

HEADER = struct.Struct(">qiibIhiqqqhii")
_I64 = struct.Struct(">q")
_I32 = struct.Struct(">i")
_U32 = struct.Struct(">I")


class TimestampType(IntEnum):
    """Who stamped the records of a batch: the producer, or the broker when it appended them."""

    CREATE_TIME = 0
    LOG_APPEND_TIME = 1


class BatchHeader(NamedTuple):
    """The header of one batch. A tuple, because a broker makes one per request and attrs costs three times as much."""

    base_offset: int
    batch_length: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size_bytes(self) -> int:
        """The whole batch, header included."""
        return self.batch_length + LOG_OVERHEAD_BYTES

    @property
    def last_offset(self) -> int:
        """The offset of the last record, or of the last that was there before compaction."""
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        """The offset after the batch."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def codec(self) -> Codec:
        """How the records are compressed; raises UnsupportedCompressionType for a number that has no meaning."""
        return codec_of(self.attributes)

    @property
    def is_compressed(self) -> bool:
        """Whether there is a codec, if only a number that has no meaning."""
        return bool(self.attributes & CODEC_BITS)

    @property
    def timestamp_type(self) -> TimestampType:
        """Whether the producer or the broker stamped the records."""
        return TimestampType.LOG_APPEND_TIME if self.attributes & TIMESTAMP_TYPE_BIT else TimestampType.CREATE_TIME

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction."""
        return bool(self.attributes & TRANSACTIONAL_BIT)

    @property
    def is_control(self) -> bool:
        """Whether it holds markers of the broker in place of records of a producer."""
        return bool(self.attributes & CONTROL_BIT)

    @property
    def delete_horizon_ms(self) -> int | None:
        """When the tombstones of a compacted batch may go (KIP-534), in ms; None before its first compaction."""
        return self.base_timestamp if self.attributes & DELETE_HORIZON_BIT else None

    @property
    def last_sequence(self) -> int:
        """The producer's sequence number of the last record; -1 without one."""
        if self.base_sequence == NO_SEQUENCE:
            return NO_SEQUENCE
        return (self.base_sequence + self.last_offset_delta) & MAX_SEQUENCE

    def assigned(self, base_offset: int, leader_epoch: int) -> "BatchHeader":
        """The header that `assign` leaves behind."""
        return BatchHeader._make((base_offset, self[1], leader_epoch, *self[3:]))


def decode_header(buffer: Buffer, position: int = 0) -> BatchHeader:
    """Read the header of the batch at `position`; the batch itself need not be whole.

    Raises CorruptMessage if the header is cut short, has another magic than 2, or a length too small to hold itself.
    """
    try:
        header = BatchHeader._make(HEADER.unpack_from(buffer, position))
    except struct.error:
        raise CorruptMessage(f"a batch header has {HEADER_BYTES} bytes, {len(buffer) - position} are left") from None
    if header.magic != MAGIC:
        raise CorruptMessage(f"magic {header.magic} where a record batch has {MAGIC}")
    if header.batch_length < HEADER_BYTES - LOG_OVERHEAD_BYTES:
        raise CorruptMessage(f"a batch length of {header.batch_length} bytes does not hold the header")
    return header


def iter_batches(buffer: Buffer) -> Iterator[tuple[BatchHeader, memoryview]]:
    """The batches of `buffer` one after another, as views.

    Stops in front of an incomplete last batch: a fetch response may end with one. Raises CorruptMessage like
    `decode_header`; CRCs are the caller's business.
    """
    view = memoryview(buffer)
    position = 0
    while len(view) - position >= HEADER_BYTES:
        header = decode_header(view, position)
        end = position + header.size_bytes
        if end > len(view):
            return
        yield header, view[position:end]
        position = end


def compute_crc(batch: Buffer) -> int:
    """The CRC-32C a batch should carry."""
    return crc32.iscsi(memoryview(batch)[ATTRIBUTES_POSITION:])


def verify_crc(batch: Buffer) -> None:
    """Check a whole batch against its CRC; raises CorruptMessage."""
    (stored,) = _U32.unpack_from(batch, CRC_POSITION)
    computed = compute_crc(batch)
    if stored != computed:
        raise CorruptMessage(f"the batch has CRC {computed:#010x} but says {stored:#010x}")


def write_header(batch: bytearray | memoryview, header: BatchHeader) -> BatchHeader:
    """Store `header` in front of the records, with the CRC they need; returns it with that CRC."""
    HEADER.pack_into(batch, 0, *header)
    crc = compute_crc(batch)
    _U32.pack_into(batch, CRC_POSITION, crc)
    return header._replace(crc=crc)


def assign(batch: bytearray | memoryview, base_offset: int, leader_epoch: int) -> None:
    """Give a batch its place in the log, in place: base offset and leader epoch, the two fields the CRC leaves out."""
    _I64.pack_into(batch, 0, base_offset)
    _I32.pack_into(batch, LEADER_EPOCH_POSITION, leader_epoch)
