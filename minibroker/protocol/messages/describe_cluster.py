"""DescribeCluster (60): shows the cluster and its brokers (KIP-700).

v1 asks for brokers (1) or controllers (2, KIP-919). v2 can include fenced brokers (KIP-1073).
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import OPERATIONS_OMITTED, Request, Response, array, boolean, int8, int16, int32, string


@attrs.define(kw_only=True)
class DescribeClusterRequest(Request["DescribeClusterResponse"]):
    """Asks about the cluster."""

    include_cluster_authorized_operations: bool = boolean()
    endpoint_type: int = int8("1+", default=1)
    include_fenced_brokers: bool = boolean("2+")


@attrs.define(kw_only=True)
class DescribeClusterBroker:
    """A broker, at the address it advertises."""

    broker_id: int = int32()
    host: str = string()
    port: int = int32()
    rack: str | None = string(nullable="0+", default=None)
    is_fenced: bool = boolean("2+")


@attrs.define(kw_only=True)
class DescribeClusterResponse(Response):
    """The cluster as this broker sees it."""

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = string(nullable="0+", default=None)
    endpoint_type: int = int8("1+", default=1)
    cluster_id: str = string()
    controller_id: int = int32(default=-1)
    brokers: list[DescribeClusterBroker] = array(DescribeClusterBroker)
    cluster_authorized_operations: int = int32(default=OPERATIONS_OMITTED)
