"""The bytes of the offsets topic: Kafka's own, so that its tools and every web console can read it.

Every key and value starts with an int16 version; integers are big-endian. Which kind of record it is, the key's version
says:

    key    0, 1   OffsetCommit    group: string, topic: string, partition: int32
    value  0-4                    offset: int64, [3+: leader epoch: int32], metadata: string, commit timestamp: int64,
                                  [1: expire timestamp: int64], [4: tag 0: topic id: uuid]
    key    2      GroupMetadata   group: string
    value  0-4                    protocol type: string, generation: int32, protocol: string?, leader: string?,
                                  [2+: state timestamp: int64], members: array of
                                    member id: string, [3+: instance id: string?], client id: string,
                                    client host: string, [1+: rebalance timeout: int32], session timeout: int32,
                                    subscription: bytes, assignment: bytes

A string is an int16 length (-1 for null) and UTF-8, bytes and arrays have an int32 length; version 4 of either value has
varint lengths (of one more than that) and tagged fields. We read all versions, and write what Kafka 4.1 and later do: 3 for
groups, and for offsets 4, which releases from KIP-915 (3.5) on read; or 1 for an offset with an expiry of its own. Keys
above 2 belong to group types that we do not have (KIP-848, KIP-932).

Source: Apache Kafka, group-coordinator/src/main/resources/common/message.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final
from uuid import UUID

import attrs

from minibroker.groups.records import (
    UNKNOWN,
    CommittedOffset,
    GroupMetadata,
    GroupRecord,
    GroupsRecord,
    MemberMetadata,
    OffsetRecord,
)
from minibroker.protocol.errors import ProtocolError

OFFSET_KEY_VERSION: Final = 1
GROUP_KEY_VERSION: Final = 2
VALUE_VERSION: Final = 3
EXPIRING_OFFSET_VERSION: Final = 1
FLEXIBLE_VERSION: Final = 4

_INT16: Final = struct.Struct(">h")
_INT32: Final = struct.Struct(">i")
_INT64: Final = struct.Struct(">q")
_TWO_INT16: Final = struct.Struct(">hh")
_OFFSET_HEAD: Final = struct.Struct(">hqih")
_FLEXIBLE_OFFSET_HEAD: Final = struct.Struct(">hqi")
_TOPIC_ID: Final = b"\1\0\x10"
"""One tagged field, of tag 0 and 16 bytes."""
_TWO_INT64: Final = struct.Struct(">qq")


def encode(record: GroupsRecord) -> tuple[bytes, bytes | None]:
    """The key and the value of `record`; the value of a tombstone is None."""
    value = record.value
    if isinstance(record, OffsetRecord):
        key = b"\0\1" + _string(record.group_id) + _string(record.topic) + _INT32.pack(record.partition)
        return key, None if record.value is None else _encode_offset(record.value)
    key = b"\0\2" + _string(record.group_id)
    return key, None if value is None else _encode_group(record.value)  # type: ignore[arg-type]


def decode(key: bytes, value: bytes | None) -> GroupsRecord | None:
    """The record of `key` and `value`, or None for a kind of record that we do not know.

    Raises ProtocolError if the bytes are not what they claim to be.
    """
    try:
        version, length = _TWO_INT16.unpack_from(key)
        if version in (0, OFFSET_KEY_VERSION):
            return _decode_offset_record(key, length, value)
        if version != GROUP_KEY_VERSION:
            return None
        if length < 0 or len(key) != 4 + length:
            raise ProtocolError("a group key that does not end where it should")
        return GroupRecord(key[4:].decode(), None if value is None else _decode_group(value))
    except (struct.error, UnicodeDecodeError) as error:
        raise ProtocolError(f"not a record of the offsets topic: {error}") from error


def _string(text: str) -> bytes:
    data = text.encode()
    return _INT16.pack(len(data)) + data


def _nullable_string(text: str | None) -> bytes:
    return b"\xff\xff" if text is None else _string(text)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _bytes(data: bytes) -> bytes:
    return _INT32.pack(len(data)) + data


def _encode_offset(value: CommittedOffset) -> bytes:
    metadata = value.metadata.encode()
    if value.topic_id is not None:
        head = _FLEXIBLE_OFFSET_HEAD.pack(FLEXIBLE_VERSION, value.offset, value.leader_epoch)
        tail = _INT64.pack(value.commit_timestamp_ms) + _TOPIC_ID + value.topic_id.bytes
        return head + _varint(len(metadata) + 1) + metadata + tail
    if value.expire_timestamp_ms == UNKNOWN:
        head = _OFFSET_HEAD.pack(VALUE_VERSION, value.offset, value.leader_epoch, len(metadata))
        return head + metadata + _INT64.pack(value.commit_timestamp_ms)
    # Only version 1 has room for an expiry, and it has none for the leader epoch: Kafka loses it here too.
    head = struct.pack(">hqh", EXPIRING_OFFSET_VERSION, value.offset, len(metadata))
    return head + metadata + _TWO_INT64.pack(value.commit_timestamp_ms, value.expire_timestamp_ms)


def _encode_group(value: GroupMetadata) -> bytes:
    parts = [
        _INT16.pack(VALUE_VERSION),
        _string(value.protocol_type),
        _INT32.pack(value.generation),
        _nullable_string(value.protocol),
        _nullable_string(value.leader),
        _INT64.pack(value.state_timestamp_ms),
        _INT32.pack(len(value.members)),
    ]
    for member in value.members:
        parts += (
            _string(member.member_id),
            _nullable_string(member.group_instance_id),
            _string(member.client_id),
            _string(member.client_host),
            struct.pack(">ii", member.rebalance_timeout_ms, member.session_timeout_ms),
            _bytes(member.subscription),
            _bytes(member.assignment),
        )
    return b"".join(parts)


def _decode_offset_record(key: bytes, length: int, value: bytes | None) -> OffsetRecord:
    # The hot path of start-up: keys, and values as we write them, are read without a Reader, which would triple the cost.
    topic_at = 6 + length
    (topic_length,) = _INT16.unpack_from(key, topic_at - 2)
    (partition,) = _INT32.unpack_from(key, topic_at + topic_length)
    if length < 0 or topic_length < 0 or len(key) != topic_at + topic_length + 4:
        raise ProtocolError("an offset key that does not end where it should")
    group_id, topic = key[4 : 4 + length].decode(), key[topic_at : topic_at + topic_length].decode()
    if value is None:
        return OffsetRecord(group_id, topic, partition, None)
    metadata_end = 14 + value[14] if len(value) > 14 else 0
    if metadata_end < 15 or value[:2] != b"\0\4" or len(value) != metadata_end + 27 or value[-19:-16] != _TOPIC_ID:
        return OffsetRecord(group_id, topic, partition, _decode_other_offset(value))
    _, offset, leader_epoch = _FLEXIBLE_OFFSET_HEAD.unpack_from(value)
    committed = CommittedOffset(
        offset=offset,
        leader_epoch=leader_epoch,
        metadata=value[15:metadata_end].decode() if metadata_end > 15 else "",
        commit_timestamp_ms=_INT64.unpack_from(value, metadata_end)[0],
        topic_id=_topic_id(value[-16:]),
    )
    return OffsetRecord(group_id, topic, partition, committed)


def _decode_other_offset(value: bytes) -> CommittedOffset:
    reader = _Reader.of(value)
    offset = reader.int64()
    leader_epoch = reader.int32() if reader.version >= 3 else UNKNOWN
    metadata = reader.string()
    timestamp_ms = reader.int64()
    expire_ms = reader.int64() if reader.version == EXPIRING_OFFSET_VERSION else UNKNOWN
    topic_id = reader.end().get(0)
    return CommittedOffset(
        offset=offset,
        leader_epoch=leader_epoch,
        metadata=metadata,
        commit_timestamp_ms=timestamp_ms,
        expire_timestamp_ms=expire_ms,
        topic_id=None if topic_id is None else _topic_id(topic_id),
    )


@lru_cache(maxsize=1_000)  # one for all offsets of a topic, not one each
def _topic_id(data: bytes) -> UUID | None:
    """Kafka's id of sixteen zero bytes is none."""
    if len(data) != 16:
        raise ProtocolError(f"a topic id of {len(data)} bytes")
    return UUID(bytes=data) if any(data) else None


