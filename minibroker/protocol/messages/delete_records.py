"""DeleteRecords (21): deletes what lies before an offset, by moving the log start there (KIP-107).

v2 is flexible.
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, int16, int32, int64, string


@attrs.define(kw_only=True)
class DeleteRecordsPartition:
    """Where a partition shall begin; -1 is its high watermark."""

    partition_index: int = int32()
    offset: int = int64()


@attrs.define(kw_only=True)
class DeleteRecordsTopic:
    """The partitions of one topic."""

    name: str = string()
    partitions: list[DeleteRecordsPartition] = array(DeleteRecordsPartition)


@attrs.define(kw_only=True)
class DeleteRecordsRequest(Request["DeleteRecordsResponse"]):
    """Asks for records to be deleted."""

    topics: list[DeleteRecordsTopic] = array(DeleteRecordsTopic)
    timeout_ms: int = int32()


@attrs.define(kw_only=True)
class DeleteRecordsPartitionResult:
    """Where the partition begins now."""

    partition_index: int = int32()
    low_watermark: int = int64()
    error_code: int = int16()


@attrs.define(kw_only=True)
class DeleteRecordsTopicResult:
    """The partitions of one topic."""

    name: str = string()
    partitions: list[DeleteRecordsPartitionResult] = array(DeleteRecordsPartitionResult)


@attrs.define(kw_only=True)
class DeleteRecordsResponse(Response):
    """Tells for each partition where it begins now."""

    throttle_time_ms: int = int32()
    topics: list[DeleteRecordsTopicResult] = array(DeleteRecordsTopicResult)
