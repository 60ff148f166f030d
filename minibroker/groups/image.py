"""What the offsets topic says of all groups: the one state that outlives the broker.

It changes by `replay` alone, of the same records at start-up and in service. Records with different keys do not depend
on each other, so that any order of them, and a log compacted in any way, lead to the same image.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import attrs

from minibroker.groups.records import (
    CommittedOffset,
    GroupMetadata,
    GroupRecord,
    GroupsRecord,
    OffsetRecord,
    text_bytes,
)

TopicOffsets = dict[str, dict[int, CommittedOffset]]
"""Committed offsets by topic and partition."""


GROUP_BYTES: Final = 500
TOPIC_BYTES: Final = 250
OFFSET_BYTES: Final = 250
"""Of memory, measured: for a group, for each topic of which it has committed offsets, and for each of these."""


@attrs.define
class Image:
    """Groups and committed offsets, by group id. A group may have either without the other."""

    groups: dict[str, GroupMetadata] = attrs.Factory(dict)
    offsets: dict[str, TopicOffsets] = attrs.Factory(dict)
    committers: dict[str, dict[str, None]] = attrs.Factory(dict)
    """By topic, the groups that have committed offsets of it: when it is deleted, no others need be looked at."""
    size_bytes: int = attrs.field(default=0, eq=False)
    """About how much memory all this takes."""

    def __contains__(self, group_id: str) -> bool:
        return group_id in self.groups or group_id in self.offsets

    def group_ids(self) -> list[str]:
        """All groups: those that have or had members, and those that only commit."""
        return list(self.groups | self.offsets)

    def offsets_of(self, group_id: str) -> TopicOffsets:
        """What `group_id` has committed; empty if nothing."""
        return self.offsets.get(group_id, {})

    def replay(self, record: GroupsRecord) -> None:
        """Let `record` come true."""
        if isinstance(record, GroupRecord):
            self.size_bytes -= _size_bytes(record.group_id, self.groups.pop(record.group_id, None))
            if record.value is not None:
                self.groups[record.group_id] = record.value
                self.size_bytes += _size_bytes(record.group_id, record.value)
        elif record.value is not None:
            topics = self.offsets.get(record.group_id)
            if topics is None:
                topics = self.offsets[record.group_id] = {}
                self.size_bytes += GROUP_BYTES + text_bytes(record.group_id)
            partitions = topics.get(record.topic)
            if partitions is None:
                topic = sys.intern(record.topic)  # one text for all groups
                partitions = topics[topic] = {}
                self.committers.setdefault(topic, {})[record.group_id] = None
                self.size_bytes += TOPIC_BYTES
            old = partitions.get(record.partition)
            self.size_bytes += _offset_bytes(record.value) - (0 if old is None else _offset_bytes(old))
            partitions[record.partition] = record.value
        else:
            self._forget(record.group_id, record.topic, record.partition)

    def _forget(self, group_id: str, topic: str, partition: int) -> None:
        topics = self.offsets.get(group_id, {})
        partitions = topics.get(topic, {})
        old = partitions.pop(partition, None)
        if old is None:
            return
        self.size_bytes -= _offset_bytes(old)
        # Nothing empty stays behind: an image says the same whether an offset is gone or never was.
        if not partitions:
            del topics[topic], self.committers[topic][group_id]
            self.size_bytes -= TOPIC_BYTES
            if not self.committers[topic]:
                del self.committers[topic]
        if not topics:
            del self.offsets[group_id]
            self.size_bytes -= GROUP_BYTES + text_bytes(group_id)

    def has_room_for(self, record: OffsetRecord) -> bool:
        """Whether `record` would replace a committed offset and hardly take more: a short note beside it is free."""
        old = self.offsets_of(record.group_id).get(record.topic, {}).get(record.partition)
        if old is None or record.value is None:
            return False
        return _offset_bytes(record.value) <= max(_offset_bytes(old), 2 * OFFSET_BYTES)

    def committed(self) -> Iterator[tuple[str, str, int, CommittedOffset]]:
        """Every committed offset with its group, topic and partition."""
        for group_id, topics in self.offsets.items():
            for topic, partitions in topics.items():
                for partition, committed in partitions.items():
                    yield group_id, topic, partition, committed


def _offset_bytes(committed: CommittedOffset) -> int:
    return OFFSET_BYTES + text_bytes(committed.metadata)


def _size_bytes(group_id: str, metadata: GroupMetadata | None) -> int:
    if metadata is None:
        return 0
    names_bytes = 2 * text_bytes(group_id) + text_bytes(metadata.protocol_type)  # the members' are their groups'
    return (
        GROUP_BYTES
        + names_bytes
        + sum(len(member.subscription) + len(member.assignment) for member in metadata.members)
    )
