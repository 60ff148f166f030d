"""OffsetFetch (9), versions 1-9: how far groups have read.

- A partition without a committed offset, also of a group that does not exist, has offset -1 and no error.
- v2 takes null topics for all (KIP-88), v5 adds the leader epoch (KIP-320), v8 many groups at once (KIP-709), v9 member
  id and epoch, which only groups of the new consumer protocol (KIP-848) look at.
- v7 can ask for stable offsets only (KIP-447). Ours always are: the answer waits until they are durable, and there are no
  transactions that could hold others.
- Left out: v10 (topic ids), which no client needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from minibroker.groups.image import TopicOffsets
from minibroker.groups.records import CommittedOffset
from minibroker.handlers.context import AfterFlush, RequestContext
from minibroker.protocol.errors import ErrorCode, KafkaError
from minibroker.protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)

GROUPS_FROM: Final = 8
ERROR_FROM: Final = 2
"""Before, an error that concerns the group is told of every partition."""

NOTHING_COMMITTED: Final = CommittedOffset(offset=-1)
Wanted = Iterable[tuple[str, Iterable[int]]]


def handle(request: OffsetFetchRequest, context: RequestContext) -> AfterFlush:
    """Look up the offsets of one group or of many."""
    coordinator = context.services.coordinator
    if context.version < GROUPS_FROM:
        wanted = None if request.topics is None else [(topic.name, topic.partition_indexes) for topic in request.topics]
        return AfterFlush(_fetch_one(request.group_id, wanted, context), coordinator.ticket(request.group_id))
    response = OffsetFetchResponse()
    for group in request.groups:
        topics = None if group.topics is None else [(topic.name, topic.partition_indexes) for topic in group.topics]
        response.groups.append(_fetch_group(group.group_id, topics, context))
    tickets = [coordinator.ticket(group.group_id) for group in request.groups]
    return AfterFlush(response, max(tickets, default=0))


def _fetch_group(group_id: str, wanted: Wanted | None, context: RequestContext) -> OffsetFetchResponseGroup:
    try:
        found = _committed(group_id, wanted, context)
    except KafkaError as error:
        return OffsetFetchResponseGroup(group_id=group_id, error_code=error.code)
    topics = [
        OffsetFetchResponseTopics(
            name=name,
            partitions=[
                OffsetFetchResponsePartitions(
                    partition_index=index,
                    committed_offset=committed.offset,
                    committed_leader_epoch=committed.leader_epoch,
                    metadata=committed.metadata,
                )
                for index, committed in partitions.items()
            ],
        )
        for name, partitions in found.items()
    ]
    return OffsetFetchResponseGroup(group_id=group_id, topics=topics)


def _fetch_one(group_id: str, wanted: Wanted | None, context: RequestContext) -> OffsetFetchResponse:
    code = ErrorCode.NONE
    try:
        found = _committed(group_id, wanted, context)
    except KafkaError as error:
        if context.version >= ERROR_FROM:
            return OffsetFetchResponse(error_code=error.code)
        code, found = error.code, _select({}, wanted or ())
    topics = [
        OffsetFetchResponseTopic(
            name=name,
            partitions=[
                OffsetFetchResponsePartition(
                    partition_index=index,
                    committed_offset=committed.offset,
                    committed_leader_epoch=committed.leader_epoch,
                    metadata=committed.metadata,
                    error_code=code,
                )
                for index, committed in partitions.items()
            ],
        )
        for name, partitions in found.items()
    ]
    return OffsetFetchResponse(topics=topics)


def _committed(group_id: str, wanted: Wanted | None, context: RequestContext) -> TopicOffsets:
    """All that the group has committed, or what it has for the `wanted` partitions. Raises if it is not available."""
    coordinator = context.services.coordinator
    coordinator.check_available(group_id)
    committed = coordinator.machine.image.offsets_of(group_id)
    return committed if wanted is None else _select(committed, wanted)


def _select(committed: TopicOffsets, wanted: Wanted) -> TopicOffsets:
    return {
        name: {index: committed.get(name, {}).get(index, NOTHING_COMMITTED) for index in indexes}
        for name, indexes in wanted
    }
