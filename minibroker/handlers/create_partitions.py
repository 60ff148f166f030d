"""CreatePartitions (37), versions 0-3: lets topics have more partitions (KIP-195). The new ones are empty.

- Each topic is answered once, also one that is named twice: it is refused, and keeps what it has.
- Partitions placed by hand must be placed on this broker, the only one, and be as many as are missing.
- `validate_only` says what would become of it. v3 may speak of quotas (KIP-599); we have none.
- Kafka lets `__consumer_offsets` grow, and with it forget which partition has which group: here it is refused.
"""

from __future__ import annotations

from collections import Counter

from minibroker.handlers.context import AfterFlush, RequestContext, Services
from minibroker.handlers.replica_assignment import check_replicas
from minibroker.protocol.errors import InvalidReplicaAssignment, InvalidRequest, KafkaError
from minibroker.protocol.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)


def handle(request: CreatePartitionsRequest, context: RequestContext) -> AfterFlush:
    """Let every topic grow, or say whether it could."""
    services = context.services
    named = Counter(topic.name for topic in request.topics)
    results = []
    for topic in {topic.name: topic for topic in request.topics}.values():
        result = CreatePartitionsTopicResult(name=topic.name)
        try:
            if named[topic.name] > 1:
                raise InvalidRequest("expected each topic once")
            _grow(topic, services, validate_only=request.validate_only)
        except KafkaError as error:
            result.error_code = error.code
            result.error_message = error.message
        results.append(result)
    return AfterFlush(CreatePartitionsResponse(results=results), services.catalog.flush_ticket())


def _grow(topic: CreatePartitionsTopic, services: Services, *, validate_only: bool) -> None:
    more = services.catalog.check_more_partitions(topic.name, topic.count)
    if topic.assignments is not None:
        if len(topic.assignments) != more:
            raise InvalidReplicaAssignment(f"expected {more} partitions placed by hand, found {len(topic.assignments)}")
        for assignment in topic.assignments:
            check_replicas(assignment.broker_ids, services.node_id)
    if not validate_only:
        services.catalog.create_partitions(topic.name, topic.count)
