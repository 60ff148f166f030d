"""OffsetCommit (8), versions 2-9: a group notes how far it has read.

- Topics and partitions must exist; the offset may be any. The first is looked at before the group, as on Kafka: a stranger
  who commits only for unknown topics hears of these.
- v2 to v4 may ask for a retention of their own (KIP-211 took it away). v6 adds the leader epoch (KIP-320), v7 static
  members (KIP-345). From v9 on a member of no group hears GROUP_ID_NOT_FOUND, before ILLEGAL_GENERATION.
- What is committed is one batch, however much it is. It is made in turns; what was meant for a topic that is deleted
  meanwhile is gone with it.
- Left out: v10 (topic ids), which no client needs.
"""

from __future__ import annotations

from functools import partial

from minibroker.groups.offsets import committed_offset
from minibroker.groups.records import OffsetRecord
from minibroker.groups.requests import Caller
from minibroker.handlers.context import Reply, RequestContext
from minibroker.handlers.turns import Steps, answer_in_turns
from minibroker.protocol.errors import ErrorCode, KafkaError
from minibroker.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from minibroker.topics.catalog import Topic

Records = dict[tuple[Topic, int], OffsetRecord]
"""By the topic that is meant, and not only its name, and partition: of one that is named twice the last."""


def handle(request: OffsetCommitRequest, context: RequestContext) -> Reply:
    """Store what can be stored, and say of each partition whether it was."""
    services = context.services
    response = OffsetCommitResponse()
    ticket = partial(services.coordinator.ticket, request.group_id)
    return answer_in_turns(_commit(request, response, context), response, ticket, services, services.long_answers)


def _commit(request: OffsetCommitRequest, response: OffsetCommitResponse, context: RequestContext) -> Steps:
    coordinator, topics = context.services.coordinator, context.services.catalog.topics
    yield sum([len(topic.partitions) for topic in request.topics])
    records: Records = {}
    try:
        yield from _fill(response, request, context, records, None)
        if _names_something(request, context):
            caller = Caller(
                member_id=request.member_id,
                instance_id=request.group_instance_id,
                generation=request.generation_id_or_member_epoch,
            )
            coordinator.check_commit(request.group_id, caller, context.version)
        coordinator.commit([record for (topic, _), record in records.items() if topics.get(topic.name) is topic])
    except KafkaError as error:
        response.topics.clear()
        yield from _fill(response, request, context, {}, error)


def _names_something(request: OffsetCommitRequest, context: RequestContext) -> bool:
    return any(
        _topic(topic.name, partition.partition_index, context)
        for topic in request.topics
        for partition in topic.partitions
    )


def _topic(name: str, partition: int, context: RequestContext) -> Topic | None:
    found = context.services.catalog.topics.get(name)
    return found if found is not None and 0 <= partition < len(found.partitions) else None


def _fill(
    response: OffsetCommitResponse,
    request: OffsetCommitRequest,
    context: RequestContext,
    records: Records,
    refusal: KafkaError | None,
) -> Steps:
    """Say of a partition a step what becomes of it, with what is to be stored in `records`: nothing if there is a `refusal`."""
    wall_ms = context.services.clock.now_ms()

    def store(name: str, partition: OffsetCommitRequestPartition) -> ErrorCode:
        topic = _topic(name, partition.partition_index, context)
        if topic is None:
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
                topic.id,
            )
        except KafkaError as error:
            return error.code
        index = partition.partition_index
        records[topic, index] = OffsetRecord(request.group_id, name, index, value)
        return ErrorCode.NONE

    for named in request.topics:
        answers: list[OffsetCommitResponsePartition] = []
        response.topics.append(OffsetCommitResponseTopic(name=named.name, partitions=answers))
        for partition in named.partitions:
            code = store(named.name, partition)
            answers.append(OffsetCommitResponsePartition(partition_index=partition.partition_index, error_code=code))
            yield 1
