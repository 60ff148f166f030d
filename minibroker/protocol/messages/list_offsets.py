"""ListOffsets (2): finds the offset that belongs to a time, or the ends of a partition.

- v1 answers one offset, with its timestamp (KIP-79). v2 adds the isolation level (KIP-98).
- v4 adds leader epochs (KIP-320). v5 may answer OFFSET_NOT_AVAILABLE (KIP-207).
- v6 is flexible.
- v7 finds the record with the largest timestamp (-3, KIP-734); v8 the local log start (-4, KIP-405); v9 the last
  tiered offset (-5, KIP-1005); v11 the earliest offset still to be uploaded (-6, KIP-1023).
- v10 bounds the wait for tiered storage (KIP-1075).
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, int8, int16, int32, int64, string


@attrs.define(kw_only=True)
class ListOffsetsPartition:
    """What to find in one partition: a time in ms, or one of the negative numbers that stand for an end."""

    partition_index: int = int32()
    current_leader_epoch: int = int32("4+", ignorable=True, default=-1)
    timestamp: int = int64()


@attrs.define(kw_only=True)
class ListOffsetsTopic:
    """What to find in one topic."""

    name: str = string()
    partitions: list[ListOffsetsPartition] = array(ListOffsetsPartition)


@attrs.define(kw_only=True)
class ListOffsetsRequest(Request["ListOffsetsResponse"]):
    """Asks for offsets by time."""

    replica_id: int = int32()
    isolation_level: int = int8("2+")
    topics: list[ListOffsetsTopic] = array(ListOffsetsTopic)
    timeout_ms: int = int32("10+", ignorable=True)


@attrs.define(kw_only=True)
class ListOffsetsPartitionResponse:
    """The first record at or after the time asked for; -1 when there is none."""

    partition_index: int = int32()
    error_code: int = int16()
    timestamp: int = int64(default=-1)
    offset: int = int64(default=-1)
    leader_epoch: int = int32("4+", default=-1)


@attrs.define(kw_only=True)
class ListOffsetsTopicResponse:
    """What was found in one topic."""

    name: str = string()
    partitions: list[ListOffsetsPartitionResponse] = array(ListOffsetsPartitionResponse)


@attrs.define(kw_only=True)
class ListOffsetsResponse(Response):
    """The offsets found."""

    throttle_time_ms: int = int32("2+", ignorable=True)
    topics: list[ListOffsetsTopicResponse] = array(ListOffsetsTopicResponse)
