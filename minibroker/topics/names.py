"""Which topic names are legal, and which collide (Kafka: org.apache.kafka.common.internals.Topic)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from minibroker.protocol.errors import InvalidTopicException

MAX_NAME_LENGTH = 249
"""A directory is named `<topic>-<partition>`, and file systems allow 255."""

LEGAL = re.compile(r"[a-zA-Z0-9._-]+")

CLUSTER_METADATA = "__cluster_metadata"
CONSUMER_OFFSETS = "__consumer_offsets"
TRANSACTION_STATE = "__transaction_state"
INTERNAL_TOPICS = frozenset((CLUSTER_METADATA, CONSUMER_OFFSETS, TRANSACTION_STATE))


def check_topic_name(name: str) -> None:
    """Raise InvalidTopicException, which says what is wrong, unless `name` is legal."""
    if not name or len(name) > MAX_NAME_LENGTH:
        raise InvalidTopicException(f"expected a topic name of 1 to {MAX_NAME_LENGTH} characters, found {len(name)}")
    if name in (".", ".."):
        raise InvalidTopicException(f"expected a topic name, found {name!r}")
    if not LEGAL.fullmatch(name):
        raise InvalidTopicException(f"expected letters, digits, '.', '_' and '-' in a topic name, found {name!r}")


def collision_key(name: str) -> str:
    """Two names collide if this is the same: metrics know no difference between '.' and '_'."""
    return name.replace(".", "_")


def check_collision(name: str, others: Mapping[str, str]) -> None:
    """Raise InvalidTopicException if `name` differs from one of `others`, by collision key, only in '.' and '_'."""
    other = others.get(collision_key(name), name)
    if other != name:
        raise InvalidTopicException(f"the topic name {name!r} collides with {other!r}: '.' and '_' count as the same")
