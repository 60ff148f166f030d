"""Where a partition's leader is, as Produce and Fetch tell a client that asked the wrong broker (KIP-951)."""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import int32, string


@attrs.define(kw_only=True)
class LeaderIdAndEpoch:
    """The leader of a partition; -1 where it is not known."""

    leader_id: int = int32(default=-1)
    leader_epoch: int = int32(default=-1)


@attrs.define(kw_only=True)
class NodeEndpoint:
    """The address of a leader named elsewhere in the response."""

    node_id: int = int32()
    host: str = string()
    port: int = int32()
    rack: str | None = string(nullable="0+", default=None)
