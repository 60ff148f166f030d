"""Positions in words turned into offsets of partitions, for commands that move or cut by them."""

from __future__ import annotations

from collections.abc import Collection

from minibroker.cli.positions import AtOffset, AtTime, Edge, LastRecords, Start
from minibroker.client.admin import Admin
from minibroker.client.metadata import TopicPartition
from minibroker.client.offsets import EARLIEST, LATEST


async def target_offsets(
    admin: Admin, partitions: Collection[TopicPartition], start: Start
) -> dict[TopicPartition, int]:
    """The offset that `start` means in each partition, never outside of what the partition holds."""
    if not partitions:
        return {}
    begins = await admin.list_offsets(dict.fromkeys(partitions, EARLIEST))
    ends = await admin.list_offsets(dict.fromkeys(partitions, LATEST))
    times = await admin.list_offsets(dict.fromkeys(partitions, start.timestamp_ms)) if isinstance(start, AtTime) else {}

    def wanted(partition: TopicPartition) -> int:
        match start:
            case Edge.BEGINNING:
                return begins[partition].offset
            case AtOffset(offset):
                return offset
            case LastRecords(count):
                return ends[partition].offset - count
            case AtTime() if times[partition].offset >= 0:
                return times[partition].offset
        return ends[partition].offset

    return {
        partition: min(max(wanted(partition), begins[partition].offset), ends[partition].offset)
        for partition in partitions
    }
