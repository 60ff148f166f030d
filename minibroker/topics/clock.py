"""The clock of a broker: one that only runs forward, and a date that no step of the wall clock turns against the data.

Sessions, long polls and maintenance run on `now` (monotonic, so that a step of the wall clock expires nobody).

Dates have two readings. `now_ms` is what the broker stamps with: records of LogAppendTime, committed offsets, groups,
producers, tombstones. `retention_now_ms` is what it judges by whether something is too old. Between them lies the date
that the clock itself has *reached*: it follows the wall clock, but runs a tenth faster or slower than time at most.
Stamps are the wall clock's or that date, whichever is later; ages are judged by whichever is earlier. So, however the
wall clock steps, what was stamped is taken for a tenth older than it is at most, and nothing goes before ten elevenths
of its retention have passed.

- A step forward deletes nothing at once: old data is kept until the reached date has caught up.
- Of a step back, or a machine that boots with an old date, no stamp tells: they go on from what was reached, and when the
  date is set right again, nothing that came meanwhile looks old. Until then nothing is deleted for its age.
- A restart goes on from the date that the last life had reached. What the wall clock is ahead of that may be an error:
  it is doubted for a while, and believed then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs
import trio

SLEW = 0.1
"""How much faster or slower than real time the reached date may run to follow the wall clock."""
DOUBTED_S = 3600.0
DOUBTED_SHARE = 0.01
"""How long the time between two lives is doubted: this long, or this share of it if that is longer."""


def wall_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@attrs.define(eq=False)
class Clock:
    """Where the broker gets its time from; tests and simulations bring their own. All dates are ms since the epoch."""

    now: Callable[[], float] = trio.current_time
    """Monotonic seconds."""
    _wall_ms: Callable[[], int] = attrs.field(default=wall_ms, alias="now_ms")
    _reached_ms: float = 0.0
    """Not whole, for it may be looked at many times in a millisecond."""
    _seen_s: float = 0.0
    """The monotonic clock when the reached date was last brought up to date."""
    _began_s: float = 0.0
    doubted_ms: float = 0.0
    """By so much the date is later than the last life's, which may be an error."""

    def begin(self, last_ms: int | None) -> None:
        """Begin a life whose predecessor had reached `last_ms`; None if nobody knows: then the wall clock is believed."""
        wall = self._wall_ms()
        self._reached_ms = wall if last_ms is None else last_ms
        self._began_s = self._seen_s = self.now()
        self.doubted_ms = max(wall - self._reached_ms, 0.0)

    @property
    def doubted_s(self) -> float:
        """How long a life must have lasted until what is doubted is believed."""
        return max(DOUBTED_S, self.doubted_ms / 1000 * DOUBTED_SHARE)

    def now_ms(self) -> int:
        """The date to stamp with. It is asked for every batch, so the reached date is that of the last look, a minute ago at
        most: by so much more may something look older that was stamped after a step back that nobody has seen yet.
        """
        wall = self._wall_ms()
        return wall if wall >= self._reached_ms else max(wall, self._follow(wall))

    def retention_now_ms(self) -> int:
        """The date by which data may be too old."""
        wall = self._wall_ms()
        return min(wall, self._follow(wall))

    def reached_ms(self) -> int:
        """What the next life is to go on from."""
        return self._follow(self._wall_ms())

    def _follow(self, wall: int) -> int:
        """Bring the reached date up to date, and return it."""
        now_s = self.now()
        elapsed_ms = max(now_s - self._seen_s, 0.0) * 1000
        self._seen_s = now_s
        earliest = self._reached_ms + (1 - SLEW) * elapsed_ms
        latest = self._reached_ms + (1 + SLEW) * elapsed_ms
        if self.doubted_ms and now_s - self._began_s >= self.doubted_s:
            latest, self.doubted_ms = latest + self.doubted_ms, 0.0
        self._reached_ms = max(earliest, min(wall, latest))
        self.doubted_ms = min(self.doubted_ms, max(wall - self._reached_ms, 0.0))  # less if the clock was set right
        return int(self._reached_ms)
