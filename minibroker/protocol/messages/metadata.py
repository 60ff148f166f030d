"""Metadata (3): brokers, topics, partitions and their leaders; also what creates topics by being asked for them.

- v1 adds racks, the controller and ``is_internal``. Null topics mean all; before, an empty list did.
- v2 adds the cluster id, v3 the throttle time.
- v4 lets the client forbid automatic creation, which older versions imply.
- v5 lists offline replicas, v7 the leader epoch (KIP-320).
- v8 to v10 report what the client may do with the cluster (KIP-430; DescribeCluster took over with KIP-700), v8 and
  later what it may do with each topic.
- v9 is flexible. v10 adds topic ids; v12 lets a request name a topic by its id alone (KIP-516).
- v13 has an error for the whole response, for REBOOTSTRAP_REQUIRED (KIP-1102).
"""

from __future__ import annotations

from uuid import UUID

import attrs

from minibroker.protocol.schema import OPERATIONS_OMITTED, Request, Response, array, boolean, int16, int32, string, uuid


@attrs.define(kw_only=True)
class MetadataRequestTopic:
    """A topic by name or, with a null name, by id."""

    topic_id: UUID = uuid("10+", ignorable=True)
    name: str | None = string(nullable="10+")


@attrs.define(kw_only=True)
class MetadataRequest(Request["MetadataResponse"]):
    """Asks about some topics, or all of them."""

    topics: list[MetadataRequestTopic] | None = array(MetadataRequestTopic, nullable="1+")
    allow_auto_topic_creation: bool = boolean("4+", default=True)
    include_cluster_authorized_operations: bool = boolean("8-10")
    include_topic_authorized_operations: bool = boolean("8+")


@attrs.define(kw_only=True)
class MetadataResponseBroker:
    """A broker, at the address it advertises."""

    node_id: int = int32()
    host: str = string()
    port: int = int32()
    rack: str | None = string("1+", nullable="1+", ignorable=True, default=None)


@attrs.define(kw_only=True)
class MetadataResponsePartition:
    """A partition, its leader (-1 if it has none) and its replicas, as node ids."""

    error_code: int = int16()
    partition_index: int = int32()
    leader_id: int = int32()
    leader_epoch: int = int32("7+", ignorable=True, default=-1)
    replica_nodes: list[int] = array(int32)
    isr_nodes: list[int] = array(int32)
    offline_replicas: list[int] = array(int32, "5+", ignorable=True)


@attrs.define(kw_only=True)
class MetadataResponseTopic:
    """A topic with its partitions, or the reason why there are none."""

    error_code: int = int16()
    name: str | None = string(nullable="12+")
    topic_id: UUID = uuid("10+", ignorable=True)
    is_internal: bool = boolean("1+", ignorable=True)
    partitions: list[MetadataResponsePartition] = array(MetadataResponsePartition)
    topic_authorized_operations: int = int32("8+", default=OPERATIONS_OMITTED)


@attrs.define(kw_only=True)
class MetadataResponse(Response):
    """The cluster as this broker sees it."""

    throttle_time_ms: int = int32("3+", ignorable=True)
    brokers: list[MetadataResponseBroker] = array(MetadataResponseBroker)
    cluster_id: str | None = string("2+", nullable="2+", ignorable=True, default=None)
    controller_id: int = int32("1+", ignorable=True, default=-1)
    topics: list[MetadataResponseTopic] = array(MetadataResponseTopic)
    cluster_authorized_operations: int = int32("8-10", default=OPERATIONS_OMITTED)
    error_code: int = int16("13+", ignorable=True)
