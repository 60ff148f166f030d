"""A disk that fails or is full at any one step of a broker's life: nothing that anybody was told is lost.

The broker may go on, refuse, or end; afterwards the power is cut, and other lives follow on what is left.
"""

import errno
import os

import pytest

from tests.simulation.broker_life import Lives

STEPS = 130
"""Longer than the script: the start, and some rounds of every client."""
BLOCK = 26


def run_failures(seed: int, code: int, steps: range) -> None:
    """One simulation for each step at which the disk fails."""
    for step in steps:
        lives = Lives(seed, examined_per_cut=1, seconds=(0.05,), failures={step: code})
        try:
            lives.run(2)
        except AssertionError as error:
            raise AssertionError(f"{os.strerror(code)} at step {step}: {error}") from error


@pytest.mark.parametrize("first", range(0, STEPS, BLOCK))
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_an_error_at_any_step_loses_nothing(code: int, first: int) -> None:
    """Whichever write, sync, creation or rename fails, what was told before and after holds."""
    run_failures(5, code, range(first, first + BLOCK))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(int(os.environ.get("TEST_SEEDS", "40"))))
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_an_error_at_any_step_of_longer_lives_loses_nothing(code: int, seed: int) -> None:
    """The same for other scripts, and further into them."""
    run_failures(seed, code, range(400))
