"""The simulation catches every broker that breaks a promise: what it does not see, it would not see in ours either."""

import errno
from typing import Any

import pytest

from tests.simulation.broker_life import Lives
from tests.simulation.mutants import MUTANTS, OF_A_FAILING_DISK

MAX_SEEDS = 60
LONG: dict[str, Any] = {"steps_per_life": 1000, "seconds": (1.0,)}
LIFE: dict[str, dict[str, Any]] = {"compaction_keeps_the_first": LONG, "dedup_table_not_in_the_checkpoint": LONG}
"""How to live to see a mutant soon."""


def simulate(name: str, seed: int) -> None:
    """Some lives, with few disks examined: most mutants are seen on many of them."""
    if name in OF_A_FAILING_DISK:
        Lives(seed, cut_share=0.05, seconds=(0.05,), failures={30 + seed: errno.EIO}).run(2)
    else:
        Lives(seed, cut_share=0.05, **LIFE.get(name, {})).run(8)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    """Some seed shows what is wrong with it."""
    with MUTANTS[name]():
        for seed in range(MAX_SEEDS):
            try:
                simulate(name, seed)
            except AssertionError as error:
                print(f"{name}: seed {seed}: {error}")
                return
    pytest.fail(f"{name} was not caught in {MAX_SEEDS} simulations")


def test_there_are_enough() -> None:
    """At least twenty ways to be wrong are tried."""
    assert len(MUTANTS) >= 20
