"""Power cuts under a whole broker with clients: nothing acknowledged, and nothing read, is ever lost.

A failing seed is seen again with `python -m tests.simulation SEED`; `python -m tests.soak cuts clocks` goes on for long.
"""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import trio

from tests.simulation.broker_life import Cast, Lives, lives_of_wrong_dates
from tests.soak.rows import Deadline

LIVES = 8
BLOCKS, CUTS = 10, 2_010
"""More than twenty thousand in all."""


def soak(seed: int, deadline: Deadline) -> int:
    """Power cuts, nested ones included, from one seed."""
    lives = Lives(seed)
    lives.run(LIVES)
    return lives.examiner.cuts


def soak_clocks(seed: int, deadline: Deadline) -> int:
    """Lives in each of which the date is wrong, and set right again, and the machine sleeps."""
    lives_of_wrong_dates(seed).run(4)
    return 4


@pytest.mark.parametrize("block", range(BLOCKS))
def test_the_promise_holds_whenever_the_power_is_cut(block: int) -> None:
    """What recovers from any disk that a cut may leave holds all that any client was told until then."""
    cuts = nested = kills = 0
    for seed in itertools.count(first := 101 * block):  # with every cast
        lives = Lives(seed)
        lives.run(LIVES)
        cuts += lives.examiner.cuts
        nested += lives.examiner.nested
        kills += lives.examiner.kills
        if cuts >= CUTS:
            break
    assert nested >= CUTS / 5
    print(f"{cuts} cuts, {nested} of them nested, and {kills} kills, with seeds {first} to {seed}")


@contextmanager
def another_loop() -> Iterator[None]:
    """Another thread runs Trio, too, as one does that runs the broker of other tests."""
    is_over = threading.Event()

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            while not is_over.is_set():
                await trio.sleep(0.001)
                for _ in range(5):
                    nursery.start_soon(trio.lowlevel.checkpoint)

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    yield
    is_over.set()
    thread.join()


@pytest.mark.parametrize("cast", Cast)
def test_the_same_seed_gives_the_same_trace(cast: Cast) -> None:
    """Two runs of a seed agree in every event, time, step and cut, whatever another thread does: a failure can be seen again."""
    traces, events = set(), 0
    for beside in (nullcontext, another_loop):
        lives = Lives(1_000, cast=cast)
        with beside():
            lives.run(2)
        traces.add((lives.world.digest, lives.examiner.cuts, lives.examiner.nested))
        events = lives.world.events
    assert len(traces) == 1
    assert events > 50


def test_clocks_that_jump_lose_nothing() -> None:
    """Wrong dates, from a month ago to ten years ahead, and a machine that sleeps take nothing before its time."""
    for seed in range(8):
        assert soak_clocks(seed, lambda: False) == 4
