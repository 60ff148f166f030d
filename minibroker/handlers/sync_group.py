"""SyncGroup (14), versions 0-5: the leader's assignments come in, everybody's own goes out.

- A follower is answered once the leader has spoken; until then the connection answers nothing else.
- v3 has static members (KIP-345). v5 must say which protocol the member believes in (KIP-559).
"""

from __future__ import annotations

from minibroker.groups.requests import Caller
from minibroker.handlers.context import AfterFlush, Reply, RequestContext
from minibroker.handlers.holding import reply_when_answered
from minibroker.protocol.errors import InconsistentGroupProtocol, KafkaError
from minibroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse

PROTOCOL_FROM = 5


def handle(request: SyncGroupRequest, context: RequestContext) -> Reply:
    """Take or hand out assignments."""
    coordinator = context.services.coordinator
    caller = Caller(
        member_id=request.member_id, instance_id=request.group_instance_id, generation=request.generation_id
    )
    protocol = (request.protocol_type, request.protocol_name)
    try:
        if context.version >= PROTOCOL_FROM and None in protocol:
            raise InconsistentGroupProtocol("expected a protocol type and name, found none")
        assignments = {given.member_id: bytes(given.assignment) for given in request.assignments}
        return reply_when_answered(coordinator.sync(request.group_id, caller, protocol, assignments))
    except KafkaError as error:
        return AfterFlush(SyncGroupResponse(error_code=error.code), coordinator.ticket(request.group_id))
