"""Heartbeat (12): keeps a member alive and tells it when the group rebalances.

v1 adds the throttle time, v3 static members (KIP-345), v4 is flexible.
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, int16, int32, string


@attrs.define(kw_only=True)
class HeartbeatRequest(Request["HeartbeatResponse"]):
    """Says that a member is alive."""

    group_id: str = string()
    generation_id: int = int32()
    member_id: str = string()
    group_instance_id: str | None = string("3+", nullable="3+", default=None)


@attrs.define(kw_only=True)
class HeartbeatResponse(Response):
    """Says whether the member may go on as it is."""

    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
