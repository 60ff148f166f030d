"""Topics to put load on: created before the clock runs, counted after, deleted at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from minibroker.load.errors import LoadError
from minibroker.load.wire import PATIENCE_S, Wire
from minibroker.protocol.errors import ErrorCode, error_for
from minibroker.protocol.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from minibroker.protocol.messages.delete_topics import DeleteTopicsRequest
from minibroker.protocol.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from minibroker.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic

# Versions that old and new brokers share.
CREATE_TOPICS_VERSION: Final = 4
DELETE_TOPICS_VERSION: Final = 3
LIST_OFFSETS_VERSION: Final = 4
METADATA_VERSION: Final = 7

LATEST: Final = -1
EARLIEST: Final = -2
POLL_S: Final = 0.05


@contextmanager
def temporary_topic(
    address: str, name: str, partitions: int = 1, configs: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A topic that is there and has leaders, until the block ends. Raises LoadError."""
    create_topic(address, name, partitions, configs)
    try:
        yield name
    finally:
        delete_topic(address, name)


def create_topic(address: str, name: str, partitions: int = 1, configs: Mapping[str, str] | None = None) -> None:
    """Create a topic and wait until every partition answers. Raises LoadError."""
    topic = CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=-1,
        configs=[CreatableTopicConfig(name=key, value=value) for key, value in (configs or {}).items()],
    )
    with Wire(address) as wire:
        response = wire.ask(CreateTopicsRequest(topics=[topic], timeout_ms=PATIENCE_S * 1000), CREATE_TOPICS_VERSION)
        _refuse(response.topics[0].error_code, f"creating {name}", response.topics[0].error_message)
    deadline = time.monotonic() + PATIENCE_S
    while end_offsets(address, name, partitions) is None:
        if time.monotonic() > deadline:
            raise LoadError(f"{name} has no leaders after {PATIENCE_S} s")
        time.sleep(POLL_S)


def delete_topic(address: str, name: str) -> None:
    """Delete a topic. Raises LoadError."""
    with Wire(address) as wire:
        request = DeleteTopicsRequest(topic_names=[name], timeout_ms=PATIENCE_S * 1000)
        _refuse(wire.ask(request, DELETE_TOPICS_VERSION).responses[0].error_code, f"deleting {name}")


def leaders(address: str, topic: str, partitions: int) -> list[str]:
    """The address of the leader of each of the first ``partitions`` partitions. Raises LoadError."""
    with Wire(address) as wire:
        request = MetadataRequest(topics=[MetadataRequestTopic(name=topic)], allow_auto_topic_creation=False)
        response = wire.ask(request, METADATA_VERSION)
    found = response.topics[0]
    _refuse(found.error_code, f"looking up {topic}")
    brokers = {broker.node_id: f"{broker.host}:{broker.port}" for broker in response.brokers}
    by_index = {partition.partition_index: partition for partition in found.partitions}
    if any(index not in by_index for index in range(partitions)):
        raise LoadError(f"{topic} has {len(by_index)} partitions, expected {partitions}")
    for index in range(partitions):
        _refuse(by_index[index].error_code, f"looking up {topic}-{index}")
    return [brokers[by_index[index].leader_id] for index in range(partitions)]


def end_offsets(address: str, topic: str, partitions: int, timestamp: int = LATEST) -> list[int] | None:
    """The end offset (or, with EARLIEST, the first) of each partition; None while one of them is not available."""
    try:
        by_leader: dict[str, list[int]] = {}
        for index, leader in enumerate(leaders(address, topic, partitions)):
            by_leader.setdefault(leader, []).append(index)
        offsets: dict[int, int] = {}
        for leader, indexes in by_leader.items():
            offsets |= _offsets_at(leader, topic, indexes, timestamp)
    except LoadError:
        return None
    return [offsets[index] for index in range(partitions)]


def record_count(address: str, topic: str, partitions: int) -> int:
    """How many records of a topic can be read, as long as nobody compacts it. Raises LoadError."""
    ends, starts = (end_offsets(address, topic, partitions, timestamp) for timestamp in (LATEST, EARLIEST))
    if ends is None or starts is None:
        raise LoadError(f"the offsets of {topic} cannot be read")
    return sum(ends) - sum(starts)


def expect_records(address: str, topic: str, partitions: int, count: int) -> None:
    """Wait until a topic holds so many records: those acknowledged with acks=1 may be readable a moment later.

    Raises LoadError if they are more, or never that many.
    """
    deadline = time.monotonic() + PATIENCE_S
    while (found := record_count(address, topic, partitions)) != count:
        if found > count or time.monotonic() > deadline:
            raise LoadError(
                f"{topic} holds {found} records, expected {count}: what was acknowledged is not what is there"
            )
        time.sleep(POLL_S)


def _offsets_at(leader: str, topic: str, indexes: list[int], timestamp: int) -> dict[int, int]:
    asked = [ListOffsetsPartition(partition_index=index, timestamp=timestamp) for index in indexes]
    with Wire(leader) as wire:
        request = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsTopic(name=topic, partitions=asked)])
        answered = wire.ask(request, LIST_OFFSETS_VERSION).topics[0].partitions
    for partition in answered:
        _refuse(partition.error_code, f"reading the offsets of {topic}-{partition.partition_index}")
    return {partition.partition_index: partition.offset for partition in answered}


def _refuse(code: int, doing: str, message: str | None = None) -> None:
    if code != ErrorCode.NONE:
        error = error_for(code, message or "")
        raise LoadError(f"{doing}: {error.code.name}: {error.message or error.code.meaning}")
