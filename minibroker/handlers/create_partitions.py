"""CreatePartitions (37), versions 0-3: lets topics have more partitions (KIP-195). The new ones are empty.

- Each topic is answered once, also one that is named twice: it is refused, and keeps what it has.
- Partitions placed by hand must be placed on this broker, the only one, and be as many as are missing.
- `validate_only` says what would become of it. v3 may speak of quotas (KIP-599); we have none.
- Kafka lets `__consumer_offsets` grow, and with it forget which partition has which group: here it is refused.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

from minibroker.handlers.context import Reply, RequestContext, Services
from minibroker.handlers.creation import answer_each, check_replicas
from minibroker.handlers.turns import answer_in_turns
from minibroker.protocol.errors import InvalidReplicaAssignment
from minibroker.protocol.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)
from minibroker.storage.timestamps import Step


def handle(request: CreatePartitionsRequest, context: RequestContext) -> Reply:
    """Let every topic grow, or say whether it could."""
    services = context.services
    grow = partial(_grow, services=services, validate_only=request.validate_only)
    results: list[CreatePartitionsTopicResult] = []
    steps = answer_each(request.topics, grow, CreatePartitionsTopicResult, results)
    response = CreatePartitionsResponse(results=results)
    return answer_in_turns(steps, response, services.catalog.flush_ticket, services)


def _grow(
    topic: CreatePartitionsTopic, services: Services, *, validate_only: bool
) -> Generator[Step, Any, CreatePartitionsTopicResult]:
    more = services.catalog.check_more_partitions(topic.name, topic.count)
    if topic.assignments is not None:
        if len(topic.assignments) != more:
            raise InvalidReplicaAssignment(f"expected {more} partitions placed by hand, found {len(topic.assignments)}")
        for assignment in topic.assignments:
            check_replicas(assignment.broker_ids, services.node_id)
    if not validate_only:
        yield from services.catalog.making_more_partitions(topic.name, topic.count)
    return CreatePartitionsTopicResult(name=topic.name)
