"""OffsetCommit (8), versions 2-9: a group notes how far it has read.

- Topics and partitions must exist; the offset may be any. The first is looked at before the group, as on Kafka: a stranger
  who commits only for unknown topics hears of these.
- v2 to v4 may ask for a retention of their own (KIP-211 took it away). v6 adds the leader epoch (KIP-320), v7 static
  members (KIP-345). From v9 on a member of no group hears GROUP_ID_NOT_FOUND, before ILLEGAL_GENERATION.
- Left out: v10 (topic ids), which no client needs.
"""

from __future__ import annotations

from minibroker.groups.offsets import committed_offset
from minibroker.groups.records import OffsetRecord
from minibroker.groups.requests import Caller
from minibroker.handlers.context import AfterFlush, RequestContext
from minibroker.protocol.errors import ErrorCode, KafkaError
from minibroker.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)


def handle(request: OffsetCommitRequest, context: RequestContext) -> AfterFlush:
    """Store what can be stored, and say of each partition whether it was."""
    coordinator = context.services.coordinator
    records: dict[tuple[str, int], OffsetRecord] = {}
    try:
        if _names_something(request, context):
            caller = Caller(
                member_id=request.member_id,
                instance_id=request.group_instance_id,
                generation=request.generation_id_or_member_epoch,
            )
            coordinator.check_commit(request.group_id, caller, context.version)
        response = _store(request, context, records, None)
        coordinator.commit(list(records.values()))
    except KafkaError as error:
        response = _store(request, context, {}, error)
    return AfterFlush(response, coordinator.ticket(request.group_id))


def _names_something(request: OffsetCommitRequest, context: RequestContext) -> bool:
    return any(
        _exists(topic.name, partition.partition_index, context)
        for topic in request.topics
        for partition in topic.partitions
    )


def _exists(topic: str, partition: int, context: RequestContext) -> bool:
    found = context.services.catalog.topics.get(topic)
    return found is not None and 0 <= partition < len(found.partitions)


def _store(
    request: OffsetCommitRequest,
    context: RequestContext,
    records: dict[tuple[str, int], OffsetRecord],
    refusal: KafkaError | None,
) -> OffsetCommitResponse:
    """The response, with the offsets that are to be stored in `records`; none are if there is a `refusal`."""
    wall_ms = context.services.clock.now_ms()

    def store(topic: str, partition: OffsetCommitRequestPartition) -> ErrorCode:
        index = partition.partition_index
        if not _exists(topic, index, context):
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if refusal is not None:
            return refusal.code
        try:
            value = committed_offset(
                context.services.settings,
                partition.committed_offset,
                partition.committed_leader_epoch,
                partition.committed_metadata,
                request.retention_time_ms,
                wall_ms,
                context.services.catalog.topics[topic].id,
            )
        except KafkaError as error:
            return error.code
        records[topic, index] = OffsetRecord(request.group_id, topic, index, value)  # of one named twice the last
        return ErrorCode.NONE

    return OffsetCommitResponse(
        topics=[
            OffsetCommitResponseTopic(
                name=topic.name,
                partitions=[
                    OffsetCommitResponsePartition(
                        partition_index=partition.partition_index, error_code=store(topic.name, partition)
                    )
                    for partition in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )
