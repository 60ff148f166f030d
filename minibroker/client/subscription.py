"""What members of a consumer group tell each other: `protocol.consumer_protocol` in the terms of the assignors.

Besides there is the user data of Java's sticky assignors, which is theirs alone: the StickyAssignor keeps there what it
had last, the CooperativeStickyAssignor a generation (for leaders that know only v1 of the subscription).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from minibroker.client.metadata import TopicPartition
from minibroker.protocol.codec import decode, encode
from minibroker.protocol.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    decode_versioned,
    encode_versioned,
)
from minibroker.protocol.consumer_protocol import TopicPartition as TopicPartitions
from minibroker.protocol.errors import ProtocolError
from minibroker.protocol.schema import Data, array, int32

NO_GENERATION = -1
GENERATION_BYTES = 4
V0 = b"\0\0"


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


Members = Mapping[str, Subscription]
"""Member id → what it wants."""


@attrs.define(kw_only=True)
class StickyUserData(Data):
    """The user data of Java's StickyAssignor; v1 added the generation. It does not say its version."""

    max_version = 1

    previous_assignment: list[TopicPartitions] = array(TopicPartitions)  # noqa: RUF009
    generation: int = int32("1+", default=NO_GENERATION)


def encode_subscription(subscription: Subscription) -> bytes:
    """The metadata of a member for JoinGroup."""
    return encode_versioned(
        ConsumerProtocolSubscription(
            topics=sorted(subscription.topics),
            user_data=subscription.user_data,
            owned_partitions=_grouped(subscription.owned),
            generation_id=subscription.generation,
        )
    )


def decode_subscription(payload: bytes, instance_id: str | None = None) -> Subscription:
    """Read the metadata of any member. Raises ProtocolError."""
    try:
        read = decode_versioned(ConsumerProtocolSubscription, payload)
    except ProtocolError:  # some clients claim v1 and leave out its fields; topics are what counts
        read = decode_versioned(ConsumerProtocolSubscription, V0 + payload[len(V0) :])
    return Subscription(
        topics=tuple(read.topics),
        owned=_flat(read.owned_partitions),
        generation=read.generation_id,
        user_data=read.user_data,
        instance_id=instance_id,
    )


def encode_assignment(partitions: Iterable[TopicPartition]) -> bytes:
    """A member's part of the assignment, for SyncGroup. Version 0: there is nothing in the later ones."""
    return encode_versioned(ConsumerProtocolAssignment(assigned_partitions=_grouped(partitions)), 0)


def decode_assignment(payload: bytes) -> frozenset[TopicPartition]:
    """Read what a leader assigned; empty bytes are an empty assignment. Raises ProtocolError."""
    if not payload:
        return frozenset()
    return _flat(decode_versioned(ConsumerProtocolAssignment, payload).assigned_partitions)


def encode_sticky_user_data(owned: Iterable[TopicPartition], generation: int) -> bytes:
    """What the StickyAssignor keeps."""
    return b"".join(encode(StickyUserData(previous_assignment=_grouped(owned), generation=generation), 1))


def decode_sticky_user_data(payload: bytes) -> tuple[frozenset[TopicPartition], int]:
    """Previous assignment and generation. Raises ProtocolError."""
    view = memoryview(payload)
    try:
        read, _ = decode(StickyUserData, 1, view)
    except ProtocolError:
        read, _ = decode(StickyUserData, 0, view)
    return _flat(read.previous_assignment), read.generation


def encode_generation(generation: int) -> bytes:
    """What the CooperativeStickyAssignor keeps."""
    return generation.to_bytes(GENERATION_BYTES, signed=True)


def _grouped(partitions: Iterable[TopicPartition]) -> list[TopicPartitions]:
    by_topic: dict[str, TopicPartitions] = {}
    for name, index in sorted(partitions):
        by_topic.setdefault(name, TopicPartitions(topic=name)).partitions.append(index)
    return list(by_topic.values())


def _flat(topics: Iterable[TopicPartitions]) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(topic.topic, index) for topic in topics for index in topic.partitions)
