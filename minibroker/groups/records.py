"""What the offsets topic says, as values: one record is the present metadata of a group, or one committed offset.

A value of None is a tombstone: the group, or the offset, is gone. `formats` turns these into Kafka's bytes and back.
"""

from __future__ import annotations

from uuid import UUID

import attrs

UNKNOWN = -1
"""What Kafka writes for a leader epoch or a timestamp that is not known."""


def text_bytes(text: str) -> int:
    """How much memory the characters of a text take, at most: one that is not of ASCII alone makes all of them wide."""
    return len(text) if text.isascii() else 4 * len(text)


@attrs.frozen(kw_only=True)
class MemberMetadata:
    """A member of a group as it is kept over a restart."""

    member_id: str
    group_instance_id: str | None = None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    subscription: bytes
    """What the member said of itself for the protocol that was chosen. Opaque here."""
    assignment: bytes
    """What the leader gave to it. Opaque here."""


@attrs.frozen(kw_only=True)
class GroupMetadata:
    """A group as it is kept over a restart."""

    protocol_type: str = ""
    """For example "consumer" or "connect"; empty for a group that never had a member."""
    generation: int = 0
    protocol: str | None = None
    leader: str | None = None
    """None beside members says that the leader has not yet sent the assignments of this generation."""
    state_timestamp_ms: int = UNKNOWN
    """When the group came to its present state, by the wall clock. Expiry of an empty group counts from here."""
    members: tuple[MemberMetadata, ...] = ()


@attrs.define(kw_only=True)  # not frozen: built by the hundred thousand at start-up, and freezing doubles the cost
class CommittedOffset:
    """How far a group has read in one partition: the next offset to read, and what its member noted beside it."""

    offset: int
    leader_epoch: int = UNKNOWN
    metadata: str = ""
    commit_timestamp_ms: int = UNKNOWN
    expire_timestamp_ms: int = UNKNOWN
    """Set by commits that ask for a retention of their own, which clients could until OffsetCommit v4."""
    topic_id: UUID | None = None
    """Tells the topic from a namesake that came after it; None beside an expiry, and in records of older releases."""


@attrs.frozen
class GroupRecord:
    """A group has changed, or (None) is deleted."""

    group_id: str
    value: GroupMetadata | None


@attrs.define  # as CommittedOffset
class OffsetRecord:
    """An offset was committed, or (None) deleted."""

    group_id: str
    topic: str
    partition: int
    value: CommittedOffset | None


GroupsRecord = GroupRecord | OffsetRecord
