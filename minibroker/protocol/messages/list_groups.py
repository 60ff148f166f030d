"""ListGroups (16): lists the groups this broker coordinates.

v1 adds the throttle time. v3 is flexible. v4 filters by state (KIP-518), v5 by type (KIP-848).
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, int16, int32, string


@attrs.define(kw_only=True)
class ListGroupsRequest(Request["ListGroupsResponse"]):
    """Asks for all groups, or those in some states and of some types."""

    states_filter: list[str] = array(string, "4+")
    types_filter: list[str] = array(string, "5+")


@attrs.define(kw_only=True)
class ListedGroup:
    """A group in brief."""

    group_id: str = string()
    protocol_type: str = string()
    group_state: str = string("4+", ignorable=True)
    group_type: str = string("5+", ignorable=True)


@attrs.define(kw_only=True)
class ListGroupsResponse(Response):
    """The groups."""

    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
    groups: list[ListedGroup] = array(ListedGroup)
