"""DescribeCluster: one broker, at the address this client was told; no controller here."""

import pytest

from minibroker.handlers.authorized import CLUSTER_OPERATIONS
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.describe_cluster import DescribeClusterRequest
from minibroker.protocol.schema import OPERATIONS_OMITTED
from tests.handlers.harness import ENDPOINT, HandlerBench


@pytest.mark.parametrize("version", range(3))
async def test_the_broker_is_the_cluster(bench: HandlerBench, version: int) -> None:
    """Its id, its address, and itself as controller."""
    response = await bench.ask(DescribeClusterRequest(), version)
    assert response.error_code == 0
    assert response.cluster_id == bench.services.cluster_id
    assert response.controller_id == 0
    [broker] = response.brokers
    assert (broker.broker_id, broker.host, broker.port) == (0, ENDPOINT.host, ENDPOINT.port)


@pytest.mark.parametrize(("asked", "bits"), [(True, CLUSTER_OPERATIONS), (False, OPERATIONS_OMITTED)])
async def test_authorized_operations(bench: HandlerBench, asked: bool, bits: int) -> None:
    """Told only if asked for."""
    response = await bench.ask(DescribeClusterRequest(include_cluster_authorized_operations=asked), 1)
    assert response.cluster_authorized_operations == bits


@pytest.mark.parametrize(
    ("endpoint_type", "code"), [(2, ErrorCode.MISMATCHED_ENDPOINT_TYPE), (3, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE)]
)
async def test_other_endpoints(bench: HandlerBench, endpoint_type: int, code: ErrorCode) -> None:
    """We are a broker, not a controller."""
    response = await bench.ask(DescribeClusterRequest(endpoint_type=endpoint_type), 1)
    assert (response.error_code, response.brokers) == (code, [])
