"""OffsetFetch (9): reads how far groups have read.

- v2 takes null topics for all there are, and has an error for the whole answer (KIP-88).
- v3 adds the throttle time, v5 the leader epoch of the offset (KIP-320). v6 is flexible.
- v7 can wait for transactions that commit offsets (``require_stable``, KIP-447).
- v8 asks for many groups at once (KIP-709): ``groups`` replaces what was there for one. Kafka names the classes in it
  anew; they carry the same.
- v9 serves groups of the new protocol too (KIP-848). v10 names topics by id.
"""

from __future__ import annotations

from uuid import UUID

import attrs

from minibroker.protocol.schema import Request, Response, array, boolean, int16, int32, int64, string, uuid


@attrs.define(kw_only=True)
class OffsetFetchRequestTopic:
    """Partitions of one topic."""

    name: str = string("0-9", ignorable=True)
    topic_id: UUID = uuid("10+", ignorable=True)
    partition_indexes: list[int] = array(int32)


@attrs.define(kw_only=True)
class OffsetFetchRequestGroup:
    """What to read of one group; null topics mean all."""

    group_id: str = string()
    member_id: str | None = string("9+", nullable="9+", ignorable=True, default=None)
    member_epoch: int = int32("9+", ignorable=True, default=-1)
    topics: list[OffsetFetchRequestTopic] | None = array(OffsetFetchRequestTopic, nullable="0+")


@attrs.define(kw_only=True)
class OffsetFetchRequest(Request["OffsetFetchResponse"]):
    """Asks for committed offsets."""

    group_id: str = string("0-7")
    topics: list[OffsetFetchRequestTopic] | None = array(OffsetFetchRequestTopic, "0-7", nullable="2-7")
    groups: list[OffsetFetchRequestGroup] = array(OffsetFetchRequestGroup, "8+")
    require_stable: bool = boolean("7+")


@attrs.define(kw_only=True)
class OffsetFetchResponsePartition:
    """The offset committed for one partition, -1 if there is none."""

    partition_index: int = int32()
    committed_offset: int = int64()
    committed_leader_epoch: int = int32("5+", ignorable=True, default=-1)
    metadata: str | None = string(nullable="0+")
    error_code: int = int16()


@attrs.define(kw_only=True)
class OffsetFetchResponseTopic:
    """The offsets of one topic."""

    name: str = string("0-9", ignorable=True)
    topic_id: UUID = uuid("10+", ignorable=True)
    partitions: list[OffsetFetchResponsePartition] = array(OffsetFetchResponsePartition)


@attrs.define(kw_only=True)
class OffsetFetchResponseGroup:
    """The offsets of one group."""

    group_id: str = string()
    topics: list[OffsetFetchResponseTopic] = array(OffsetFetchResponseTopic)
    error_code: int = int16()


@attrs.define(kw_only=True)
class OffsetFetchResponse(Response):
    """The committed offsets."""

    throttle_time_ms: int = int32("3+", ignorable=True)
    topics: list[OffsetFetchResponseTopic] = array(OffsetFetchResponseTopic, "0-7")
    error_code: int = int16("2-7", ignorable=True)
    groups: list[OffsetFetchResponseGroup] = array(OffsetFetchResponseGroup, "8+")
