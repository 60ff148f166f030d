"""JoinGroup (11), versions 0-9: a consumer, or a worker of another kind, becomes a member of a group.

- Answered when the round of joins is over; until then the connection answers nothing else, as Kafka's does not.
- v1 adds the rebalance timeout (KIP-62); before, the session timeout was both.
- v4 asks a newcomer to come again with the member id it is given (KIP-394). v5 has static members (KIP-345).
- v7 answers the protocol type (KIP-559), v8 brings a reason (KIP-800), which is not kept; v9 lets a leader that comes
  back skip the assignment (KIP-814).
- Left out: joining a group of the new consumer protocol (KIP-848), of which there are none.
"""

from __future__ import annotations

from uuid import uuid4

from minibroker.groups.joining import Join
from minibroker.handlers.context import AfterFlush, Reply, RequestContext
from minibroker.handlers.holding import reply_when_answered
from minibroker.protocol.errors import KafkaError
from minibroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse

REBALANCE_TIMEOUT_FROM = 1


def handle(request: JoinGroupRequest, context: RequestContext) -> Reply:
    """Let the member join, and answer once its round is over."""
    has_timeout = context.version >= REBALANCE_TIMEOUT_FROM
    join = Join(
        version=context.version,
        client_id=context.client_id or "",
        client_host=f"/{context.client_host}",  # as Java writes an address, and Kafka's tools show it
        member_id=request.member_id,
        instance_id=request.group_instance_id,
        protocol_type=request.protocol_type,
        # A protocol that is named twice counts once, or its members would seem to be more than they are.
        protocols=tuple({protocol.name: bytes(protocol.metadata) for protocol in request.protocols}.items()),
        session_timeout_ms=request.session_timeout_ms,
        rebalance_timeout_ms=request.rebalance_timeout_ms if has_timeout else request.session_timeout_ms,
        new_id=str(uuid4()),
    )
    coordinator = context.services.coordinator
    try:
        return reply_when_answered(coordinator.join(request.group_id, join))
    except KafkaError as error:
        refusal = JoinGroupResponse(error_code=error.code, member_id=request.member_id)
        return AfterFlush(refusal, coordinator.ticket(request.group_id))
