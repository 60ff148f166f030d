"""OffsetDelete (47): deletes committed offsets of topics a group no longer subscribes to (KIP-496)."""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, int16, int32, string


@attrs.define(kw_only=True)
class OffsetDeleteRequestPartition:
    """A partition whose offset shall go."""

    partition_index: int = int32()


@attrs.define(kw_only=True)
class OffsetDeleteRequestTopic:
    """The partitions of one topic."""

    name: str = string()
    partitions: list[OffsetDeleteRequestPartition] = array(OffsetDeleteRequestPartition)


@attrs.define(kw_only=True)
class OffsetDeleteRequest(Request["OffsetDeleteResponse"]):
    """Asks for offsets of a group to be deleted."""

    group_id: str = string()
    topics: list[OffsetDeleteRequestTopic] = array(OffsetDeleteRequestTopic)


@attrs.define(kw_only=True)
class OffsetDeleteResponsePartition:
    """What became of one offset."""

    partition_index: int = int32()
    error_code: int = int16()


@attrs.define(kw_only=True)
class OffsetDeleteResponseTopic:
    """The partitions of one topic."""

    name: str = string()
    partitions: list[OffsetDeleteResponsePartition] = array(OffsetDeleteResponsePartition)


@attrs.define(kw_only=True)
class OffsetDeleteResponse(Response):
    """Tells for each partition whether its offset was deleted."""

    error_code: int = int16()
    throttle_time_ms: int = int32()
    topics: list[OffsetDeleteResponseTopic] = array(OffsetDeleteResponseTopic)
