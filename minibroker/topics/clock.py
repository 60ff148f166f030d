"""The two clocks of a broker: one that only runs forward, one that tells the date.

Sessions, long polls and maintenance run on `now` (monotonic, so that a step of the wall clock expires nobody);
records and retention speak of `now_ms`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs
import trio


def wall_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@attrs.frozen
class Clock:
    """Where the broker gets its time from; tests and simulations bring their own."""

    now: Callable[[], float] = trio.current_time
    """Monotonic seconds."""
    now_ms: Callable[[], int] = wall_ms
    """Milliseconds since the epoch."""
