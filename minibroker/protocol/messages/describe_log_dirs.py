"""DescribeLogDirs (35): shows how much room partitions take on disk (KIP-113).

v2 is flexible. v3 has an error for the whole answer, v4 the size of the volume (KIP-827), v5 cordoned directories
(KIP-1066).
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, boolean, int16, int32, int64, string


@attrs.define(kw_only=True)
class DescribableLogDirTopic:
    """Partitions of one topic."""

    topic: str = string()
    partitions: list[int] = array(int32)


@attrs.define(kw_only=True)
class DescribeLogDirsRequest(Request["DescribeLogDirsResponse"]):
    """Asks about some partitions, or all."""

    topics: list[DescribableLogDirTopic] | None = array(DescribableLogDirTopic, nullable="0+")


@attrs.define(kw_only=True)
class DescribeLogDirsPartition:
    """The size of one partition in bytes."""

    partition_index: int = int32()
    partition_size: int = int64()
    offset_lag: int = int64()
    is_future_key: bool = boolean()


@attrs.define(kw_only=True)
class DescribeLogDirsTopic:
    """The partitions of one topic in this directory."""

    name: str = string()
    partitions: list[DescribeLogDirsPartition] = array(DescribeLogDirsPartition)


@attrs.define(kw_only=True)
class DescribeLogDirsResult:
    """A directory, with the size of its volume and what is free there (-1 if unknown)."""

    error_code: int = int16()
    log_dir: str = string()
    topics: list[DescribeLogDirsTopic] = array(DescribeLogDirsTopic)
    total_bytes: int = int64("4+", ignorable=True, default=-1)
    usable_bytes: int = int64("4+", ignorable=True, default=-1)
    is_cordoned: bool = boolean("5+", ignorable=True)


@attrs.define(kw_only=True)
class DescribeLogDirsResponse(Response):
    """The directories of this broker."""

    throttle_time_ms: int = int32()
    error_code: int = int16("3+", ignorable=True)
    results: list[DescribeLogDirsResult] = array(DescribeLogDirsResult)
