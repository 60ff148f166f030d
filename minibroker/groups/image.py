"""What the offsets topic says of all groups: the one state that outlives the broker.

It changes by `replay` alone, of the same records at start-up and in service. Records with different keys do not depend
on each other, so that any order of them, and a log compacted in any way, lead to the same image.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from minibroker.groups.records import CommittedOffset, GroupMetadata, GroupRecord, GroupsRecord

TopicOffsets = dict[str, dict[int, CommittedOffset]]
"""Committed offsets by topic and partition."""


@attrs.define
class Image:
    """Groups and committed offsets, by group id. A group may have either without the other."""

    groups: dict[str, GroupMetadata] = attrs.Factory(dict)
    offsets: dict[str, TopicOffsets] = attrs.Factory(dict)

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
            if record.value is None:
                self.groups.pop(record.group_id, None)
            else:
                self.groups[record.group_id] = record.value
        elif record.value is not None:
            topics = self.offsets.get(record.group_id)
            if topics is None:
                topics = self.offsets[record.group_id] = {}
            partitions = topics.get(record.topic)
            if partitions is None:
                partitions = topics[record.topic] = {}
            partitions[record.partition] = record.value
        else:
            self._forget(record.group_id, record.topic, record.partition)

    def _forget(self, group_id: str, topic: str, partition: int) -> None:
        topics = self.offsets.get(group_id, {})
        partitions = topics.get(topic, {})
        partitions.pop(partition, None)
        # Nothing empty stays behind: an image says the same whether an offset is gone or never was.
        if not partitions:
            topics.pop(topic, None)
        if not topics:
            self.offsets.pop(group_id, None)

    def committed(self) -> Iterator[tuple[str, str, int, CommittedOffset]]:
        """Every committed offset with its group, topic and partition."""
        for group_id, topics in self.offsets.items():
            for topic, partitions in topics.items():
                for partition, committed in partitions.items():
                    yield group_id, topic, partition, committed
