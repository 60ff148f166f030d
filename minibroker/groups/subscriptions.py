"""The one thing the broker reads in what consumers tell each other: which topics a member subscribes to.

Every version of a subscription begins with its version and what version 0 says, and no more than that is read here, so
that the broker needs to know no version. Other protocol types than "consumer" are never looked into.

Source: Apache Kafka, ClassicGroup.computeSubscribedTopics.
"""

from __future__ import annotations

from typing import Final

from minibroker.groups.records import GroupMetadata
from minibroker.protocol.codec import decode
from minibroker.protocol.consumer_protocol import ConsumerProtocolSubscription
from minibroker.protocol.errors import ProtocolError

CONSUMER: Final = "consumer"
"""The protocol type of Kafka's consumers."""

MAX_NAMES: Final = 200_000
"""What the members of a group may name in all before the broker gives up on reading it: some tenths of a second."""

_VERSION_BYTES: Final = 2


def subscribed_topics(group: GroupMetadata) -> frozenset[str] | None:
    """The topics that `group` reads, or None if that cannot be known."""
    if group.protocol_type != CONSUMER or (group.members and group.protocol is None):
        return None
    topics: set[str] = set()
    left = MAX_NAMES
    try:
        for said in {member.subscription for member in group.members}:
            subscription, _ = decode(ConsumerProtocolSubscription, 0, memoryview(said), _VERSION_BYTES, left)
            left -= len(subscription.topics)
            topics.update(subscription.topics)
    except ProtocolError:
        return None
    return frozenset(topics)
