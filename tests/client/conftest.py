"""What tests of the client share: scripted brokers, and real ones (ours; with `-m foreign` an Apache Kafka)."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from tests.client.fake import FakeCluster


@pytest.fixture
async def fake(nursery: trio.Nursery) -> AsyncIterator[FakeCluster]:
    """A scripted cluster of one broker. Tests take `autojump_clock` too: pytest-trio wants it named by the test."""
    cluster = FakeCluster(nursery)
    yield cluster
    nursery.cancel_scope.cancel()


@pytest.fixture(scope="session")
def our_broker() -> Iterator[str]:
    from minibroker.testing import BrokerThread

    settings = {"group.initial.rebalance.delay.ms": 0, "group.min.session.timeout.ms": 500}
    with BrokerThread(settings) as broker:
        yield broker.address


@pytest.fixture(params=["minibroker", pytest.param("apache", marks=pytest.mark.foreign)])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """HOST:PORT of a broker, shared by all tests: each uses topics and groups of its own."""
    if request.param == "minibroker":
        return str(request.getfixturevalue("our_broker"))
    if "KAFKA_BOOTSTRAP" not in os.environ:
        pytest.skip("KAFKA_BOOTSTRAP names no Apache Kafka to test against")
    return os.environ["KAFKA_BOOTSTRAP"]


@pytest.fixture
def topic() -> str:
    """A name that no other test uses."""
    return f"topic-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def group() -> str:
    """A name that no other test uses."""
    return f"group-{uuid.uuid4().hex[:12]}"