def _decode_group(value: bytes) -> GroupMetadata:
    reader = _Reader.of(value)
    protocol_type = reader.string()
    generation = reader.int32()
    protocol, leader = reader.nullable_string(), reader.nullable_string()
    timestamp_ms = reader.int64() if reader.version >= 2 else UNKNOWN
    members = tuple(_decode_member(reader) for _ in range(reader.count()))
    reader.end()
    return GroupMetadata(
        protocol_type=protocol_type,
        generation=generation,
        protocol=protocol,
        leader=leader,
        state_timestamp_ms=timestamp_ms,
        members=members,
    )


def _decode_member(reader: _Reader) -> MemberMetadata:
    member_id = reader.string()
    instance_id = reader.nullable_string() if reader.version >= 3 else None
    client_id, client_host = reader.string(), reader.string()
    rebalance_timeout_ms = reader.int32() if reader.version >= 1 else UNKNOWN
    session_timeout_ms = reader.int32()
    subscription, assignment = reader.blob(), reader.blob()
    reader.tags()
    return MemberMetadata(
        member_id=member_id,
        group_instance_id=instance_id,
        client_id=client_id,
        client_host=client_host,
        # Before KIP-62 a member had one timeout for both.
        rebalance_timeout_ms=session_timeout_ms if rebalance_timeout_ms == UNKNOWN else rebalance_timeout_ms,
        session_timeout_ms=session_timeout_ms,
        subscription=subscription,
        assignment=assignment,
    )


