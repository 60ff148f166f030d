"""Finding offsets: the ends of partitions and the first record at a time, asked of each leader (ListOffsets)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

import attrs

from minibroker.client.cluster import STALE, Cluster
from minibroker.client.metadata import TopicPartition, by_partition
from minibroker.protocol.errors import ErrorCode, KafkaError, error_for
from minibroker.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)


class Isolation(IntEnum):
    """What a consumer sees of transactions."""

    READ_UNCOMMITTED = 0
    READ_COMMITTED = 1


EARLIEST = -2
LATEST = -1
MAX_TIMESTAMP = -3
"""What ListOffsets takes in place of a time: the log start, the end, the record with the largest time (KIP-734)."""


@attrs.frozen(kw_only=True)
class FoundOffset:
    """An offset found."""

    offset: int
    """-1 if no record is that late."""
    timestamp_ms: int = -1
    """The record's time; -1 for the ends."""
    leader_epoch: int = -1


async def list_offsets(
    cluster: Cluster,
    wanted: Mapping[TopicPartition, int],
    isolation: Isolation = Isolation.READ_UNCOMMITTED,
) -> dict[TopicPartition, FoundOffset]:
    """For each partition the offset of a time in ms, or of EARLIEST, LATEST, MAX_TIMESTAMP.

    Retries what may be retried. Raises KafkaError: the first final error, or RequestTimeout.
    """
    found: dict[TopicPartition, FoundOffset] = {}
    cluster.watch({partition.topic for partition in wanted})

    async def attempt() -> None:
        left = {partition: time for partition, time in wanted.items() if partition not in found}
        by_leader, failure = await _by_leader(cluster, left)
        for node_id, partitions in by_leader.items():
            request = _request({partition: left[partition] for partition in partitions}, cluster, isolation)
            response = await cluster.request(request, node_id=node_id)
            failure = _read(response, found) or failure
        if failure is not None:
            raise failure

    await cluster.retrying(attempt, "listing offsets")
    return found


async def _by_leader(
    cluster: Cluster, partitions: Iterable[TopicPartition]
) -> tuple[dict[int, list[TopicPartition]], KafkaError | None]:
    if any(cluster.info.leader(partition) < 0 for partition in partitions):
        await cluster.refresh()
    by_leader: dict[int, list[TopicPartition]] = {}
    failure: KafkaError | None = None
    for partition in partitions:
        node_id = cluster.info.leader(partition)
        if node_id >= 0:
            by_leader.setdefault(node_id, []).append(partition)
        else:
            failure = why_no_leader(cluster, partition)
    return by_leader, failure


def why_no_leader(cluster: Cluster, partition: TopicPartition) -> KafkaError:
    """The error that says why a partition cannot be reached at present."""
    topic = cluster.info.topics.get(partition.topic)
    if topic is not None and topic.error_code:
        return error_for(topic.error_code, f"topic {partition.topic!r}")
    if topic is None or partition.partition not in topic.partitions:
        return error_for(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{partition} does not exist")
    return error_for(ErrorCode.LEADER_NOT_AVAILABLE, f"{partition} has no leader")


def _request(wanted: Mapping[TopicPartition, int], cluster: Cluster, isolation: Isolation) -> ListOffsetsRequest:
    topics: dict[str, ListOffsetsTopic] = {}
    for partition, time in wanted.items():
        topic = topics.setdefault(partition.topic, ListOffsetsTopic(name=partition.topic))
        epoch = cluster.info.leader_epoch(partition)
        topic.partitions.append(
            ListOffsetsPartition(partition_index=partition.partition, timestamp=time, current_leader_epoch=epoch)
        )
    return ListOffsetsRequest(
        replica_id=-1,
        isolation_level=isolation,
        topics=list(topics.values()),
        timeout_ms=int(cluster.settings.request_timeout_ms),
    )


def _read(response: ListOffsetsResponse, found: dict[TopicPartition, FoundOffset]) -> KafkaError | None:
    """Collect what was found; return one of the errors, a final one before a retriable one."""
    failure: KafkaError | None = None
    for partition, answer in by_partition(response.topics):
        if not answer.error_code:
            found[partition] = FoundOffset(
                offset=answer.offset, timestamp_ms=answer.timestamp, leader_epoch=answer.leader_epoch
            )
            continue
        error = error_for(answer.error_code, str(partition))
        if failure is None or not (error.code.retriable or error.code in STALE):
            failure = error
    return failure
