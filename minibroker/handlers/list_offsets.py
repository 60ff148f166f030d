"""ListOffsets (2), versions 1-10: the offset that belongs to a timestamp, or to a special one.

- -1 latest (the end of what this consumer may see), -2 earliest, -3 the record with the largest timestamp (v7, KIP-734),
  -4 earliest on local disk (v8, KIP-405: the same as earliest), -5 latest in tiered storage (v9, KIP-1005: none).
- The latest offset counts records that are written and not yet durable, and the answer waits until they are: whoever has
  been answered with acks=1 finds what it wrote below the end.
- Any other timestamp: the first record that is not older, exact also inside compressed batches; -1 if there is none.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from minibroker.handlers.context import Reply, RequestContext
from minibroker.handlers.leader_epoch import check_leader_epoch
from minibroker.handlers.turns import Steps, answer_in_turns
from minibroker.protocol.errors import KafkaError
from minibroker.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from minibroker.storage.timestamps import Step
from minibroker.topics.partition import Partition

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
NOT_FOUND = (-1, -1)
STEPS_PER_PARTITION = 8


def handle(request: ListOffsetsRequest, context: RequestContext) -> Reply:
    """Look every partition up."""
    topics: list[ListOffsetsTopicResponse] = []
    tickets = [0]
    steps, response = _fill(topics, tickets, request, context), ListOffsetsResponse(topics=topics)
    return answer_in_turns(steps, response, lambda: max(tickets), context.services)


def _fill(
    topics: list[ListOffsetsTopicResponse], tickets: list[int], request: ListOffsetsRequest, context: RequestContext
) -> Steps:
    """Look everything up, and note the flush rounds that the answer has to wait for."""
    catalog = context.services.catalog
    for topic in request.topics:
        partitions: list[ListOffsetsPartitionResponse] = []
        topics.append(ListOffsetsTopicResponse(name=topic.name, partitions=partitions))
        for wanted in topic.partitions:
            try:
                partition = catalog.partition(topic.name, wanted.partition_index)
                partitions.append((yield from _look_up(partition, wanted, context.version)))
                if wanted.timestamp == LATEST:
                    tickets.append(partition.flush_ticket())
            except KafkaError as error:
                partitions.append(
                    ListOffsetsPartitionResponse(partition_index=wanted.partition_index, error_code=error.code)
                )
            yield STEPS_PER_PARTITION


def _look_up(
    partition: Partition, wanted: ListOffsetsPartition, version: int
) -> Generator[Step, Any, ListOffsetsPartitionResponse]:
    check_leader_epoch(partition, wanted.current_leader_epoch)
    offset, timestamp_ms = yield from _find(partition, wanted.timestamp)
    return ListOffsetsPartitionResponse(
        partition_index=wanted.partition_index,
        timestamp=timestamp_ms,
        offset=offset,
        leader_epoch=partition.leader_epoch if version >= 4 and offset != -1 else -1,
    )


def _find(partition: Partition, timestamp: int) -> Generator[Step, Any, tuple[int, int]]:
    """Find the offset and its timestamp in ms; the special timestamps have none (-1)."""
    if timestamp == LATEST:
        return partition.log_end_offset, -1
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        return partition.log_start_offset, -1
    if timestamp == LATEST_TIERED:
        return NOT_FOUND
    if timestamp == MAX_TIMESTAMP:
        return (yield from partition.offset_of_max_timestamp()) or NOT_FOUND
    return (yield from partition.offset_for_timestamp(timestamp)) or NOT_FOUND
