"""The deadlines of all groups: one clock, one heap, one task.

The clock is monotonic and stops while the broker does. A broker that was suspended (SIGSTOP, a debugger, a starved
machine) has not listened, so the time counts as nobody's silence: a gap between two looks at the clock that is longer than
the task ever sleeps is taken out of it. Before anybody is expired, those who read sockets get many turns, so that a
heartbeat which has arrived counts even if it has not been read.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

import attrs
import trio

TICK_MS: Final = 1_000
"""The task looks at the clock at least this often while there are deadlines."""
STALL_MS: Final = 2_000
"""A gap as long as this is no delay of the scheduler, but a suspension."""
TURNS: Final = 20
"""How often others have their turn between a deadline and what follows: a socket may wait for one of the first few,
while a connection that was interrupted in its work takes it up again, and one turn reads some hundreds of sockets."""
DUE_AT_ONCE: Final = 100
"""So many deadlines are looked at before others have their turns again: some milliseconds."""
SPARE_ENTRIES: Final = 100
"""So many entries that are of no use any more may be in the heap besides as many as are of use."""


@attrs.define(eq=False)
class Deadlines:
    """Calls `expire` with each group whose deadline has come. An entry may be early: `expire` looks for itself."""

    now: Callable[[], float]
    """Monotonic seconds."""
    expire: Callable[[str, int], None]
    """(group, time in ms): who had asked by the end of that millisecond has been heard."""
    _heap: list[tuple[int, str]] = attrs.Factory(list)
    _watched: dict[str, int] = attrs.Factory(dict)
    """The earliest entry of each group in the heap."""
    _earlier: trio.Event = attrs.Factory(trio.Event)
    """Set when the task would sleep too long."""
    _last_ms: float = 0
    _suspended_ms: float = 0

    def now_ms(self) -> int:
        """The time that deadlines are counted in: milliseconds in which the broker was listening."""
        observed_ms = self.now() * 1000
        gap_ms = observed_ms - self._last_ms
        if gap_ms > STALL_MS and self._heap:  # without deadlines nobody looks at the clock, and a gap means nothing
            self._suspended_ms += gap_ms - TICK_MS
        self._last_ms = observed_ms
        return int(observed_ms - self._suspended_ms)

    def watch(self, group_id: str, deadline_ms: int) -> None:
        """See that `expire` is called for `group_id` at `deadline_ms` or before."""
        known_ms = self._watched.get(group_id)
        if known_ms is not None and known_ms <= deadline_ms:
            return
        self._watched[group_id] = deadline_ms
        if not self._heap or deadline_ms < self._heap[0][0]:
            self._earlier.set()
        heapq.heappush(self._heap, (deadline_ms, group_id))
        self._bound_heap()

    def forget(self, group_id: str) -> None:
        """Keep nothing of a group that has no deadlines any more."""
        if self._watched.pop(group_id, None) is not None:
            self._bound_heap()

    def _bound_heap(self) -> None:
        """Make the heap anew if most of it is of groups that were forgotten, or have an earlier entry."""
        if len(self._heap) > 2 * len(self._watched) + SPARE_ENTRIES:
            self._heap = [(deadline_ms, group_id) for group_id, deadline_ms in self._watched.items()]
            heapq.heapify(self._heap)

    async def run(self) -> None:
        """Keep the deadlines, for ever."""
        while True:
            now_ms = self.now_ms()
            if not self._heap:
                await self._sleep(float("inf"))
            elif self._heap[0][0] >= now_ms:  # the millisecond of a deadline is not over
                await self._sleep(min(self._heap[0][0] + 1 - now_ms, TICK_MS))
            else:
                for _ in range(TURNS):
                    await trio.lowlevel.checkpoint()
                self._expire_due(now_ms - 1)

    async def _sleep(self, milliseconds: float) -> None:
        self._earlier = trio.Event()
        with trio.move_on_after(milliseconds / 1000):
            await self._earlier.wait()

    def _expire_due(self, now_ms: int) -> None:
        """Expire the first of those whose deadlines have come: the others stay for the next time."""
        due = set()
        for _ in range(DUE_AT_ONCE):
            if not self._heap or self._heap[0][0] > now_ms:
                break
            deadline_ms, group_id = heapq.heappop(self._heap)
            if self._watched.get(group_id) == deadline_ms:  # else an earlier entry has spoken for this one
                del self._watched[group_id]
                due.add(group_id)
        for group_id in due:
            self.expire(group_id, now_ms)
