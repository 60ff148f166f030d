"""FindCoordinator (10): tells which broker coordinates a group or a transactional id.

- v1 asks for either kind: ``key_type`` 0 is a group, 1 a transactional id (KIP-98).
- v3 is flexible. v4 asks for many keys at once (KIP-699); until then there is one ``key`` and one answer.
- v5 may answer TRANSACTION_ABORTABLE (KIP-890). v6 adds share groups as ``key_type`` 2 (KIP-932).
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, int8, int16, int32, string


@attrs.define(kw_only=True)
class FindCoordinatorRequest(Request["FindCoordinatorResponse"]):
    """Asks for the coordinators of keys of one kind."""

    key: str = string("0-3")
    key_type: int = int8("1+")
    coordinator_keys: list[str] = array(string, "4+")


@attrs.define(kw_only=True)
class Coordinator:
    """The coordinator of one key."""

    key: str = string()
    node_id: int = int32()
    host: str = string()
    port: int = int32()
    error_code: int = int16()
    error_message: str | None = string(nullable="0+", default=None)


@attrs.define(kw_only=True)
class FindCoordinatorResponse(Response):
    """The coordinators, from v4 on as a list."""

    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16("0-3")
    error_message: str | None = string("1-3", nullable="1-3", ignorable=True, default=None)
    node_id: int = int32("0-3")
    host: str = string("0-3")
    port: int = int32("0-3")
    coordinators: list[Coordinator] = array(Coordinator, "4+")
