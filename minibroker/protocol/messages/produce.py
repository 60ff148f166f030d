"""Produce (0): appends record batches to partitions.

- v0 to v2 carry message sets and are gone from Kafka 4; a broker still has to read them in order to refuse them
  (KAFKA-18659). v1 adds the throttle time, v2 the time of a log append.
- v3 carries record batches v2 and the transactional id (KIP-98).
- v4 may answer KAFKA_STORAGE_ERROR (KIP-112).
- v5 answers the log start offset, by which a producer tells retention from loss.
- v7 allows zstd (KIP-110).
- v8 names the records that were refused, and why (KIP-467).
- v9 is flexible. v10 tells where the leader is when it is not here (KIP-951).
- v11 may answer TRANSACTION_ABORTABLE, v12 adds partitions to a transaction implicitly (KIP-890).
- v13 names topics by id (KIP-516).

A request with ``acks=0`` has no response.
"""

from __future__ import annotations

from uuid import UUID

import attrs

from minibroker.protocol.messages.leadership import LeaderIdAndEpoch as LeaderIdAndEpoch
from minibroker.protocol.messages.leadership import NodeEndpoint as NodeEndpoint
from minibroker.protocol.schema import (
    Records,
    Request,
    Response,
    array,
    int16,
    int32,
    int64,
    raw_records,
    string,
    struct,
    uuid,
)


@attrs.define(kw_only=True)
class PartitionProduceData:
    """The batches for one partition."""

    index: int = int32()
    records: Records = raw_records(nullable="0+")


@attrs.define(kw_only=True)
class TopicProduceData:
    """The batches for one topic."""

    name: str = string("0-12", ignorable=True)
    topic_id: UUID = uuid("13+", ignorable=True)
    partition_data: list[PartitionProduceData] = array(PartitionProduceData)


@attrs.define(kw_only=True)
class ProduceRequest(Request["ProduceResponse"]):
    """Brings batches; ``acks`` is 0, 1 or -1 (all), and ``timeout_ms`` bounds the wait for replicas."""

    transactional_id: str | None = string("3+", nullable="3+", default=None)
    acks: int = int16()
    timeout_ms: int = int32()
    topic_data: list[TopicProduceData] = array(TopicProduceData)


@attrs.define(kw_only=True)
class BatchIndexAndErrorMessage:
    """A record that made the broker refuse its batch, by its index in the batch."""

    batch_index: int = int32()
    batch_index_error_message: str | None = string(nullable="0+", default=None)


@attrs.define(kw_only=True)
class PartitionProduceResponse:
    """What became of the batches of one partition; -1 stands for offsets and times there are none of."""

    index: int = int32()
    error_code: int = int16()
    base_offset: int = int64()
    log_append_time_ms: int = int64("2+", ignorable=True, default=-1)
    log_start_offset: int = int64("5+", ignorable=True, default=-1)
    record_errors: list[BatchIndexAndErrorMessage] = array(BatchIndexAndErrorMessage, "8+", ignorable=True)
    error_message: str | None = string("8+", nullable="8+", ignorable=True, default=None)
    current_leader: LeaderIdAndEpoch | None = struct(LeaderIdAndEpoch, "10+", tag=0)


@attrs.define(kw_only=True)
class TopicProduceResponse:
    """What became of the batches of one topic."""

    name: str = string("0-12", ignorable=True)
    topic_id: UUID = uuid("13+", ignorable=True)
    partition_responses: list[PartitionProduceResponse] = array(PartitionProduceResponse)


@attrs.define(kw_only=True)
class ProduceResponse(Response):
    """Tells for each partition where its batches are, or why not."""

    responses: list[TopicProduceResponse] = array(TopicProduceResponse)
    throttle_time_ms: int = int32("1+", ignorable=True)
    node_endpoints: list[NodeEndpoint] = array(NodeEndpoint, "10+", tag=0)
