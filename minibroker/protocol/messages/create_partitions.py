"""CreatePartitions (37): gives topics more partitions (KIP-195).

v2 is flexible, v3 may answer THROTTLING_QUOTA_EXCEEDED (KIP-599).
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, boolean, int16, int32, string


@attrs.define(kw_only=True)
class CreatePartitionsAssignment:
    """The brokers that shall hold one new partition."""

    broker_ids: list[int] = array(int32)


@attrs.define(kw_only=True)
class CreatePartitionsTopic:
    """The number of partitions a topic shall have in all."""

    name: str = string()
    count: int = int32()
    assignments: list[CreatePartitionsAssignment] | None = array(CreatePartitionsAssignment, nullable="0+")


@attrs.define(kw_only=True)
class CreatePartitionsRequest(Request["CreatePartitionsResponse"]):
    """Asks for more partitions, or only whether there could be more."""

    topics: list[CreatePartitionsTopic] = array(CreatePartitionsTopic)
    timeout_ms: int = int32()
    validate_only: bool = boolean()


@attrs.define(kw_only=True)
class CreatePartitionsTopicResult:
    """What became of one topic."""

    name: str = string()
    error_code: int = int16()
    error_message: str | None = string(nullable="0+", default=None)


@attrs.define(kw_only=True)
class CreatePartitionsResponse(Response):
    """Tells for each topic whether it has grown."""

    throttle_time_ms: int = int32()
    results: list[CreatePartitionsTopicResult] = array(CreatePartitionsTopicResult)
