"""DescribeGroups (15): shows groups with their members.

- v1 adds the throttle time. v3 tells what the client may do with the group (KIP-430). v4 shows instance ids (KIP-345).
- v5 is flexible. v6 answers GROUP_ID_NOT_FOUND instead of a dead group (KIP-1043).
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import (
    OPERATIONS_OMITTED,
    Request,
    Response,
    array,
    binary,
    boolean,
    int16,
    int32,
    string,
)


@attrs.define(kw_only=True)
class DescribeGroupsRequest(Request["DescribeGroupsResponse"]):
    """Asks about groups by id."""

    groups: list[str] = array(string)
    include_authorized_operations: bool = boolean("3+")


@attrs.define(kw_only=True)
class DescribedGroupMember:
    """A member; metadata and assignment are filled only while the group is stable."""

    member_id: str = string()
    group_instance_id: str | None = string("4+", nullable="4+", ignorable=True, default=None)
    client_id: str = string()
    client_host: str = string()
    member_metadata: bytes = binary()
    member_assignment: bytes = binary()


@attrs.define(kw_only=True)
class DescribedGroup:
    """A group; ``protocol_data`` is the name of the protocol it has chosen."""

    error_code: int = int16()
    error_message: str | None = string("6+", nullable="6+", default=None)
    group_id: str = string()
    group_state: str = string()
    protocol_type: str = string()
    protocol_data: str = string()
    members: list[DescribedGroupMember] = array(DescribedGroupMember)
    authorized_operations: int = int32("3+", default=OPERATIONS_OMITTED)


@attrs.define(kw_only=True)
class DescribeGroupsResponse(Response):
    """The groups, in the order asked for."""

    throttle_time_ms: int = int32("1+", ignorable=True)
    groups: list[DescribedGroup] = array(DescribedGroup)
