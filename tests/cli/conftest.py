"""A broker for the programs to talk to: ours and, with `-m foreign`, the Apache Kafka that KAFKA_BOOTSTRAP names."""

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.cli.program import Programs


@pytest.fixture(scope="session")
def our_broker() -> Iterator[str]:
    from minibroker.testing import BrokerThread  # the tests of Apache Kafka do without

    with BrokerThread() as broker:
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
def program(bootstrap: str, capfd: pytest.CaptureFixture[str]) -> Programs:
    """Runs `produce`, `consume` and `admin` against the broker under test."""
    return Programs(bootstrap, capfd)


@pytest.fixture
def topic() -> str:
    """A name that no other test uses."""
    return f"topic-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def group() -> str:
    """A name that no other test uses."""
    return f"group-{uuid.uuid4().hex[:12]}"
