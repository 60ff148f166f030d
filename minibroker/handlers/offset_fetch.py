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
    OffsetFetchRequestTopic,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponseTopic,
)

GROUPS_FROM: Final = 8
ERROR_FROM: Final = 2
"""Before, an error that concerns the group is told of every partition."""

NOTHING_COMMITTED: Final = CommittedOffset(offset=-1)
Wanted = Iterable[OffsetFetchRequestTopic] | None
"""Partitions by topic; None for all that the group has committed."""


def handle(request: OffsetFetchRequest, context: RequestContext) -> AfterFlush:
    """Look up the offsets of one group or of many."""
    coordinator = context.services.coordinator
    if context.version < GROUPS_FROM:
        return AfterFlush(_fetch_one(request, context), coordinator.ticket(request.group_id))
    groups = [_fetch_group(group.group_id, group.topics, context) for group in request.groups]
    tickets = [coordinator.ticket(group.group_id) for group in request.groups]
    return AfterFlush(OffsetFetchResponse(groups=groups), max(tickets, default=0))


def _fetch_group(group_id: str, wanted: Wanted, context: RequestContext) -> OffsetFetchResponseGroup:
    try:
        return OffsetFetchResponseGroup(group_id=group_id, topics=_told(_committed(group_id, wanted, context)))
    except KafkaError as error:
        return OffsetFetchResponseGroup(group_id=group_id, error_code=error.code)


def _fetch_one(request: OffsetFetchRequest, context: RequestContext) -> OffsetFetchResponse:
    try:
        return OffsetFetchResponse(topics=_told(_committed(request.group_id, request.topics, context)))
    except KafkaError as error:
        if context.version >= ERROR_FROM:
            return OffsetFetchResponse(error_code=error.code)
        return OffsetFetchResponse(topics=_told(_select({}, request.topics or ()), error.code))


def _told(found: TopicOffsets, code: ErrorCode = ErrorCode.NONE) -> list[OffsetFetchResponseTopic]:
    return [
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


def _committed(group_id: str, wanted: Wanted, context: RequestContext) -> TopicOffsets:
    """What the group has committed for the `wanted` partitions. Raises if it is not available."""
    coordinator = context.services.coordinator
    coordinator.check_available(group_id)
    committed = coordinator.machine.image.offsets_of(group_id)
    return committed if wanted is None else _select(committed, wanted)


def _select(committed: TopicOffsets, wanted: Iterable[OffsetFetchRequestTopic]) -> TopicOffsets:
    return {
        topic.name: {
            index: committed.get(topic.name, {}).get(index, NOTHING_COMMITTED) for index in topic.partition_indexes
        }
        for topic in wanted
    }
