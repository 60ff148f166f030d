"""Committed offsets: what a commit stores, when an offset expires, what deletion deletes.

A commit is stored as it is said: any offset, negative ones too, whether the log has it or not. Offsets expire
offsets.retention.minutes after their group lost its last member (KIP-211), or after the commit itself if the group
never had members or no longer subscribes to their topic. Whatever is deleted, is deleted by tombstones.

Source: Apache Kafka, OffsetMetadataManager, ClassicGroup.offsetExpirationCondition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

from minibroker.config.group_settings import GroupSettings
from minibroker.groups.classic import ClassicGroup
from minibroker.groups.image import Image
from minibroker.groups.records import UNKNOWN, CommittedOffset, GroupRecord, GroupsRecord, OffsetRecord
from minibroker.groups.states import State
from minibroker.groups.subscriptions import subscribed_topics
from minibroker.protocol.errors import OffsetMetadataTooLarge

MINUTE_MS = 60_000
MAX_TIMESTAMP_MS = 2**63 - 1
MAX_STRING_BYTES = 2**15 - 1


def committed_offset(
    settings: GroupSettings,
    offset: int,
    leader_epoch: int,
    metadata: str | None,
    retention_ms: int,
    wall_ms: int,
    topic_id: UUID | None = None,
) -> CommittedOffset:
    """What a commit at `wall_ms` stores. Raises OffsetMetadataTooLarge.

    `retention_ms` is what the client asks for (OffsetCommit v2 to v4), or UNKNOWN. The format has no room for the topic's
    id beside it, and what is not in the log may not be in memory.
    """
    metadata = metadata or ""
    # The setting speaks of bytes, and Kafka counts characters; the format cannot hold more than an int16 says of bytes.
    if len(metadata) > settings.offset_metadata_max_bytes or len(metadata.encode()) > MAX_STRING_BYTES:
        raise OffsetMetadataTooLarge(f"{len(metadata)} characters, where {settings.offset_metadata_max_bytes} may be")
    expires = retention_ms != UNKNOWN
    return CommittedOffset(
        offset=offset,
        leader_epoch=UNKNOWN if expires else leader_epoch,
        metadata=metadata,
        commit_timestamp_ms=wall_ms,
        expire_timestamp_ms=min(wall_ms + retention_ms, MAX_TIMESTAMP_MS) if expires else UNKNOWN,
        topic_id=None if expires else topic_id,
    )


def topics_read(image: Image, live: ClassicGroup | None, group_id: str) -> frozenset[str] | None:
    """The topics that members of the group read, as far as the broker can tell; None is for any: in doubt they do."""
    if live is None or not live.members:
        return frozenset()
    topics = subscribed_topics(image.groups[group_id]) if group_id in image.groups else None
    return frozenset() if topics is None and not live.uses_consumer_protocol else topics


def expired_offsets(
    image: Image, live: ClassicGroup | None, group_id: str, settings: GroupSettings, wall_ms: int
) -> list[GroupsRecord]:
    """The tombstones of the offsets of `group_id` that have expired, and of the group if it is left with nothing.

    `live` is the group if it has, or is getting, members.
    """
    has_members = live is not None and not live.is_idle
    metadata = image.groups.get(group_id)
    read = _read_for_certain(image, live, group_id) if has_members else frozenset()
    if read is None:
        return []
    empty_since_ms = (
        UNKNOWN if has_members or metadata is None or not metadata.protocol_type else metadata.state_timestamp_ms
    )
    retention_ms = settings.offsets_retention_minutes * MINUTE_MS
    tombstones: list[GroupsRecord] = []
    kept = 0
    for topic, partitions in image.offsets_of(group_id).items():
        for partition, committed in partitions.items():
            if topic not in read and _has_expired(committed, empty_since_ms, retention_ms, wall_ms):
                tombstones.append(OffsetRecord(group_id, topic, partition, None))
            else:
                kept += 1
    if not kept and not has_members:
        tombstones.append(GroupRecord(group_id, None))
    return tombstones


def group_tombstones(image: Image, group_id: str) -> Iterator[GroupsRecord]:
    """All that deletes the group, itself last."""
    for topic, partitions in image.offsets_of(group_id).items():
        for partition in partitions:
            yield OffsetRecord(group_id, topic, partition, None)
    yield GroupRecord(group_id, None)


def topic_tombstones(image: Image, topic: str) -> Iterator[GroupsRecord]:
    """All that deletes what any group has committed for `topic`."""
    for group_id in image.committers.get(topic, ()):
        for partition in image.offsets[group_id][topic]:
            yield OffsetRecord(group_id, topic, partition, None)


def offset_tombstones(image: Image, group_id: str, topic: str, partitions: Iterable[int]) -> list[GroupsRecord]:
    """What deletes the offsets of `partitions`; nothing for those that have none."""
    committed = image.offsets_of(group_id).get(topic, {})
    return [OffsetRecord(group_id, topic, partition, None) for partition in partitions if partition in committed]


def _read_for_certain(image: Image, live: ClassicGroup | None, group_id: str) -> frozenset[str] | None:
    """The topics that a group with members reads, if it is settled and that can be known; asked only if it matters."""
    if live is None or live.state is not State.STABLE or not image.offsets_of(group_id):
        return None
    return subscribed_topics(image.groups[group_id]) if group_id in image.groups else None


def _has_expired(committed: CommittedOffset, empty_since_ms: int, retention_ms: int, wall_ms: int) -> bool:
    if committed.expire_timestamp_ms != UNKNOWN:
        return wall_ms >= committed.expire_timestamp_ms
    since_ms = committed.commit_timestamp_ms if empty_since_ms == UNKNOWN else empty_since_ms
    return wall_ms - since_ms >= retention_ms
