"""OffsetCommit (8): stores how far a group has read.

- v2 to v4 let the client say how long the offset is kept; since v5 the broker decides (KIP-211).
- v3 adds the throttle time. v6 adds the leader epoch of the offset (KIP-320). v7 has static members (KIP-345).
- v8 is flexible. v9 serves groups of the new protocol too, with their member epoch (KIP-848).
- v10 names topics by id.
"""

from __future__ import annotations

from uuid import UUID

import attrs

from minibroker.protocol.schema import Request, Response, array, int16, int32, int64, string, uuid


@attrs.define(kw_only=True)
class OffsetCommitRequestPartition:
    """The next offset to read in one partition, with a note of the client."""

    partition_index: int = int32()
    committed_offset: int = int64()
    committed_leader_epoch: int = int32("6+", ignorable=True, default=-1)
    committed_metadata: str | None = string(nullable="0+")


@attrs.define(kw_only=True)
class OffsetCommitRequestTopic:
    """The offsets of one topic."""

    name: str = string("0-9", ignorable=True)
    topic_id: UUID = uuid("10+", ignorable=True)
    partitions: list[OffsetCommitRequestPartition] = array(OffsetCommitRequestPartition)


@attrs.define(kw_only=True)
class OffsetCommitRequest(Request["OffsetCommitResponse"]):
    """Commits offsets; generation -1 and no member id for a consumer that is in no group."""

    group_id: str = string()
    generation_id_or_member_epoch: int = int32(default=-1)
    member_id: str = string()
    group_instance_id: str | None = string("7+", nullable="7+", default=None)
    retention_time_ms: int = int64("0-4", ignorable=True, default=-1)
    topics: list[OffsetCommitRequestTopic] = array(OffsetCommitRequestTopic)


@attrs.define(kw_only=True)
class OffsetCommitResponsePartition:
    """Whether the offset of one partition was stored."""

    partition_index: int = int32()
    error_code: int = int16()


@attrs.define(kw_only=True)
class OffsetCommitResponseTopic:
    """What became of the offsets of one topic."""

    name: str = string("0-9", ignorable=True)
    topic_id: UUID = uuid("10+", ignorable=True)
    partitions: list[OffsetCommitResponsePartition] = array(OffsetCommitResponsePartition)


@attrs.define(kw_only=True)
class OffsetCommitResponse(Response):
    """Tells for each partition whether its offset was stored."""

    throttle_time_ms: int = int32("3+", ignorable=True)
    topics: list[OffsetCommitResponseTopic] = array(OffsetCommitResponseTopic)
