from collections.abc import AsyncIterator

import pytest

from tests.handlers.harness import HandlerBench, open_bench


@pytest.fixture
async def bench() -> AsyncIterator[HandlerBench]:
    async with open_bench() as opened:
        yield opened
