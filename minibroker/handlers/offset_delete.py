"""OffsetDelete (47), version 0: committed offsets of topics that a group no longer reads are deleted (KIP-496).

Offsets of topics that its members subscribe to stay (GROUP_SUBSCRIBED_TO_TOPIC). Of members that are not consumers the
broker cannot know what they read: nothing of theirs is deleted (NON_EMPTY_GROUP).
"""

from __future__ import annotations

from minibroker.handlers.context import AfterFlush, RequestContext
from minibroker.protocol.errors import ErrorCode, KafkaError
from minibroker.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)


def handle(request: OffsetDeleteRequest, context: RequestContext) -> AfterFlush:
    """Delete what may be deleted, all of it or nothing. Raises the errors that concern the whole group."""
    coordinator, group_id = context.services.coordinator, request.group_id
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
    topics = [
        _tell(topic, ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if stays else code, context)
        for topic, stays in zip(request.topics, stay, strict=True)
    ]
    return AfterFlush(OffsetDeleteResponse(topics=topics), coordinator.ticket(group_id))


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
