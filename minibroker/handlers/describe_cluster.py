"""DescribeCluster (60), versions 0-2: the cluster, which is this broker (KIP-700).

v1 can ask a controller for controllers (KIP-919): we are a broker, and refuse. v2 can ask for fenced brokers (KIP-1073):
there are none.
"""

from __future__ import annotations

from minibroker.handlers.authorized import CLUSTER_OPERATIONS
from minibroker.handlers.context import RequestContext
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)
from minibroker.protocol.schema import OPERATIONS_OMITTED

BROKERS = 1
CONTROLLERS = 2


def handle(request: DescribeClusterRequest, context: RequestContext) -> DescribeClusterResponse:
    """Describe this broker."""
    if request.endpoint_type != BROKERS:
        known = request.endpoint_type == CONTROLLERS
        return DescribeClusterResponse(
            error_code=ErrorCode.MISMATCHED_ENDPOINT_TYPE if known else ErrorCode.UNSUPPORTED_ENDPOINT_TYPE,
            error_message=f"expected a request for brokers (1), found one for endpoints of type {request.endpoint_type}",
        )
    node_id = context.services.node_id
    return DescribeClusterResponse(
        cluster_id=context.services.cluster_id,
        controller_id=node_id,
        brokers=[DescribeClusterBroker(broker_id=node_id, host=context.endpoint.host, port=context.endpoint.port)],
        cluster_authorized_operations=(
            CLUSTER_OPERATIONS if request.include_cluster_authorized_operations else OPERATIONS_OMITTED
        ),
    )
