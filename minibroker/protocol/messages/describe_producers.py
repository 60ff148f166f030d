"""DescribeProducers (61): shows the idempotent producers a partition remembers (KIP-664)."""

from __future__ import annotations

from typing import ClassVar

import attrs

from minibroker.protocol.api import ApiKey
from minibroker.protocol.schema import Request, Response, array, int16, int32, int64, string


@attrs.define(kw_only=True)
class TopicRequest:
    """Partitions of one topic."""

    name: str = string()
    partition_indexes: list[int] = array(int32)


@attrs.define(kw_only=True)
class DescribeProducersRequest(Request["DescribeProducersResponse"]):
    """Asks about partitions."""

    api: ClassVar = ApiKey.DESCRIBE_PRODUCERS

    topics: list[TopicRequest] = array(TopicRequest)


@attrs.define(kw_only=True)
class ProducerState:
    """A producer: where it is in its sequence, and in a transaction if it has one open."""

    producer_id: int = int64()
    producer_epoch: int = int32()
    last_sequence: int = int32(default=-1)
    last_timestamp: int = int64(default=-1)
    coordinator_epoch: int = int32()
    current_txn_start_offset: int = int64(default=-1)


@attrs.define(kw_only=True)
class PartitionResponse:
    """The producers of one partition."""

    partition_index: int = int32()
    error_code: int = int16()
    error_message: str | None = string(nullable="0+", default=None)
    active_producers: list[ProducerState] = array(ProducerState)


@attrs.define(kw_only=True)
class TopicResponse:
    """The partitions of one topic."""

    name: str = string()
    partitions: list[PartitionResponse] = array(PartitionResponse)


@attrs.define(kw_only=True)
class DescribeProducersResponse(Response):
    """The producers."""

    api: ClassVar = ApiKey.DESCRIBE_PRODUCERS

    throttle_time_ms: int = int32()
    topics: list[TopicResponse] = array(TopicResponse)
