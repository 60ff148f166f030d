"""Simulated power cuts: nothing promised is lost, nothing appears that was never there, and recovery may be cut too.

A failing seed is reproduced with `Lives(random.Random(seed)).run(LIVES)`; `python -m tests.soak log-cuts` goes on for long.
"""

import itertools
import random

import pytest

from minibroker.storage.files import PARTITION_METADATA, decode_partition_metadata
from minibroker.storage.log import Log
from minibroker.storage.settings import LogSettings
from tests.simulation.disk import PowerCut, SimulatedDisk, Survival, everything
from tests.simulation.log_life import Lives
from tests.soak.rows import Deadline
from tests.storage.logs import NOW, PATH, TOPIC_ID, append

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


def soak(seed: int, deadline: Deadline) -> int:
    """Power cuts from fifty seeds of the simulation."""
    return run_seeds(seed * 50, 50)


def test_a_torn_write_does_not_make_another_topic_of_a_log() -> None:
    """Wherever a recovery is cut, and with any last byte, the file that says whose log it is says the same or nothing."""
    for step in itertools.count():
        disk = SimulatedDisk()
        log = Log.create(disk, PATH, LogSettings(), TOPIC_ID, NOW)
        append(log)
        log.flush()
        disk = everything(disk)
        disk.cut_at = step
        try:
            Log.open(disk, PATH, LogSettings(), None, NOW, topic_id=TOPIC_ID)
        except PowerCut:
            left = Survival(lambda: True, lambda data: [(0, data[:-1])], lambda size: b"o" * size).survivor(disk)
            assert decode_partition_metadata(left.read(f"{PATH}/{PARTITION_METADATA}")) == TOPIC_ID
        else:
            assert step > 1
            return


@pytest.mark.parametrize("block", range(4))
def test_the_law_of_recovery(block: int) -> None:
    """Each recovered log is a prefix of what was appended that holds everything that was promised."""
    assert soak(block, lambda: False) >= 400
