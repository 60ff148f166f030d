"""Produce (0), versions 3-11 (0-2 are advertised and refused): appends one record batch per partition.

- acks=-1 is answered when the batch is durable, acks=1 when it is written to the operating system, acks=0 never. As on
  Kafka, a failure under acks=0 closes the connection: there is no other way to tell.
- A topic that does not exist is created where `auto.create.topics.enable` allows it; Kafka asks for a Metadata request.
- v8 adds the reason and the records at fault (KIP-467), v10 the present leader (KIP-951; we are always it).
- While the disk is short of space every batch is refused with NOT_ENOUGH_REPLICAS, which all clients try again
  (docs/decisions/0008). One that a producer begins with is awaited then: those in flight behind it must not come first.
- Left out: transactional records, with the other transaction APIs; versions 12 and 13 need them or topic ids.
"""

from __future__ import annotations

from minibroker.handlers.context import AfterFlush, RequestContext
from minibroker.protocol.errors import (
    InvalidRecord,
    InvalidRequiredAcks,
    InvalidTopicException,
    KafkaError,
    NotEnoughReplicas,
    ProtocolError,
    UnsupportedCompressionType,
    UnsupportedVersion,
)
from minibroker.protocol.messages.produce import (
    BatchIndexAndErrorMessage,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)
from minibroker.records.batch import HEADER_BYTES, decode_header
from minibroker.records.compression import Codec
from minibroker.records.validation import admit_batch
from minibroker.topics.names import INTERNAL_TOPICS
from minibroker.topics.partition import Appended, Partition

ZSTD_VERSION = 7
"""Older clients cannot read zstd, so Kafka refuses it from them (KIP-110)."""


def handle(request: ProduceRequest, context: RequestContext) -> ProduceResponse | AfterFlush | None:
    """Append every batch; a refused one is its partition's matter alone."""
    now_ms = context.services.clock.now_ms()
    responses = []
    ticket = 0
    for topic in request.topic_data:
        partition_responses = []
        for data in topic.partition_data:
            try:
                partition = _partition(topic.name, data, request, context)
                records = _records(data, context.version)
                _check_replicas(partition, records, request.acks, now_ms, context)
                appended = partition.append(records, now_ms)
            except KafkaError as error:
                if request.acks == 0:
                    raise ProtocolError(f"a producer with acks=0 cannot be told of {error}") from error
                partition_responses.append(_refusal(data.index, error))
            else:
                ticket = max(ticket, appended.ticket)
                partition_responses.append(_success(partition, appended))
        responses.append(TopicProduceResponse(name=topic.name, partition_responses=partition_responses))
    if request.acks == 0:
        return None
    response = ProduceResponse(responses=responses)
    return AfterFlush(response, ticket) if request.acks == -1 else response


def _partition(topic: str, data: PartitionProduceData, request: ProduceRequest, context: RequestContext) -> Partition:
    if context.version < 3:
        raise UnsupportedVersion("expected Produce version 3 or newer: record batches of format 2")
    if request.acks not in (-1, 0, 1):
        raise InvalidRequiredAcks(f"expected acks of -1, 0 or 1, found {request.acks}")
    if topic in INTERNAL_TOPICS:
        raise InvalidTopicException(f"{topic} is the broker's own")
    catalog = context.services.catalog
    found = catalog.topics.get(topic)
    if found is None:
        found = catalog.auto_create(topic)
    return found.partition(data.index)


def _records(data: PartitionProduceData, version: int) -> memoryview:
    records = data.records
    if not isinstance(records, memoryview) or not records:
        raise InvalidRecord("expected a record batch, found nothing")
    if version < ZSTD_VERSION and len(records) >= HEADER_BYTES and decode_header(records).codec is Codec.ZSTD:
        raise UnsupportedCompressionType(f"expected Produce version {ZSTD_VERSION} or newer for zstd, found {version}")
    return records


def _check_replicas(partition: Partition, records: memoryview, acks: int, now_ms: int, context: RequestContext) -> None:
    """Raise NotEnoughReplicas for a batch that is to come again later, and what is wrong with one that never may."""
    in_sync = partition.settings.min_insync_replicas
    if context.services.catalog.short_of_space:
        reason = "the disk is full but for a reserve (minibroker.disk.reserve.bytes): try again later"
    elif acks == -1 and in_sync > 1:
        reason = f"{partition.topic} has min.insync.replicas={in_sync}, and we are one"
    else:
        return
    _, header = admit_batch(records, partition.limits, now_ms)
    partition.log.producer_state.await_first(header, now_ms)
    raise NotEnoughReplicas(reason)


def _success(partition: Partition, appended: Appended) -> PartitionProduceResponse:
    return PartitionProduceResponse(
        index=partition.index,
        base_offset=appended.base_offset,
        log_append_time_ms=appended.log_append_time_ms,
        log_start_offset=partition.log_start_offset,
    )


def _refusal(index: int, error: KafkaError) -> PartitionProduceResponse:
    return PartitionProduceResponse(
        index=index,
        error_code=error.code,
        base_offset=-1,
        log_append_time_ms=-1,
        log_start_offset=-1,
        record_errors=[
            BatchIndexAndErrorMessage(batch_index=batch_index, batch_index_error_message=message)
            for batch_index, message in getattr(error, "record_errors", ())
        ],
        error_message=error.message or None,
    )
