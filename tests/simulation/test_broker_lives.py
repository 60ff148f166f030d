"""Power cuts under a whole broker with clients: nothing acknowledged, and nothing read, is ever lost.

A failing seed is seen again with `python -m tests.simulation SEED`. The long run takes its seeds from the environment:
TEST_FIRST_SEED (0 without one) and TEST_SEEDS; it prints where it is, so that it can be resumed there.
"""

import os

import pytest

from tests.simulation.broker_life import Lives

LIVES = 8
BLOCK = 4


@pytest.mark.parametrize("first", range(0, 24, BLOCK))
def test_the_promise_holds_whenever_the_power_is_cut(first: int) -> None:
    """What recovers from any disk that a cut may leave holds all that any client was ever told."""
    cuts = 0
    for seed in range(first, first + BLOCK):
        lives = Lives(seed)
        lives.run(LIVES)
        cuts += lives.cuts
    assert cuts >= BLOCK * LIVES
    print(f"{cuts} cuts")


def test_the_same_seed_gives_the_same_trace() -> None:
    """Two runs of a seed agree in every event, time and step, so that a failure can be seen again."""
    digests, events = set(), 0
    for _ in range(2):
        lives = Lives(1_000)
        lives.run(LIVES)
        digests.add(lives.world.digest)
        events = lives.world.events
    assert len(digests) == 1
    assert events > 100


def test_clocks_that_jump_lose_nothing() -> None:
    """A date that is wrong by up to ten years for a while, and a machine that sleeps, delete nothing and lose nothing."""
    for seed in range(5):
        Lives(seed, steps_clock=True, examined_per_cut=1, steps_per_life=600, seconds=(0.05,)).run(4)


@pytest.mark.slow
def test_the_promise_holds_for_longer() -> None:
    """The same, with as many seeds as the environment asks for."""
    first = int(os.environ.get("TEST_FIRST_SEED", "0"))
    cuts = 0
    for seed in range(first, first + int(os.environ.get("TEST_SEEDS", "5000"))):
        lives = Lives(seed)
        lives.run(LIVES)
        cuts += lives.cuts
        if seed % 50 == 0:
            print(f"seed {seed}: {cuts} cuts", flush=True)
