"""SyncGroup (14): brings the leader's assignment to the group and each member its part of it.

- v1 adds the throttle time. v3 has static members (KIP-345). v4 is flexible.
- v5 repeats protocol type and name, so that a member with other ideas is refused (KIP-559).
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, binary, int16, int32, string


@attrs.define(kw_only=True)
class SyncGroupRequestAssignment:
    """What one member is assigned, opaque to the broker."""

    member_id: str = string()
    assignment: bytes = binary()


@attrs.define(kw_only=True)
class SyncGroupRequest(Request["SyncGroupResponse"]):
    """Waits for the assignment; the leader brings it along."""

    group_id: str = string()
    generation_id: int = int32()
    member_id: str = string()
    group_instance_id: str | None = string("3+", nullable="3+", default=None)
    protocol_type: str | None = string("5+", nullable="5+", ignorable=True, default=None)
    protocol_name: str | None = string("5+", nullable="5+", ignorable=True, default=None)
    assignments: list[SyncGroupRequestAssignment] = array(SyncGroupRequestAssignment)


@attrs.define(kw_only=True)
class SyncGroupResponse(Response):
    """The member's own assignment."""

    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
    protocol_type: str | None = string("5+", nullable="5+", ignorable=True, default=None)
    protocol_name: str | None = string("5+", nullable="5+", ignorable=True, default=None)
    assignment: bytes = binary()
