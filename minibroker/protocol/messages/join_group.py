"""JoinGroup (11): makes a consumer, or a worker of another kind, a member of a group; answered when all have joined.

- v1 adds the rebalance timeout (KIP-62); before, the session timeout was both. v2 adds the throttle time.
- v4 answers a newcomer's first request with MEMBER_ID_REQUIRED and an id to come back with (KIP-394).
- v5 has static members (KIP-345). v6 is flexible.
- v7 answers the protocol type, and a null protocol name where there is none (KIP-559).
- v8 says why the member joins (KIP-800). v9 tells a leader that rejoined to skip the assignment (KIP-814).
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, binary, boolean, int16, int32, string


@attrs.define(kw_only=True)
class JoinGroupRequestProtocol:
    """A protocol (for consumers: an assignor) the member supports, with metadata opaque to the broker."""

    name: str = string()
    metadata: bytes = binary()


@attrs.define(kw_only=True)
class JoinGroupRequest(Request["JoinGroupResponse"]):
    """Asks to become or to stay a member; protocols come in order of preference."""

    group_id: str = string()
    session_timeout_ms: int = int32()
    rebalance_timeout_ms: int = int32("1+", ignorable=True, default=-1)
    member_id: str = string()
    group_instance_id: str | None = string("5+", nullable="5+", default=None)
    protocol_type: str = string()
    protocols: list[JoinGroupRequestProtocol] = array(JoinGroupRequestProtocol)
    reason: str | None = string("8+", nullable="8+", ignorable=True, default=None)


@attrs.define(kw_only=True)
class JoinGroupResponseMember:
    """A member, as the leader needs it to make the assignment."""

    member_id: str = string()
    group_instance_id: str | None = string("5+", nullable="5+", ignorable=True, default=None)
    metadata: bytes = binary()


@attrs.define(kw_only=True)
class JoinGroupResponse(Response):
    """The new generation. Only its leader is told the members."""

    throttle_time_ms: int = int32("2+", ignorable=True)
    error_code: int = int16()
    generation_id: int = int32(default=-1)
    protocol_type: str | None = string("7+", nullable="7+", ignorable=True, default=None)
    protocol_name: str | None = string(nullable="7+")
    leader: str = string()
    skip_assignment: bool = boolean("9+")
    member_id: str = string()
    members: list[JoinGroupResponseMember] = array(JoinGroupResponseMember)
