"""DeleteRecords (21), versions 0-2: deletes what lies before an offset, by moving the log start there (KIP-107).

- -1 is the high watermark; beyond it, or below zero, is OFFSET_OUT_OF_RANGE. A log start that is further on stays.
- A topic without `delete` in its cleanup policy refuses with POLICY_VIOLATION, one of the broker's own as an invalid topic.
- A partition that is named twice is treated once, as it is named last: each move of a log start is a record.
- The answer waits until the new log start is in the metadata log, durably: what was deleted does not come back, while on
  Kafka a crash brings back what was deleted in the last minute.
- The log start never passes the durable end. Where a topic with `flush.messages` above 1 is ahead of it, that is
  flushed first.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from minibroker.handlers.context import AfterFlush, Reply, RequestContext, Services
from minibroker.handlers.turns import Steps, answer_in_turns
from minibroker.protocol.errors import InvalidTopicException, KafkaError, OffsetOutOfRange, PolicyViolation
from minibroker.protocol.messages.delete_records import (
    DeleteRecordsPartitionResult,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)
from minibroker.topics.partition import Partition

HIGH_WATERMARK = -1
NO_WATERMARK = -1
STEPS_PER_PARTITION = 10
Wanted = dict[str, dict[int, int]]
"""Offsets by topic and partition."""


def handle(request: DeleteRecordsRequest, context: RequestContext) -> Reply:
    """Move every log start; a refusal is its partition's matter alone."""
    services = context.services
    wanted: Wanted = {}
    for topic in request.topics:
        named = wanted.setdefault(topic.name, {})
        named.update((partition.partition_index, partition.offset) for partition in topic.partitions)
    ticket = _flush_needed(wanted, services)
    return _flush_first(wanted, services, ticket) if ticket else _delete_all(wanted, services)


def _flush_needed(wanted: Wanted, services: Services) -> int:
    """Begin to flush what is to be deleted and not durable yet; return the ticket, or 0 if everything is."""
    tickets = [0]
    for topic, offsets in wanted.items():
        for index, asked in offsets.items():
            try:
                partition, offset = _resolve(topic, index, asked, services)
            except KafkaError:
                continue
            if offset > partition.log.durable_end_offset:
                tickets.append(partition.flush_now())
    return max(tickets)


async def _flush_first(wanted: Wanted, services: Services, ticket: int) -> Any | AfterFlush:
    await services.flusher.wait_durable(ticket)
    reply = _delete_all(wanted, services)
    return await reply if isinstance(reply, Coroutine) else reply


def _delete_all(wanted: Wanted, services: Services) -> Reply:
    response = DeleteRecordsResponse()
    return answer_in_turns(_delete_each(wanted, response, services), response, services.catalog.flush_ticket, services)


def _delete_each(wanted: Wanted, response: DeleteRecordsResponse, services: Services) -> Steps:
    for topic, offsets in wanted.items():
        result = DeleteRecordsTopicResult(name=topic)
        response.topics.append(result)
        for index, offset in offsets.items():
            result.partitions.append(_delete(topic, index, offset, services))
            yield STEPS_PER_PARTITION


def _delete(topic: str, index: int, offset: int, services: Services) -> DeleteRecordsPartitionResult:
    try:
        partition, resolved = _resolve(topic, index, offset, services)
        services.catalog.delete_records(partition, min(resolved, partition.log.durable_end_offset))
    except KafkaError as error:
        return DeleteRecordsPartitionResult(partition_index=index, low_watermark=NO_WATERMARK, error_code=error.code)
    return DeleteRecordsPartitionResult(partition_index=index, low_watermark=partition.log_start_offset)


def _resolve(name: str, index: int, offset: int, services: Services) -> tuple[Partition, int]:
    """Return the partition and where its log is to begin. Raises KafkaError."""
    topic = services.catalog.topic(name)
    if topic.is_internal:
        raise InvalidTopicException(f"{name} is the broker's own")
    partition = topic.partition(index)
    if not topic.settings.is_deleted:
        raise PolicyViolation(f"the cleanup.policy of {name} is without delete")
    if offset == HIGH_WATERMARK:
        return partition, partition.high_watermark
    if not 0 <= offset <= partition.high_watermark:
        raise OffsetOutOfRange(
            f"expected an offset from 0 to {partition.high_watermark} of {partition}, found {offset}"
        )
    return partition, offset
