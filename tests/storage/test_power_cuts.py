"""Simulated power cuts: nothing promised is lost, nothing appears that was never there, and recovery may be cut too.

A failing seed is reproduced with `Lives(random.Random(seed)).run(LIVES)`.
"""

import random

import pytest

from tests.simulation.log_life import Lives

LIVES = 8


def run_seeds(first: int, count: int) -> int:
    """Run lives from seeds; returns the number of power cuts and kills."""
    cuts = 0
    for seed in range(first, first + count):
        lives = Lives(random.Random(seed))
        try:
            lives.run(LIVES)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        cuts += lives.cuts
    return cuts


@pytest.mark.parametrize("block", range(4))
def test_the_law_of_recovery(block: int) -> None:
    """Each recovered log is a prefix of what was appended that holds everything that was promised."""
    assert run_seeds(block * 50, 50) >= 400


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_the_law_of_recovery_for_longer(block: int) -> None:
    """The same with other seeds."""
    assert run_seeds(100_000 + block * 1000, 1000) >= 8000
