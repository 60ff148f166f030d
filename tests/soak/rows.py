"""What is run for long, how often, and where its unit is."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import attrs

Deadline = Callable[[], bool]
Unit = Callable[[int, Deadline], int]
"""See the package."""


@attrs.frozen
class Row:
    """One line of the table in docs/durability.md."""

    name: str
    goal: int | None
    """Cases; None for all that there are."""
    unit: str
    """MODULE:FUNCTION."""
    what: str

    def load(self) -> Unit:
        """The function."""
        module, _, function = self.unit.partition(":")
        unit: Unit = getattr(importlib.import_module(module), function)
        return unit


ROWS = (
    Row("cuts", 1_000_000, "tests.simulation.test_broker_lives:soak", "power cuts under the whole broker, nested too"),
    Row("log-cuts", 1_000_000, "tests.storage.test_power_cuts:soak", "power cuts under logs alone"),
    Row("errors", None, "tests.simulation.test_disk_errors:soak", "EIO and ENOSPC at every changing call"),
    Row("calls", 1_000, "tests.simulation.test_disk_errors:soak_calls", "files that cannot be opened, read or removed"),
    Row("damage", 100_000, "tests.simulation.test_broker_damage:soak", "damage in any file of a data directory"),
    Row("log-damage", 100_000, "tests.storage.test_damage:soak", "damage in single logs"),
    Row("clocks", 1_000, "tests.simulation.test_broker_lives:soak_clocks", "steps of the clock, and suspensions"),
    Row("kills", 1_000, "tests.durability.test_kill:soak", "kill -9 under load by foreign clients"),
    Row("syscalls", None, "tests.durability.test_system_calls:soak", "kill before and after every system call"),
    Row("suspensions", 1_000, "tests.durability.test_suspension:soak", "a real process stopped beyond the timeouts"),
    Row("responses", 20_000, "tests.durability.test_lost_responses:soak", "lost responses and resets in mid-request"),
    Row("frames", 10_000_000, "tests.traps.test_malformed:soak", "malformed frames beside an honest client"),
)
