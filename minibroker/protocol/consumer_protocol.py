"""What consumers tell each other through JoinGroup and SyncGroup: subscriptions and assignments.

The broker only carries these bytes, but every client in a group must agree on them, and tools show them. On the wire
each is an int16 version and a message without compact lengths or tags.

- v1 adds the partitions a member owns, for cooperative rebalancing (KIP-429).
- v2 adds the generation they come from (KIP-792). v3 adds the rack (KIP-881).

A later version may only append: one we do not know is read as the last we know, and what follows is ignored.
"""

from __future__ import annotations

import struct
from typing import Final, TypeVar

import attrs

from minibroker.protocol.codec import decode, encode
from minibroker.protocol.errors import ProtocolError
from minibroker.protocol.schema import Data, array, binary, int32, string

MAX_VERSION: Final = 3

DataT = TypeVar("DataT", bound=Data)
_VERSION: Final = struct.Struct(">h")


@attrs.define(kw_only=True)
class TopicPartition:
    """Partitions of one topic."""

    topic: str = string()
    partitions: list[int] = array(int32)


@attrs.define(kw_only=True)
class ConsumerProtocolSubscription(Data):
    """What a member wants to read, and what it holds already."""

    max_version = MAX_VERSION

    topics: list[str] = array(string)
    user_data: bytes | None = binary(nullable="0+", default=None)
    owned_partitions: list[TopicPartition] = array(TopicPartition, "1+", ignorable=True)
    generation_id: int = int32("2+", ignorable=True, default=-1)
    rack_id: str | None = string("3+", nullable="3+", ignorable=True, default=None)


@attrs.define(kw_only=True)
class ConsumerProtocolAssignment(Data):
    """What a member is to read."""

    max_version = MAX_VERSION

    assigned_partitions: list[TopicPartition] = array(TopicPartition)
    user_data: bytes | None = binary(nullable="0+", default=None)


def decode_versioned(cls: type[DataT], payload: bytes | memoryview) -> DataT:
    """Decode a payload that begins with its version. Raises ProtocolError."""
    if len(payload) < _VERSION.size:
        raise ProtocolError(f"{cls.__name__}: the payload is too short for a version")
    (version,) = _VERSION.unpack_from(payload)
    if version < 0:
        raise ProtocolError(f"{cls.__name__}: there is no version {version}")
    message, _ = decode(cls, min(version, cls.max_version), memoryview(payload), _VERSION.size)
    return message


def encode_versioned(message: Data, version: int = MAX_VERSION) -> bytes:
    """Encode a payload with its version in front. Raises ValueError as ``codec.encode`` does."""
    return b"".join([_VERSION.pack(version), *encode(message, version)])
