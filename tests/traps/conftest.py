"""A broker for all tests of traps: each uses topics of its own."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator

import pytest

from minibroker.testing import BrokerThread
from tests.traps.wire import Wire


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerThread]:
    with BrokerThread() as broker:
        yield broker


@pytest.fixture
def wire(broker: BrokerThread) -> Iterator[Wire]:
    with Wire(broker.address) as wire:
        yield wire


@pytest.fixture
def topic() -> str:
    """A name that no other test uses."""
    return f"topic-{uuid.uuid4().hex[:12]}"


@pytest.fixture(autouse=True)
def no_errors_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing a client sends may be logged as an error: it would be a bug of the broker's."""
    yield
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
