"""OffsetForLeaderEpoch (23): tells where an epoch ended, so that a reader notices when the log behind it was cut.

- v2 adds the epoch the client believes in, which fences it (KIP-320).
- v3 adds the replica id; -2 is a consumer. v4 is flexible.
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, int16, int32, int64, string


@attrs.define(kw_only=True)
class OffsetForLeaderPartition:
    """The epoch to look up in one partition."""

    partition: int = int32()
    current_leader_epoch: int = int32(default=-1)
    leader_epoch: int = int32()


@attrs.define(kw_only=True)
class OffsetForLeaderTopic:
    """The partitions of one topic."""

    topic: str = string()
    partitions: list[OffsetForLeaderPartition] = array(OffsetForLeaderPartition)


@attrs.define(kw_only=True)
class OffsetForLeaderEpochRequest(Request["OffsetForLeaderEpochResponse"]):
    """Asks where epochs ended."""

    replica_id: int = int32("3+", ignorable=True, default=-2)
    topics: list[OffsetForLeaderTopic] = array(OffsetForLeaderTopic)


@attrs.define(kw_only=True)
class EpochEndOffset:
    """The largest epoch not above the one asked for, and where it ends; -1 when unknown."""

    error_code: int = int16()
    partition: int = int32()
    leader_epoch: int = int32(default=-1)
    end_offset: int = int64(default=-1)


@attrs.define(kw_only=True)
class OffsetForLeaderTopicResult:
    """The partitions of one topic."""

    topic: str = string()
    partitions: list[EpochEndOffset] = array(EpochEndOffset)


@attrs.define(kw_only=True)
class OffsetForLeaderEpochResponse(Response):
    """Tells where the epochs ended."""

    throttle_time_ms: int = int32()
    topics: list[OffsetForLeaderTopicResult] = array(OffsetForLeaderTopicResult)
