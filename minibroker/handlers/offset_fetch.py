"""OffsetFetch (9), versions 1-9: how far groups have read.

- A partition without a committed offset, also of a group that does not exist, has offset -1 and no error.
- v2 takes null topics for all (KIP-88), v5 adds the leader epoch (KIP-320), v8 many groups at once (KIP-709), v9 member
  id and epoch, which only groups of the new consumer protocol (KIP-848) look at.
- v7 can ask for stable offsets only (KIP-447). Ours always are: the answer waits until they are durable, and there are no
  transactions that could hold others.
- A group that is named twice is answered once, as it was named first. What would make the answer too large is refused:
  to be asked for again, by itself.
- Left out: v10 (topic ids), which no client needs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from minibroker.groups.image import TopicOffsets
from minibroker.groups.records import CommittedOffset
from minibroker.handlers.context import Reply, RequestContext
from minibroker.handlers.turns import Room, Steps, answer_in_turns, code_of_rest
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


def handle(request: OffsetFetchRequest, context: RequestContext) -> Reply:
    """Look up the offsets of one group or of many."""
    services = context.services
    response = OffsetFetchResponse()
    several = context.version >= GROUPS_FROM
    group_ids = [group.group_id for group in request.groups] if several else [request.group_id]

    def ticket() -> int:
        coordinator = services.coordinator
        of_groups = coordinator.ticket(group_ids[0]) if len(group_ids) == 1 else coordinator.topic.last_ticket()
        return max(of_groups, services.catalog.flush_ticket())  # a deletion may have hidden some

    steps = _fetch_groups(request, response, context) if several else _fetch_one(request, response, context)
    return answer_in_turns(steps, response, ticket, services, services.long_answers)


def _fetch_groups(request: OffsetFetchRequest, response: OffsetFetchResponse, context: RequestContext) -> Steps:
    room = Room.of(context.services)
    told: set[str] = set()
    for group in request.groups:
        if group.group_id in told:
            continue
        told.add(group.group_id)
        answer = OffsetFetchResponseGroup(group_id=group.group_id)
        try:
            room.take(1, len(group.group_id))
            yield from _tell(answer.topics, _committed(group.group_id, group.topics, context), room)
        except KafkaError as error:
            answer = OffsetFetchResponseGroup(group_id=group.group_id, error_code=code_of_rest(error, response.groups))
        response.groups.append(answer)
        yield 1


def _fetch_one(request: OffsetFetchRequest, response: OffsetFetchResponse, context: RequestContext) -> Steps:
    try:
        committed = _committed(request.group_id, request.topics, context)
        yield from _tell(response.topics, committed, Room.of(context.services))
    except KafkaError as error:
        response.topics = []
        if context.version >= ERROR_FROM:
            response.error_code = error.code
        else:
            nothing = _select({}, request.topics or ())
            refused = Room(sys.maxsize)  # hardly larger than the request
            yield from _tell(response.topics, nothing, refused, error.code)


def _tell(
    topics: list[OffsetFetchResponseTopic], found: TopicOffsets, room: Room, code: ErrorCode = ErrorCode.NONE
) -> Steps:
    """Add an offset a step. What is committed meanwhile may be told or not. Raises PolicyViolation."""
    for name, offsets in list(found.items()):
        partitions: list[OffsetFetchResponsePartition] = []
        topics.append(OffsetFetchResponseTopic(name=name, partitions=partitions))
        room.take(1, len(name))
        for index, committed in list(offsets.items()):
            room.take(1, len(committed.metadata))
            partitions.append(
                OffsetFetchResponsePartition(
                    partition_index=index,
                    committed_offset=committed.offset,
                    committed_leader_epoch=committed.leader_epoch,
                    metadata=committed.metadata,
                    error_code=code,
                )
            )
            yield 1


def _committed(group_id: str, wanted: Wanted, context: RequestContext) -> TopicOffsets:
    """What the group has committed for the `wanted` partitions. Raises if it is not available."""
    committed = context.services.coordinator.offsets_of(group_id)
    return committed if wanted is None else _select(committed, wanted)


def _select(committed: TopicOffsets, wanted: Iterable[OffsetFetchRequestTopic]) -> TopicOffsets:
    return {
        topic.name: {
            index: committed.get(topic.name, {}).get(index, NOTHING_COMMITTED) for index in topic.partition_indexes
        }
        for topic in wanted
    }
