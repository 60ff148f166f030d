"""What a fresh process finds on a disk: everything, read with the broker's own code but without a broker."""

from __future__ import annotations

import itertools
from functools import lru_cache
from uuid import UUID

import trio

from minibroker.config.settings import BrokerSettings
from minibroker.coordinator.offsets_topic import OffsetsTopic, decode_all, read_latest
from minibroker.groups.image import Image
from minibroker.records.record import read_records
from minibroker.storage.filesystem import FileSystem
from minibroker.topics.clock import Clock
from minibroker.topics.flusher import Flusher
from minibroker.topics.names import INTERNAL_TOPICS
from minibroker.topics.opening import Data, open_data
from minibroker.topics.syncer import InlineSyncer
from tests.simulation.history import Scan


def open_disk(fs: FileSystem, settings: BrokerSettings, now_ms: int) -> Data:
    """Recover a data directory, as a broker does before it listens."""
    return trio.run(recover, fs, settings, now_ms)


async def recover(fs: FileSystem, settings: BrokerSettings, now_ms: int) -> Data:
    """The same where Trio runs already."""
    clock = Clock(now=lambda: 0.0, now_ms=lambda: now_ms)
    ids = itertools.count(now_ms)
    return await open_data(fs, settings, Flusher(InlineSyncer(fs)), clock, lambda: UUID(int=next(ids)))


def scan(data: Data) -> Scan:
    """Read everything that is there."""
    return trio.run(read_all, data)


async def read_all(data: Data) -> Scan:
    """The same where Trio runs already."""
    ids = {name: topic.id for name, topic in data.catalog.topics.items() if name not in INTERNAL_TOPICS}
    found = Scan(topics=frozenset(ids), ids=ids)
    for partition in data.catalog.partitions():
        if partition.topic in INTERNAL_TOPICS:
            continue
        place, log = (partition.topic, partition.index), partition.log
        assert log.failure is None, f"{place} is offline: {log.failure}"
        found.bounds[place] = (log.log_start_offset, log.log_end_offset)
        found.records[place] = [
            record
            for _, batch in log.read_batches(log.log_start_offset, log.log_end_offset)
            for record in _records_in(bytes(batch))
        ]
        assert not log.damaged, f"{place}: {log.damaged}"
    await _read_groups(data, found)
    found.next_producer_id = data.catalog.state.next_producer_id
    return found


@lru_cache(4096)
def _records_in(batch: bytes) -> list[tuple[int, bytes | None, bytes | None]]:
    """Offset, key and value of each. Of many disks that one power cut may leave, most hold the same batches."""
    records = read_records(memoryview(batch), max_bytes=1 << 24)
    return [(record.offset, record.key, record.value) for record in records]


async def _read_groups(data: Data, found: Scan) -> None:
    image = Image()
    for partition in OffsetsTopic(data.catalog, data.settings, data.clock).partitions():
        for record in decode_all(partition, await read_latest(partition)):
            image.replay(record)
    for group, topic, index, committed in image.committed():
        found.commits[group, (topic, index)] = committed.offset
    for group, metadata in image.groups.items():
        found.generations[group] = metadata.generation
