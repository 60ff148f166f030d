"""DeleteGroups (42): deletes groups without members, and their offsets (KIP-229).

v2 is flexible.
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, int16, int32, string


@attrs.define(kw_only=True)
class DeleteGroupsRequest(Request["DeleteGroupsResponse"]):
    """Asks for groups to be deleted."""

    groups_names: list[str] = array(string)


@attrs.define(kw_only=True)
class DeletableGroupResult:
    """What became of one group."""

    group_id: str = string()
    error_code: int = int16()


@attrs.define(kw_only=True)
class DeleteGroupsResponse(Response):
    """Tells for each group whether it was deleted."""

    throttle_time_ms: int = int32()
    results: list[DeletableGroupResult] = array(DeletableGroupResult)
