"""Produce (0), versions 3-11 (0-2 are advertised and refused): appends one record batch per partition.

- acks=-1 is answered when the batch is durable, acks=1 when it is written to the operating system, acks=0 never. As on
  Kafka, a failure under acks=0 closes the connection: there is no other way to tell.
- A topic that does not exist is created where `auto.create.topics.enable` allows it; Kafka asks for a Metadata request.
- v8 adds the reason and the records at fault (KIP-467), v10 the present leader (KIP-951; we are always it).
- While the disk is short of space every batch is refused with NOT_ENOUGH_REPLICAS, which all clients try again
  (docs/decisions/0008). One that a producer begins with is awaited then: those in flight behind it must not come first.
- A batch whose records have to be visited or packed anew, and are many or large, is checked in another thread; until it is
  appended no later request of its connection is started.
- Left out: transactional records, with the other transaction APIs; versions 12 and 13 need them or topic ids.
"""

from __future__ import annotations

from functools import partial

from minibroker.handlers.context import AfterFlush, Reply, RequestContext
from minibroker.handlers.turns import TURN_STEPS, Steps, in_turns
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
from minibroker.records.batch import HEADER_BYTES, BatchHeader, decode_header
from minibroker.records.compression import Codec
from minibroker.records.validation import BatchLimits, Laborious, admit_batch
from minibroker.topics.names import INTERNAL_TOPICS
from minibroker.topics.partition import Appended, Partition

TURN_S = 0.005
"""How long batches are appended before others have their turn."""
Admitted = tuple[memoryview, BatchHeader] | KafkaError | None
ZSTD_VERSION = 7
"""Older clients cannot read zstd, so Kafka refuses it from them (KIP-110)."""


def handle(request: ProduceRequest, context: RequestContext) -> Reply:
    """Append every batch; a refused one is its partition's matter alone."""
    clock = context.services.clock
    now_ms = clock.now_ms()
    responses: list[TopicProduceResponse] = []
    ticket = 0
    turn_end = 0.0
    first = True
    for topic in request.topic_data:
        answers: list[PartitionProduceResponse] = []
        responses.append(TopicProduceResponse(name=topic.name, partition_responses=answers))
        for data in topic.partition_data:
            try:
                if first:
                    first = False
                elif not turn_end:
                    turn_end = clock.now() + TURN_S
                elif clock.now() > turn_end:
                    raise Laborious
                answer, needed = _append(topic.name, data, request, context, now_ms)
            except Laborious:
                return _go_on(request, context, now_ms, responses, ticket)
            ticket = max(ticket, needed)
            answers.append(answer)
    return _reply(request, responses, ticket)


def _reply(
    request: ProduceRequest, responses: list[TopicProduceResponse], ticket: int
) -> ProduceResponse | AfterFlush | None:
    if request.acks == 0:
        return None
    response = ProduceResponse(responses=responses)
    return AfterFlush(response, ticket) if request.acks == -1 else response


def _append(
    topic: str,
    data: PartitionProduceData,
    request: ProduceRequest,
    context: RequestContext,
    now_ms: int,
    admitted: Admitted = None,
) -> tuple[PartitionProduceResponse, int]:
    """Append one batch; return what is said of it, and the flush round that makes it durable.

    Raises Laborious for one that must be `admitted` elsewhere first, ProtocolError where nobody can be told what is wrong.
    """
    try:
        partition = _partition(topic, data, request, context)
        records = _records(data, context.version)
        if admitted is None:
            admitted = admit_batch(records, partition.limits, now_ms, in_passing=True)
        elif isinstance(admitted, KafkaError):
            raise admitted
        stored, header = admitted
        _check_replicas(partition, header, request.acks, now_ms, context)
        appended = partition.append(stored, header, now_ms)
    except KafkaError as error:
        if request.acks == 0:
            raise ProtocolError(f"a producer with acks=0 cannot be told of {error}") from error
        return _refusal(data.index, error), 0
    return _success(partition, appended), appended.ticket


def _go_on(
    request: ProduceRequest,
    context: RequestContext,
    now_ms: int,
    responses: list[TopicProduceResponse],
    ticket: int,
) -> Reply:
    """Append in turns what `responses` do not tell of. The records are copied: others would overwrite them meanwhile."""
    done = sum(len(response.partition_responses) for response in responses)
    responses += [TopicProduceResponse(name=topic.name) for topic in request.topic_data[len(responses) :]]
    rest = [
        (topic.name, data, response.partition_responses)
        for topic, response in zip(request.topic_data, responses, strict=True)
        for data in topic.partition_data
    ][done:]
    for _, data, _ in rest:
        if isinstance(data.records, memoryview):
            data.records = memoryview(bytearray(data.records))
    clock = context.services.clock
    tickets = [ticket]

    def steps() -> Steps:
        for topic, data, answers in rest:
            began = clock.now()
            try:
                answer, needed = _append(topic, data, request, context, now_ms)
            except Laborious:
                limits = context.services.catalog.partition(topic, data.index).limits
                admitted = yield partial(_admit, data.records, limits, now_ms)
                answer, needed = _append(topic, data, request, context, now_ms, admitted)
            answers.append(answer)
            tickets.append(needed)
            yield 1 + int((clock.now() - began) / TURN_S * TURN_STEPS)

    return in_turns(steps(), lambda: _reply(request, responses, max(tickets)), context.services)


def _admit(records: memoryview, limits: BatchLimits, now_ms: int) -> Admitted:
    try:
        return admit_batch(records, limits, now_ms)
    except KafkaError as error:
        return error


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


def _check_replicas(partition: Partition, header: BatchHeader, acks: int, now_ms: int, context: RequestContext) -> None:
    """Raise NotEnoughReplicas for a batch that is to come again later."""
    in_sync = partition.settings.min_insync_replicas
    if context.services.catalog.short_of_space:
        reason = "the disk is full but for a reserve (minibroker.disk.reserve.bytes): try again later"
    elif acks == -1 and in_sync > 1:
        reason = f"{partition.topic} has min.insync.replicas={in_sync}, and we are one"
    else:
        return
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
