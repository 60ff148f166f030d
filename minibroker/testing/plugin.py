"""The pytest plugin: the fixture `minibroker`, a broker for one test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from minibroker.testing.broker_thread import BrokerThread


@pytest.fixture
def minibroker() -> Iterator[BrokerThread]:
    """A broker on a free port with an empty directory; `minibroker.address` is its HOST:PORT."""
    from minibroker.testing.broker_thread import BrokerThread  # only a test that uses it pays for the import

    with BrokerThread() as broker:
        yield broker
