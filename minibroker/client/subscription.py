"""What members of a consumer group tell each other through the coordinator, in Java's binary formats.

- Subscription: what a member wants (ConsumerProtocolSubscription). v1 adds the partitions it owns (KIP-429), v2 its
  generation, v3 its rack (KIP-881).
- Assignment: what the leader gives it (ConsumerProtocolAssignment).
- The Java StickyAssignor keeps what it had last in the subscription's user data.

All begin with a version; a reader ignores what later versions append.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import attrs

from minibroker.client.metadata import TopicPartition
from minibroker.protocol.errors import ProtocolError

SUBSCRIPTION_VERSION = 3
NO_GENERATION = -1

_INT16 = struct.Struct(">h")
_INT32 = struct.Struct(">i")


@attrs.frozen(kw_only=True)
class Subscription:
    """One member, as the assignors see it."""

    topics: tuple[str, ...]
    owned: frozenset[TopicPartition] = frozenset()
    generation: int = NO_GENERATION
    """In which the member came to own them."""
    user_data: bytes | None = None
    instance_id: str | None = None
    """Of a static member (KIP-345); not part of the format, JoinGroup tells it."""
    rack: str | None = None


class _Reader:
    """A cursor over bytes; whatever runs over raises ProtocolError."""

    def __init__(self, data: bytes) -> None:
        self.data = bytes(data)
        self.position = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def take(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise ProtocolError(f"group metadata: {size} bytes are wanted, {self.left} are left")
        self.position += size
        return self.data[self.position - size : self.position]

    def int16(self) -> int:
        value: int = _INT16.unpack(self.take(2))[0]
        return value

    def int32(self) -> int:
        value: int = _INT32.unpack(self.take(4))[0]
        return value

    def count(self) -> int:
        count = self.int32()
        if not 0 <= count <= self.left:
            raise ProtocolError(f"group metadata: {count} elements cannot fit in {self.left} bytes")
        return count

    def string(self) -> str:
        try:
            return self.take(self.int16()).decode()
        except UnicodeDecodeError:
            raise ProtocolError("group metadata: a string is not UTF-8") from None

    def nullable_bytes(self) -> bytes | None:
        size = self.int32()
        return None if size < 0 else self.take(size)

    def nullable_string(self) -> str | None:
        size = self.int16()
        return None if size < 0 else self.take(size).decode(errors="replace")

    def partitions(self) -> frozenset[TopicPartition]:
        found = []
        for _ in range(self.count()):
            topic = self.string()
            found += [TopicPartition(topic, self.int32()) for _ in range(self.count())]
        return frozenset(found)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return _INT16.pack(len(encoded)) + encoded


def _nullable_bytes(data: bytes | None) -> bytes:
    return _INT32.pack(-1) if data is None else _INT32.pack(len(data)) + data


def _partitions(partitions: Iterable[TopicPartition]) -> bytes:
    by_topic: dict[str, list[int]] = {}
    for partition in sorted(partitions):
        by_topic.setdefault(partition.topic, []).append(partition.partition)
    parts = [_INT32.pack(len(by_topic))]
    for topic, indexes in by_topic.items():
        parts += (_string(topic), _INT32.pack(len(indexes)), *map(_INT32.pack, indexes))
    return b"".join(parts)


def encode_subscription(subscription: Subscription) -> bytes:
    """The metadata of a member for JoinGroup."""
    topics = sorted(subscription.topics)
    return b"".join(
        (
            _INT16.pack(SUBSCRIPTION_VERSION),
            _INT32.pack(len(topics)),
            *map(_string, topics),
            _nullable_bytes(subscription.user_data),
            _partitions(subscription.owned),
            _INT32.pack(subscription.generation),
            _INT16.pack(-1) if subscription.rack is None else _string(subscription.rack),
        )
    )


def decode_subscription(data: bytes, instance_id: str | None = None) -> Subscription:
    """Read the metadata of any member. Raises ProtocolError."""
    reader = _Reader(data)
    version = reader.int16()
    topics = tuple(reader.string() for _ in range(reader.count()))
    user_data = reader.nullable_bytes() if reader.left else None
    # Some clients claim a version and leave out its fields, so each field is looked for, not promised.
    return Subscription(
        topics=topics,
        user_data=user_data,
        owned=reader.partitions() if version >= 1 and reader.left else frozenset(),
        generation=reader.int32() if version >= 2 and reader.left else NO_GENERATION,
        rack=reader.nullable_string() if version >= 3 and reader.left else None,
        instance_id=instance_id,
    )


def encode_assignment(partitions: Iterable[TopicPartition]) -> bytes:
    """A member's part of the assignment, for SyncGroup."""
    return _INT16.pack(0) + _partitions(partitions) + _nullable_bytes(b"")


def decode_assignment(data: bytes) -> frozenset[TopicPartition]:
    """Read what a leader assigned; empty bytes are an empty assignment. Raises ProtocolError."""
    if not data:
        return frozenset()
    reader = _Reader(data)
    reader.int16()
    return reader.partitions()


def encode_sticky_user_data(owned: Iterable[TopicPartition], generation: int) -> bytes:
    """The user data of Java's StickyAssignor (its schema v1: previous assignment, generation)."""
    return _partitions(owned) + _INT32.pack(generation)


def decode_sticky_user_data(data: bytes) -> tuple[frozenset[TopicPartition], int]:
    """Previous assignment and generation; v0 of the schema has no generation. Raises ProtocolError."""
    reader = _Reader(data)
    owned = reader.partitions()
    return owned, reader.int32() if reader.left >= 4 else NO_GENERATION


def encode_generation(generation: int) -> bytes:
    """The user data of Java's CooperativeStickyAssignor, for leaders that know only v1 of the subscription."""
    return _INT32.pack(generation)


Members = Mapping[str, Subscription]
"""Member id → what it wants."""
