"""Heartbeat (12), versions 0-4: a member is alive, and learns whether it has to join again.

- NONE while the leader has not yet assigned, REBALANCE_IN_PROGRESS while others join.
- While groups are being loaded the answer is NONE: nobody is put out for a restart of the broker.
- v3 has static members (KIP-345).
"""

from __future__ import annotations

from minibroker.groups.requests import Caller
from minibroker.handlers.context import AfterFlush, RequestContext
from minibroker.protocol.errors import CoordinatorLoadInProgress, ErrorCode, KafkaError
from minibroker.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse


def handle(request: HeartbeatRequest, context: RequestContext) -> AfterFlush:
    """Begin the member's session anew."""
    coordinator = context.services.coordinator
    caller = Caller(
        member_id=request.member_id, instance_id=request.group_instance_id, generation=request.generation_id
    )
    try:
        code = coordinator.heartbeat(request.group_id, caller)
    except CoordinatorLoadInProgress:
        code = ErrorCode.NONE
    except KafkaError as error:
        code = error.code
    return AfterFlush(HeartbeatResponse(error_code=code), coordinator.ticket(request.group_id))
