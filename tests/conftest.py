"""What all tests share."""

import os

import pytest
from hypothesis import settings

# No test judges by the clock: a busy machine must not fail a property.
settings.register_profile("minibroker", deadline=None)
settings.load_profile("minibroker")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are processors: many tests wait for a disk, or for a client that tries again."""
    return (os.cpu_count() or 1) + 1
