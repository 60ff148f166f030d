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

from typing import Final

from minibroker.handlers.context import AfterFlush, RequestContext
from minibroker.protocol.errors import ErrorCode, InvalidRequest, KafkaError
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
    error, ticket = _prepare(request.key_type, context)
    code, message = (ErrorCode.NONE, None) if error is None else (error.code, error.message)
    node_id = NO_NODE if error else context.services.node_id
    host, port = ("", NO_NODE) if error else (context.endpoint.host, context.endpoint.port)
    if context.version >= KEYS_FROM:
        coordinators = [
            Coordinator(key=key, node_id=node_id, host=host, port=port, error_code=code, error_message=message)
            for key in request.coordinator_keys
        ]
        return AfterFlush(FindCoordinatorResponse(coordinators=coordinators), ticket)
    return AfterFlush(
        FindCoordinatorResponse(error_code=code, error_message=message, node_id=node_id, host=host, port=port), ticket
    )


def _prepare(key_type: int, context: RequestContext) -> tuple[KafkaError | None, int]:
    """See that there is a coordinator of this kind; the error if there is none, and the round to wait for."""
    try:
        if key_type == GROUP:
            return None, context.services.coordinator.create_topic()
        if key_type != TRANSACTION:
            raise InvalidRequest(f"a coordinator of type {key_type} is unknown here")
    except KafkaError as error:
        return error, 0
    return None, 0
