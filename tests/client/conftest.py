"""What tests of the client share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.client.fake import FakeCluster


@pytest.fixture
async def fake(nursery: trio.Nursery) -> AsyncIterator[FakeCluster]:
    """A scripted cluster of one broker. Tests take `autojump_clock` too: pytest-trio wants it named by the test."""
    cluster = FakeCluster(nursery)
    yield cluster
    nursery.cancel_scope.cancel()
