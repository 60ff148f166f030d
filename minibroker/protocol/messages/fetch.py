"""Fetch (1): reads record batches from partitions, and waits for them if there are too few.

- v4 returns record batches v2, the last stable offset and aborted transactions (KIP-98).
- v5 adds log start offsets (KIP-107).
- v7 adds fetch sessions: later requests name only what changed (KIP-227). Session id 0 means none.
- v9 lets the leader fence old clients by leader epoch (KIP-320).
- v10 allows zstd (KIP-110). v11 lets a consumer read from a replica near it (KIP-392).
- v12 is flexible, detects truncation by epoch (KIP-595) and tells where the leader is.
- v13 names topics by id (KIP-516). v14 may answer OFFSET_MOVED_TO_TIERED_STORAGE (KIP-405).
- v15 moves the replica id into a tagged struct (KIP-903). v16 adds the leaders' addresses (KIP-951).
- v17 and v18 add what KRaft's controllers need from each other (KIP-853, KIP-1166).
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
    int8,
    int16,
    int32,
    int64,
    raw_records,
    string,
    struct,
    uuid,
)


@attrs.define(kw_only=True)
class ReplicaState:
    """Who fetches: a follower, or -1 for a consumer."""

    replica_id: int = int32(default=-1)
    replica_epoch: int = int64(default=-1)


@attrs.define(kw_only=True)
class FetchPartition:
    """Where to read in one partition, and how much at most."""

    partition: int = int32()
    current_leader_epoch: int = int32("9+", ignorable=True, default=-1)
    fetch_offset: int = int64()
    last_fetched_epoch: int = int32("12+", default=-1)
    log_start_offset: int = int64("5+", ignorable=True, default=-1)
    partition_max_bytes: int = int32()
    replica_directory_id: UUID = uuid("17+", tag=0, ignorable=True)
    high_watermark: int = int64("18+", tag=1, ignorable=True, default=(1 << 63) - 1)


@attrs.define(kw_only=True)
class FetchTopic:
    """The partitions of one topic to read from."""

    topic: str = string("0-12", ignorable=True)
    topic_id: UUID = uuid("13+", ignorable=True)
    partitions: list[FetchPartition] = array(FetchPartition)


@attrs.define(kw_only=True)
class ForgottenTopic:
    """Partitions that leave the fetch session."""

    topic: str = string("0-12", ignorable=True)
    topic_id: UUID = uuid("13+", ignorable=True)
    partitions: list[int] = array(int32)


@attrs.define(kw_only=True)
class FetchRequest(Request["FetchResponse"]):
    """Asks for batches: at least ``min_bytes`` in all or what is there after ``max_wait_ms``, at most ``max_bytes``."""

    cluster_id: str | None = string("12+", nullable="12+", tag=0, ignorable=True, default=None)
    replica_id: int = int32("0-14", default=-1)
    replica_state: ReplicaState | None = struct(ReplicaState, "15+", tag=1)
    max_wait_ms: int = int32()
    min_bytes: int = int32()
    max_bytes: int = int32(default=(1 << 31) - 1)
    isolation_level: int = int8()
    session_id: int = int32("7+", ignorable=True)
    session_epoch: int = int32("7+", ignorable=True, default=-1)
    topics: list[FetchTopic] = array(FetchTopic)
    forgotten_topics_data: list[ForgottenTopic] = array(ForgottenTopic, "7+")
    rack_id: str = string("11+", ignorable=True)


@attrs.define(kw_only=True)
class EpochEndOffset:
    """The last epoch that leader and follower share, and where it ends."""

    epoch: int = int32(default=-1)
    end_offset: int = int64(default=-1)


@attrs.define(kw_only=True)
class SnapshotId:
    """The snapshot to fetch instead of a log that no longer goes back so far."""

    end_offset: int = int64(default=-1)
    epoch: int = int32(default=-1)


@attrs.define(kw_only=True)
class AbortedTransaction:
    """A transaction whose records, from ``first_offset`` on, a consumer of committed records must skip."""

    producer_id: int = int64()
    first_offset: int = int64()


@attrs.define(kw_only=True)
class PartitionData:
    """The batches of one partition, whole ones, the first perhaps beginning before the offset asked for."""

    partition_index: int = int32()
    error_code: int = int16()
    high_watermark: int = int64()
    last_stable_offset: int = int64(default=-1)
    log_start_offset: int = int64("5+", ignorable=True, default=-1)
    diverging_epoch: EpochEndOffset | None = struct(EpochEndOffset, "12+", tag=0)
    current_leader: LeaderIdAndEpoch | None = struct(LeaderIdAndEpoch, "12+", tag=1)
    snapshot_id: SnapshotId | None = struct(SnapshotId, "12+", tag=2)
    aborted_transactions: list[AbortedTransaction] | None = array(AbortedTransaction, nullable="0+")
    preferred_read_replica: int = int32("11+", default=-1)
    records: Records = raw_records(nullable="0+")


@attrs.define(kw_only=True)
class FetchableTopicResponse:
    """The partitions of one topic."""

    topic: str = string("0-12", ignorable=True)
    topic_id: UUID = uuid("13+", ignorable=True)
    partitions: list[PartitionData] = array(PartitionData)


@attrs.define(kw_only=True)
class FetchResponse(Response):
    """Brings what there is to read."""

    throttle_time_ms: int = int32()
    error_code: int = int16("7+", ignorable=True)
    session_id: int = int32("7+")
    responses: list[FetchableTopicResponse] = array(FetchableTopicResponse)
    node_endpoints: list[NodeEndpoint] = array(NodeEndpoint, "16+", tag=0)
