"""DescribeTopicPartitions (75): shows topics page by page, with eligible leaders (KIP-966)."""

from __future__ import annotations

from uuid import UUID

import attrs

from minibroker.protocol.schema import (
    OPERATIONS_OMITTED,
    Request,
    Response,
    array,
    boolean,
    int16,
    int32,
    string,
    struct,
    uuid,
)


@attrs.define(kw_only=True)
class TopicRequest:
    """A topic by name."""

    name: str = string()


@attrs.define(kw_only=True)
class Cursor:
    """Where a page begins, or the next one does."""

    topic_name: str = string()
    partition_index: int = int32()


@attrs.define(kw_only=True)
class DescribeTopicPartitionsRequest(Request["DescribeTopicPartitionsResponse"]):
    """Asks for a page: topics in the order of their names, no topics meaning all."""

    topics: list[TopicRequest] = array(TopicRequest)
    response_partition_limit: int = int32(default=2000)
    cursor: Cursor | None = struct(Cursor, nullable="0+")


@attrs.define(kw_only=True)
class DescribeTopicPartitionsResponsePartition:
    """A partition with its replicas."""

    error_code: int = int16()
    partition_index: int = int32()
    leader_id: int = int32()
    leader_epoch: int = int32(default=-1)
    replica_nodes: list[int] = array(int32)
    isr_nodes: list[int] = array(int32)
    eligible_leader_replicas: list[int] | None = array(int32, nullable="0+", default=None)
    last_known_elr: list[int] | None = array(int32, nullable="0+", default=None)
    offline_replicas: list[int] = array(int32)


@attrs.define(kw_only=True)
class DescribeTopicPartitionsResponseTopic:
    """A topic with those of its partitions that are on the page."""

    error_code: int = int16()
    name: str | None = string(nullable="0+")
    topic_id: UUID = uuid()
    is_internal: bool = boolean()
    partitions: list[DescribeTopicPartitionsResponsePartition] = array(DescribeTopicPartitionsResponsePartition)
    topic_authorized_operations: int = int32(default=OPERATIONS_OMITTED)


@attrs.define(kw_only=True)
class DescribeTopicPartitionsResponse(Response):
    """A page, and where the next one begins if there is one."""

    throttle_time_ms: int = int32()
    topics: list[DescribeTopicPartitionsResponseTopic] = array(DescribeTopicPartitionsResponseTopic)
    next_cursor: Cursor | None = struct(Cursor, nullable="0+")
