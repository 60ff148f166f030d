"""Power cuts under a whole broker with clients: nothing acknowledged, and nothing read, is ever lost.

A failing seed is seen again with `python -m tests.simulation SEED`; `python -m tests.soak cuts clocks` goes on for long.
"""

import itertools

import pytest

from tests.simulation.broker_life import Lives
from tests.soak.rows import Deadline

LIVES = 8
BLOCKS, CUTS = 12, 1_700
"""More than twenty thousand in all."""


def soak(seed: int, deadline: Deadline) -> int:
    """Power cuts, nested ones included, from one seed."""
    lives = Lives(seed)
    lives.run(LIVES)
    return lives.examiner.cuts


def soak_clocks(seed: int, deadline: Deadline) -> int:
    """Lives in each of which the date is set wrong, and right again, and the machine sleeps."""
    Lives(seed, steps_clock=True, examined_per_cut=1, cut_share=0, steps_per_life=600, seconds=(0.05,)).run(4)
    return 4


@pytest.mark.parametrize("block", range(BLOCKS))
def test_the_promise_holds_whenever_the_power_is_cut(block: int) -> None:
    """What recovers from any disk that a cut may leave holds all that any client was told until then."""
    cuts = nested = kills = 0
    for seed in itertools.count(100 * block):
        lives = Lives(seed)
        lives.run(LIVES)
        cuts += lives.examiner.cuts
        nested += lives.examiner.nested
        kills += lives.examiner.kills
        if cuts >= CUTS:
            break
    assert nested >= CUTS / 5
    print(f"{cuts} cuts, {nested} of them nested, and {kills} kills, with seeds {100 * block} to {seed}")


def test_the_same_seed_gives_the_same_trace() -> None:
    """Two runs of a seed agree in every event, time, step and cut, so that a failure can be seen again."""
    traces, events = set(), 0
    for _ in range(2):
        lives = Lives(1_000)
        lives.run(4)
        traces.add((lives.world.digest, lives.examiner.cuts, lives.examiner.nested))
        events = lives.world.events
    assert len(traces) == 1
    assert events > 100


def test_clocks_that_jump_lose_nothing() -> None:
    """A date that is wrong by up to ten years for a while, and a machine that sleeps, delete nothing and lose nothing."""
    for seed in range(5):
        assert soak_clocks(seed, lambda: False) == 4
