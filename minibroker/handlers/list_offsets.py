"""ListOffsets (2), versions 1-10: the offset that belongs to a timestamp, or to a special one.

- -1 latest (the end of what this consumer may see), -2 earliest, -3 the record with the largest timestamp (v7, KIP-734),
  -4 earliest on local disk (v8, KIP-405: the same as earliest), -5 latest in tiered storage (v9, KIP-1005: none).
- The latest offset counts records that are written and not yet durable, and the answer waits until they are: whoever has
  been answered with acks=1 finds what it wrote below the end.
- Any other timestamp: the first record that is not older, exact also inside compressed batches; -1 if there is none.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import trio

from minibroker.handlers.context import AfterFlush, Reply, RequestContext
from minibroker.handlers.leader_epoch import check_leader_epoch
from minibroker.protocol.errors import KafkaError
from minibroker.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from minibroker.topics.partition import Partition

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
NOT_FOUND = (-1, -1)


def handle(request: ListOffsetsRequest, context: RequestContext) -> Reply:
    """Look every partition up, one after the other with a rest between them where records have to be searched."""
    lookups = _Lookups(request, context)
    if any(_is_search(wanted.timestamp) for topic in request.topics for wanted in topic.partitions):
        return lookups.take_turns()
    for _ in lookups.steps():
        pass
    return lookups.reply()


@attrs.define(eq=False)
class _Lookups:
    """The lookups of one request."""

    request: ListOffsetsRequest
    context: RequestContext
    topics: list[ListOffsetsTopicResponse] = attrs.field(factory=list)
    ticket: int = 0

    def reply(self) -> AfterFlush:
        """What was found."""
        return AfterFlush(ListOffsetsResponse(topics=self.topics), self.ticket)

    async def take_turns(self) -> AfterFlush:
        """Unpacking a batch takes long enough; unpacking hundreds of them at once would stop everybody else."""
        for _ in self.steps():
            await trio.lowlevel.checkpoint()
        return self.reply()

    def steps(self) -> Iterator[None]:
        """Look everything up, a partition a step."""
        catalog = self.context.services.catalog
        for topic in self.request.topics:
            partitions: list[ListOffsetsPartitionResponse] = []
            self.topics.append(ListOffsetsTopicResponse(name=topic.name, partitions=partitions))
            for wanted in topic.partitions:
                try:
                    partition = catalog.partition(topic.name, wanted.partition_index)
                    partitions.append(_look_up(partition, wanted, self.context.version))
                    if wanted.timestamp == LATEST:
                        self.ticket = max(self.ticket, partition.flush_ticket())
                except KafkaError as error:
                    partitions.append(
                        ListOffsetsPartitionResponse(partition_index=wanted.partition_index, error_code=error.code)
                    )
                yield


def _is_search(timestamp: int) -> bool:
    return timestamp >= 0 or timestamp == MAX_TIMESTAMP


def _look_up(partition: Partition, wanted: ListOffsetsPartition, version: int) -> ListOffsetsPartitionResponse:
    check_leader_epoch(partition, wanted.current_leader_epoch)
    offset, timestamp_ms = _find(partition, wanted.timestamp)
    return ListOffsetsPartitionResponse(
        partition_index=wanted.partition_index,
        timestamp=timestamp_ms,
        offset=offset,
        leader_epoch=partition.leader_epoch if version >= 4 and offset != -1 else -1,
    )


def _find(partition: Partition, timestamp: int) -> tuple[int, int]:
    """Return the offset and its timestamp in ms; the special timestamps have none (-1)."""
    if timestamp == LATEST:
        return partition.log_end_offset, -1
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        return partition.log_start_offset, -1
    if timestamp == LATEST_TIERED:
        return NOT_FOUND
    if timestamp == MAX_TIMESTAMP:
        return partition.offset_of_max_timestamp() or NOT_FOUND
    return partition.offset_for_timestamp(timestamp) or NOT_FOUND
