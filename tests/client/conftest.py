"""What tests of the client share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.client.fake import FakeCluster


@pytest.fixture
async def fake(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> AsyncIterator[FakeCluster]:
    """A scripted cluster of one broker; time jumps."""
    cluster = FakeCluster(nursery)
    yield cluster
    nursery.cancel_scope.cancel()
