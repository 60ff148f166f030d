"""How long a start takes with many committed offsets. Measures, never judges: `pytest -m benchmark -s`."""

from __future__ import annotations

import time

import pytest
from trio.testing import MockClock

from minibroker.groups.records import CommittedOffset, OffsetRecord
from tests.coordinator.rig import EPOCH_MS, open_rig

pytestmark = pytest.mark.benchmark

OFFSETS = 100_000


@pytest.mark.parametrize("offsets_per_commit", [1, 10, 100])
async def test_loading_many_offsets(autojump_clock: MockClock, offsets_per_commit: int) -> None:
    """A hundred thousand offsets of a thousand groups, in commits of different sizes."""
    async with open_rig(offsets_topic_num_partitions=50) as rig:
        topic_id = rig.services.catalog.topics["t"].id
        for number in range(0, OFFSETS, offsets_per_commit):
            group_id, first = f"group-{number // 100}", number % 100
            value = CommittedOffset(offset=number, commit_timestamp_ms=EPOCH_MS, topic_id=topic_id)
            rig.coordinator.append(
                [OffsetRecord(group_id, "t", first + index, value) for index in range(offsets_per_commit)]
            )
        await rig.services.flusher.drain()
        disk = rig.disk.restarted()
    async with open_rig(disk, run=False) as rig:
        partitions = rig.coordinator.topic.partitions()
        began = time.process_time()
        for index, partition in enumerate(partitions):
            await rig.coordinator._load(index, partition)
        took_s = time.process_time() - began
        assert sum(1 for _ in rig.coordinator.machine.image.committed()) == OFFSETS
    print(f"\n{OFFSETS:,} offsets in commits of {offsets_per_commit}: {took_s:.2f} s of processor time")