@attrs.define(eq=False)
class _Reader:
    """Reads one value from its start to its end. Raises ProtocolError or struct.error beyond it."""

    data: bytes
    version: int
    position: int = 2

    @classmethod
    def of(cls, value: bytes) -> _Reader:
        (version,) = _INT16.unpack_from(value)
        if not 0 <= version <= FLEXIBLE_VERSION:
            raise ProtocolError(f"a value of version {version} in the offsets topic")
        return cls(value, version)

    def int32(self) -> int:
        return int(self._unpack(_INT32))

    def int64(self) -> int:
        return int(self._unpack(_INT64))

    def string(self) -> str:
        text = self.nullable_string()
        if text is None:
            raise ProtocolError("null where a string should be")
        return text

    def nullable_string(self) -> str | None:
        length = self._varint() - 1 if self.version >= FLEXIBLE_VERSION else int(self._unpack(_INT16))
        return None if length == -1 else self._take(length).decode()

    def blob(self) -> bytes:
        return self._take(self.count())

    def count(self) -> int:
        count = self._varint() - 1 if self.version >= FLEXIBLE_VERSION else self.int32()
        if count < 0:
            raise ProtocolError("null where an array or bytes should be")
        return count

    def tags(self) -> dict[int, bytes]:
        """The tagged fields."""
        count = self._varint() if self.version >= FLEXIBLE_VERSION else 0
        return {self._varint(): self._take(self._varint()) for _ in range(count)}

    def end(self) -> dict[int, bytes]:
        """The tagged fields of the whole value."""
        tags = self.tags()
        if self.position != len(self.data):
            raise ProtocolError("a value that does not end where it should")
        return tags

    def _unpack(self, layout: struct.Struct) -> int:
        value: int = layout.unpack_from(self.data, self.position)[0]
        self.position += layout.size
        return value

    def _take(self, length: int) -> bytes:
        end = self.position + length
        if length < 0 or end > len(self.data):
            raise ProtocolError("a length beyond the value")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def _varint(self) -> int:
        result = shift = 0
        while True:
            byte = self._take(1)[0]
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result
            shift += 7
            if shift > 28:
                raise ProtocolError("a length of more than 32 bits")
