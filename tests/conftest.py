"""What all tests share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# No test judges by the clock: a busy machine must not fail a property.
settings.register_profile("minibroker", deadline=None)
settings.load_profile("minibroker")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are processors: many tests wait for a disk, or for a client that tries again."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True)
def _no_threads_under_a_clock_that_jumps(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where all tasks wait the clock jumps, by days if need be, whatever a thread still has to do: let none have anything."""
    if "autojump_clock" not in request.fixturenames:
        yield
        return
    from tests.simulation.isolation import one_thread

    with one_thread():
        yield
