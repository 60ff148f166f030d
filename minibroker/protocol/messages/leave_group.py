"""LeaveGroup (13): takes members out of a group.

- v1 adds the throttle time.
- v3 names any number of members, static ones by their instance id (KIP-345); before, there was one ``member_id``.
- v4 is flexible. v5 says why they leave (KIP-800).
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, int16, int32, string


@attrs.define(kw_only=True)
class MemberIdentity:
    """A member that leaves."""

    member_id: str = string()
    group_instance_id: str | None = string(nullable="0+", default=None)
    reason: str | None = string("5+", nullable="5+", ignorable=True, default=None)


@attrs.define(kw_only=True)
class LeaveGroupRequest(Request["LeaveGroupResponse"]):
    """Asks for members to be taken out."""

    group_id: str = string()
    member_id: str = string("0-2")
    members: list[MemberIdentity] = array(MemberIdentity, "3+")


@attrs.define(kw_only=True)
class MemberResponse:
    """What became of one member."""

    member_id: str = string()
    group_instance_id: str | None = string(nullable="0+")
    error_code: int = int16()


@attrs.define(kw_only=True)
class LeaveGroupResponse(Response):
    """Tells whether the members have left."""

    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
    members: list[MemberResponse] = array(MemberResponse, "3+")
