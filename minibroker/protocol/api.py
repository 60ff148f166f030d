"""The table of Kafka's APIs: keys, the versions we have a schema for, and where their messages live.

Versions are those of Apache Kafka 4.3, whose baseline (KIP-896) dropped the oldest ones. What the broker *serves* is
decided by its handlers; this table only says what can be decoded and encoded.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from minibroker.protocol.schema import Request, Response

NEVER: Final = 1 << 15
"""``flexible_from`` of an API without flexible versions: a version no int16 can hold."""


class ApiKey(IntEnum):
    """An API: key, first version, last version, and the first flexible one (KIP-482: compact lengths and tags)."""

    min_version: int
    max_version: int
    flexible_from: int

    def __new__(cls, key: int, min_version: int, max_version: int, flexible_from: int) -> ApiKey:
        """Keep the key as the value and the versions as attributes."""
        member = int.__new__(cls, key)
        member._value_ = key
        member.min_version, member.max_version, member.flexible_from = min_version, max_version, flexible_from
        return member

    PRODUCE = 0, 0, 13, 9
    FETCH = 1, 4, 18, 12
    LIST_OFFSETS = 2, 1, 11, 6
    METADATA = 3, 0, 13, 9
    OFFSET_COMMIT = 8, 2, 10, 8
    OFFSET_FETCH = 9, 1, 10, 6
    FIND_COORDINATOR = 10, 0, 6, 3
    JOIN_GROUP = 11, 0, 9, 6
    HEARTBEAT = 12, 0, 4, 4
    LEAVE_GROUP = 13, 0, 5, 4
    SYNC_GROUP = 14, 0, 5, 4
    DESCRIBE_GROUPS = 15, 0, 6, 5
    LIST_GROUPS = 16, 0, 5, 3
    API_VERSIONS = 18, 0, 4, 3
    CREATE_TOPICS = 19, 2, 7, 5
    DELETE_TOPICS = 20, 1, 6, 4
    DELETE_RECORDS = 21, 0, 2, 2
    INIT_PRODUCER_ID = 22, 0, 5, 2
    OFFSET_FOR_LEADER_EPOCH = 23, 2, 4, 4
    DESCRIBE_CONFIGS = 32, 1, 4, 4
    ALTER_CONFIGS = 33, 0, 2, 2
    DESCRIBE_LOG_DIRS = 35, 1, 5, 2
    CREATE_PARTITIONS = 37, 0, 3, 2
    DELETE_GROUPS = 42, 0, 2, 2
    INCREMENTAL_ALTER_CONFIGS = 44, 0, 1, 1
    OFFSET_DELETE = 47, 0, 0, NEVER
    DESCRIBE_CLUSTER = 60, 0, 2, 0
    DESCRIBE_TOPIC_PARTITIONS = 75, 0, 0, 0

    @property
    def camel_name(self) -> str:
        """Kafka's spelling of the name, as in its class names: ``OffsetForLeaderEpoch``."""
        return self.name.title().replace("_", "")

    def has_version(self, version: int) -> bool:
        """Whether there is a schema for this version."""
        return self.min_version <= version <= self.max_version

    def is_flexible(self, version: int) -> bool:
        """Whether this version has compact lengths and tagged fields (KIP-482)."""
        return version >= self.flexible_from

    def _message_class(self, suffix: str) -> type[Any]:
        module = import_module(f"minibroker.protocol.messages.{self.name.lower()}")
        return cast("type[Any]", getattr(module, self.camel_name + suffix))


@cache
def request_class(key: ApiKey) -> type[Request[Any]]:
    """Return the request class of an API, importing its module on first use."""
    return key._message_class("Request")


@cache
def response_class(key: ApiKey) -> type[Response]:
    """Return the response class of an API, importing its module on first use."""
    return key._message_class("Response")


def request_header_version(key: ApiKey, version: int) -> int:
    """Return 2 (the header ends with tagged fields) for flexible versions, else 1 (KIP-482)."""
    return 2 if key.is_flexible(version) else 1


def response_header_version(key: ApiKey, version: int) -> int:
    """Return 1 (the header ends with tagged fields) for flexible versions, else 0.

    ApiVersions stays at 0 in every version: a client must be able to read the answer before it knows what the broker
    speaks (KIP-511).
    """
    return 1 if key.is_flexible(version) and key is not ApiKey.API_VERSIONS else 0
