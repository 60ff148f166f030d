"""A disk that fails or is full at any one step of a broker's life: nothing that anybody was told is lost.

Longer lives, which compact, roll and delete, see some calls fail that cannot open a file for want of descriptors, cannot
read what is there, or cannot remove it.

The broker may go on, refuse, or end; afterwards the power is cut, or a new process finds what is in the cache, and
another life follows on what is left.
"""

import errno
import itertools
import os
from collections.abc import Iterable

import pytest

from tests.simulation.broker_life import Cast, Lives, lives_of_failing_calls
from tests.soak.rows import Deadline

SCRIPT, PARTS = 6, 6
"""Some 150 steps: the start, and some rounds of every client."""
LONG_SCRIPT, LONG_BLOCK = 3, 20
"""Some 900."""


def run_failures(script: int, code: int, steps: Iterable[int], seconds: float = 0.05) -> int:
    """One simulation for each step at which the disk fails, up to the last one; returns how many there were."""
    failed = 0
    for step in steps:
        lives = Lives(
            script, cast=Cast.USERS, examined_per_cut=2, cut_share=0.005, seconds=(seconds,), failures={step: code}
        )
        try:
            lives.run(2)
        except AssertionError as error:
            raise AssertionError(f"{os.strerror(code)} at step {step} of {seconds} s: {error}") from error
        if not lives.failed:
            break
        failed += 1
    return failed


def soak(seed: int, deadline: Deadline) -> int:
    """A block of steps of a long script, with one of two errors at each; 0 when the script has no more."""
    block, kind = divmod(seed, 2)
    steps = range(block * LONG_BLOCK, (block + 1) * LONG_BLOCK)
    return run_failures(LONG_SCRIPT, (errno.EIO, errno.ENOSPC)[kind], steps, seconds=0.3)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_an_error_at_any_step_loses_nothing(code: int, part: int) -> None:
    """Whichever write, sync, creation or rename fails, what was told before and after holds."""
    assert run_failures(SCRIPT, code, itertools.count(part, PARTS)) >= 20


def soak_calls(seed: int, deadline: Deadline) -> int:
    """Sixteen lives: in the first of two some calls fail. Returns how many did."""
    return sum(fail_calls(number) for number in range(8 * seed, 8 * seed + 8))


def fail_calls(seed: int) -> int:
    """Two of them."""
    lives = lives_of_failing_calls(seed)
    lives.run(2)
    return lives.failed


@pytest.mark.parametrize("block", range(4))
def test_files_that_cannot_be_opened_or_read_cost_nothing(block: int) -> None:
    """Rolls, compactions and deletions that fail half-way, and go on later, lose nothing."""
    assert soak_calls(block, lambda: False) >= 10


def test_a_compaction_that_fails_leaves_a_checkpoint_that_the_next_one_bears() -> None:
    """Found by the long run: two compactions without a checkpoint between them made a merged segment look lost."""
    assert fail_calls(1108) >= 1
