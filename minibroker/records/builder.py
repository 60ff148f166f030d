"""Builds a record batch from single records: the hot loop of a producer."""

from collections.abc import Iterable, Sequence

import attrs

from minibroker.records.batch import (
    CONTROL_BIT,
    HEADER_BYTES,
    LOG_OVERHEAD_BYTES,
    MAGIC,
    NO_LEADER_EPOCH,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    NO_TIMESTAMP,
    TIMESTAMP_TYPE_BIT,
    TRANSACTIONAL_BIT,
    BatchHeader,
    TimestampType,
    write_header,
)
from minibroker.records.compression import Codec, compress
from minibroker.records.varint import SMALL_VARINTS, encode_varint

RECORD_OVERHEAD_BYTES = 36  # of a record without headers at most: five varints of 5 bytes, one of 10, attributes
HEADER_OVERHEAD_BYTES = 10

_TABLE_END = len(SMALL_VARINTS)
_ATTRIBUTES = _NO_HEADERS = b"\x00"
_NULL = b"\x01"  # a length of -1

RecordHeaders = Sequence[tuple[str, bytes | None]]


def max_record_bytes(key: bytes | None, value: bytes | None, headers: RecordHeaders = ()) -> int:
    """An upper bound of what one record adds to a batch: to ask before an append whether it still has room."""
    size = RECORD_OVERHEAD_BYTES + len(key or b"") + len(value or b"")
    for name, content in headers:
        size += HEADER_OVERHEAD_BYTES + 4 * len(name) + len(content or b"")
    return size


@attrs.define(eq=False)
class BatchBuilder:
    """Collects records and builds their batch. Offsets count up from the base offset.

    Producer fields may be set until `build`, and set anew to build once more: a producer knows its sequence numbers
    when it sends. Key and value may be any bytes-like object whose length is its size in bytes.
    """

    codec: Codec = Codec.NONE
    level: int | None = None
    producer_id: int = attrs.field(default=NO_PRODUCER_ID, kw_only=True)
    producer_epoch: int = attrs.field(default=NO_PRODUCER_EPOCH, kw_only=True)
    base_sequence: int = attrs.field(default=NO_SEQUENCE, kw_only=True)
    timestamp_type: TimestampType = attrs.field(default=TimestampType.CREATE_TIME, kw_only=True)
    is_transactional: bool = attrs.field(default=False, kw_only=True)
    is_control: bool = attrs.field(default=False, kw_only=True)
    record_count: int = attrs.field(default=0, init=False)
    size_bytes: int = attrs.field(default=HEADER_BYTES, init=False)
    """Exactly what `build` returns without compression."""
    _parts: list[bytes] = attrs.field(factory=lambda: [bytes(HEADER_BYTES)], init=False)
    _base_timestamp: int = attrs.field(default=NO_TIMESTAMP, init=False)
    _max_timestamp: int = attrs.field(default=NO_TIMESTAMP, init=False)

    def append(self, timestamp_ms: int, key: bytes | None, value: bytes | None, headers: RecordHeaders = ()) -> None:
        """Add one record; its parts are kept as they are and joined once, by `build`."""
        if not self.record_count:
            self._base_timestamp = self._max_timestamp = timestamp_ms
        elif timestamp_ms > self._max_timestamp:
            self._max_timestamp = timestamp_ms
        delta = timestamp_ms - self._base_timestamp
        count = self.record_count
        delta_part = SMALL_VARINTS[delta] if 0 <= delta < _TABLE_END else encode_varint(delta)
        offset_part = SMALL_VARINTS[count] if count < _TABLE_END else encode_varint(count)
        if key is None:
            key_part, key = _NULL, b""
        else:
            size = len(key)
            key_part = SMALL_VARINTS[size] if size < _TABLE_END else encode_varint(size)
        if value is None:
            value_part, value = _NULL, b""
        else:
            size = len(value)
            value_part = SMALL_VARINTS[size] if size < _TABLE_END else encode_varint(size)
        headers_part = _encode_headers(headers) if headers else _NO_HEADERS
        length = (
            1
            + len(delta_part)
            + len(offset_part)
            + len(key_part)
            + len(key)
            + len(value_part)
            + len(value)
            + len(headers_part)
        )
        length_part = SMALL_VARINTS[length] if length < _TABLE_END else encode_varint(length)
        self._parts += (
            length_part,
            _ATTRIBUTES,
            delta_part,
            offset_part,
            key_part,
            key,
            value_part,
            value,
            headers_part,
        )
        self.size_bytes += len(length_part) + length
        self.record_count = count + 1

    def build(self, base_offset: int = 0) -> bytearray:
        """The batch, complete with its CRC. At least one record must have been appended."""
        if not self.record_count:
            raise ValueError("a batch needs at least one record")
        if self.codec is Codec.NONE:
            batch = bytearray().join(self._parts)
        else:
            batch = bytearray(self._parts[0])
            batch += compress(self.codec, b"".join(self._parts[1:]), self.level)
        write_header(batch, self._header(base_offset, len(batch)))
        return batch

    def _header(self, base_offset: int, size_bytes: int) -> BatchHeader:
        return BatchHeader(
            base_offset=base_offset,
            batch_length=size_bytes - LOG_OVERHEAD_BYTES,
            partition_leader_epoch=NO_LEADER_EPOCH,
            magic=MAGIC,
            crc=0,
            attributes=self.codec
            | TIMESTAMP_TYPE_BIT * self.timestamp_type
            | TRANSACTIONAL_BIT * self.is_transactional
            | CONTROL_BIT * self.is_control,
            last_offset_delta=self.record_count - 1,
            base_timestamp=self._base_timestamp,
            max_timestamp=self._max_timestamp,
            producer_id=self.producer_id,
            producer_epoch=self.producer_epoch,
            base_sequence=self.base_sequence,
            record_count=self.record_count,
        )


def build_batch(
    records: Iterable[tuple[int, bytes | None, bytes | None, RecordHeaders]],
    codec: Codec = Codec.NONE,
    *,
    level: int | None = None,
    base_offset: int = 0,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = NO_PRODUCER_EPOCH,
    base_sequence: int = NO_SEQUENCE,
) -> bytearray:
    """One batch of `(timestamp_ms, key, value, headers)` each, at least one."""
    builder = BatchBuilder(
        codec, level, producer_id=producer_id, producer_epoch=producer_epoch, base_sequence=base_sequence
    )
    for timestamp_ms, key, value, headers in records:
        builder.append(timestamp_ms, key, value, headers)
    return builder.build(base_offset)


def _encode_headers(headers: RecordHeaders) -> bytes:
    parts = [encode_varint(len(headers))]
    for name, content in headers:
        encoded = name.encode()
        parts += (encode_varint(len(encoded)), encoded)
        parts += (_NULL,) if content is None else (encode_varint(len(content)), content)
    return b"".join(parts)
