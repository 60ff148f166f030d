"""OffsetDelete (47), version 0: committed offsets of topics that a group no longer reads are deleted (KIP-496).

Offsets of topics that its members subscribe to stay (GROUP_SUBSCRIBED_TO_TOPIC). Of members that are not consumers the
broker cannot know what they read: nothing of theirs is deleted (NON_EMPTY_GROUP).
"""

from __future__ import annotations

from functools import partial
from typing import Final

from minibroker.handlers.context import Reply, RequestContext
from minibroker.handlers.turns import Steps, answer_in_turns
from minibroker.protocol.errors import ErrorCode, KafkaError
from minibroker.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)

BYTES_PER_STEP: Final = 32
"""So much of what members say of their subscriptions is read in a step."""


def handle(request: OffsetDeleteRequest, context: RequestContext) -> Reply:
    """Delete what may be deleted, all of it or nothing. Raises the errors that concern the whole group."""
    services = context.services
    response = OffsetDeleteResponse()
    ticket = partial(services.coordinator.ticket, request.group_id)
    return answer_in_turns(_delete(request, response, context), response, ticket, services, services.long_answers)


def _delete(request: OffsetDeleteRequest, response: OffsetDeleteResponse, context: RequestContext) -> Steps:
    """Say what it costs, and do it in one step."""
    coordinator, group_id = context.services.coordinator, request.group_id
    coordinator.check_available(group_id)
    coordinator.machine.check_offset_deletion(group_id)
    yield coordinator.machine.subscribed_bytes(group_id) // BYTES_PER_STEP + sum(
        [len(topic.partitions) for topic in request.topics]
    )
    coordinator.check_available(group_id)
    coordinator.machine.check_offset_deletion(group_id)
    read = coordinator.machine.topics_read(group_id)
    stay = [read is None or topic.name in read for topic in request.topics]
    tombstones = [
        tombstone
        for topic, stays in zip(request.topics, stay, strict=True)
        if not stays
        for tombstone in coordinator.machine.delete_offsets(group_id, topic.name, _existing(topic, context))
    ]
    code = ErrorCode.NONE
    try:
        coordinator.append(tombstones)
    except KafkaError as error:
        code = error.code
    response.topics = [
        _tell(topic, ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if stays else code, context)
        for topic, stays in zip(request.topics, stay, strict=True)
    ]


def _existing(topic: OffsetDeleteRequestTopic, context: RequestContext) -> set[int]:
    known = context.services.catalog.topics.get(topic.name)
    present = range(0 if known is None else len(known.partitions))
    return {partition.partition_index for partition in topic.partitions if partition.partition_index in present}


def _tell(topic: OffsetDeleteRequestTopic, code: ErrorCode, context: RequestContext) -> OffsetDeleteResponseTopic:
    existing = _existing(topic, context)
    return OffsetDeleteResponseTopic(
        name=topic.name,
        partitions=[
            OffsetDeleteResponsePartition(
                partition_index=partition.partition_index,
                error_code=code if partition.partition_index in existing else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            )
            for partition in topic.partitions
        ],
    )
