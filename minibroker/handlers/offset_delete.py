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
    """Delete what may be deleted. Raises the errors that concern the whole group."""
    coordinator = context.services.coordinator
    coordinator.check_available(request.group_id)
    coordinator.machine.check_offset_deletion(request.group_id)
    topics = [_delete(request.group_id, topic, context) for topic in request.topics]
    return AfterFlush(OffsetDeleteResponse(topics=topics), coordinator.ticket(request.group_id))


def _delete(group_id: str, topic: OffsetDeleteRequestTopic, context: RequestContext) -> OffsetDeleteResponseTopic:
    services = context.services
    known = services.catalog.topics.get(topic.name)
    count = 0 if known is None else len(known.partitions)
    wanted = [partition.partition_index for partition in topic.partitions]
    code = ErrorCode.NONE
    try:
        existing = [index for index in wanted if 0 <= index < count]
        services.coordinator.append(services.coordinator.machine.delete_offsets(group_id, topic.name, existing))
    except KafkaError as error:
        code = error.code
    return OffsetDeleteResponseTopic(
        name=topic.name,
        partitions=[
            OffsetDeleteResponsePartition(
                partition_index=index,
                error_code=code if 0 <= index < count else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            )
            for index in wanted
        ],
    )
