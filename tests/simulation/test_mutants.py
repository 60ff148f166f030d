"""The simulation catches every broker that breaks a promise: what it does not see, it would not see in ours either."""

import errno
from typing import Any

import pytest

from tests.simulation.broker_life import Cast, Lives, lives_of_failing_calls, lives_of_wrong_dates
from tests.simulation.mutants import (
    MUTANTS,
    OF_A_FAILING_DISK,
    OF_FAILING_CALLS,
    OF_TOPICS,
    OF_WRONG_DATES,
)

MAX_SEEDS = 60
LONG: dict[str, Any] = {"cast": Cast.USERS, "steps_per_life": 1000, "seconds": (1.0,)}
LIFE: dict[str, dict[str, Any]] = {
    "compaction_keeps_the_first": LONG,
    "dedup_table_not_in_the_checkpoint": LONG,
    **{name: {"cast": Cast.TOPICS} for name in OF_TOPICS},
}
"""How to live to see a mutant soon; with users alone unless it says otherwise."""


def simulate(name: str, seed: int) -> None:
    """Some lives, with few disks examined: most mutants are seen on many of them."""
    if name in OF_A_FAILING_DISK:
        failures = {30 + seed: errno.EIO}
        Lives(seed, cast=Cast.USERS, cut_share=0.05, seconds=(0.05,), failures=failures).run(2)
    elif name in OF_FAILING_CALLS:
        lives_of_failing_calls(seed).run(2)
    elif name in OF_WRONG_DATES:
        lives_of_wrong_dates(seed).run(4)
    else:
        Lives(seed, cut_share=0.05, **LIFE.get(name, {"cast": Cast.USERS})).run(8)


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
