"""LeaveGroup (13), versions 0-5: members leave, and the others need not wait for their sessions to end.

- v3 takes several members, also by instance id alone, as administrators do (KIP-345); each has an answer of its own.
  Before, the one member's error is the error of the response.
- v5 brings a reason (KIP-800), which is not kept.
"""

from __future__ import annotations

from minibroker.handlers.context import AfterFlush, RequestContext
from minibroker.protocol.messages.leave_group import (
    LeaveGroupRequest,
    LeaveGroupResponse,
    MemberIdentity,
    MemberResponse,
)

MEMBERS_FROM = 3


def handle(request: LeaveGroupRequest, context: RequestContext) -> AfterFlush:
    """Take the members out. Raises the errors that concern the whole group."""
    coordinator = context.services.coordinator
    several = context.version >= MEMBERS_FROM
    members = request.members if several else [MemberIdentity(member_id=request.member_id)]
    codes = coordinator.leave(request.group_id, [(member.member_id, member.group_instance_id) for member in members])
    response = LeaveGroupResponse()
    if several:
        response.members = [
            MemberResponse(member_id=member.member_id, group_instance_id=member.group_instance_id, error_code=code)
            for member, code in zip(members, codes, strict=True)
        ]
    else:
        response.error_code = codes[0]
    return AfterFlush(response, coordinator.ticket(request.group_id))
