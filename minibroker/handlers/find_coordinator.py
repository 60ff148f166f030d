"""FindCoordinator (10), versions 0-6: who coordinates a group or a transaction. We do.

- The first question for a group makes `__consumer_offsets`. Kafka answers COORDINATOR_NOT_AVAILABLE meanwhile; here the
  answer waits for the disk instead, and the client need not come again.
- v1 adds the kind of the key (KIP-98), v4 many keys in one request (KIP-699), v6 share groups (KIP-932).
- librdkafka asks as soon as `group.id` is set, also for consumers that never join.
- Transactional ids are answered although transactions are left out: the client then hears from InitProducerId that they
  are, where an error here would have it ask for ever.
- Left out: share groups, answered INVALID_REQUEST as by a Kafka that has them switched off.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from minibroker.handlers.context import AfterFlush, RequestContext
from minibroker.protocol.errors import InvalidRequest, KafkaError
from minibroker.protocol.messages.find_coordinator import (
    Coordinator,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)

GROUP, TRANSACTION = 0, 1
KEYS_FROM: Final = 4
NO_NODE: Final = -1


def handle(request: FindCoordinatorRequest, context: RequestContext) -> AfterFlush:
    """Name this broker as the coordinator of every key."""
    answer: dict[str, Any] = {"node_id": context.services.node_id, **attrs.asdict(context.endpoint)}
    ticket = 0
    try:
        ticket = _prepare(request.key_type, context)
    except KafkaError as error:
        answer = {"node_id": NO_NODE, "port": NO_NODE, "error_code": error.code, "error_message": error.message}
    if context.version < KEYS_FROM:
        return AfterFlush(FindCoordinatorResponse(**answer), ticket)
    coordinators = [Coordinator(key=key, **answer) for key in request.coordinator_keys]
    return AfterFlush(FindCoordinatorResponse(coordinators=coordinators), ticket)


def _prepare(key_type: int, context: RequestContext) -> int:
    """See that there is a coordinator of this kind; return the round to wait for. Raises KafkaError if there is none."""
    if key_type == GROUP:
        return context.services.coordinator.create_topic()
    if key_type != TRANSACTION:
        raise InvalidRequest(f"a coordinator of type {key_type} is unknown here")
    return 0
