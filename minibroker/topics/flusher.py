"""Group commit: one flush round makes durable everything that was appended before it began.

An append is volatile until a round covers it. Rounds are numbered; the number of the round that will cover an append is
its *ticket*. While a round runs in the syncing thread, further appends gather for the next one, so that a thousand
producers wait for the same `fdatasync`. A round covers *all* dirty logs: whoever holds a ticket may rely on everything
that was appended before it, in any log (a new topic's metadata before its first record, for example).

A failed sync is final: the kernel may have dropped the pages and a second call would succeed without them. `run` raises,
nothing is acknowledged, and the broker stops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import trio

from minibroker.storage.log import FlushPoint


class Flushable(Protocol):
    """What the flusher needs of a partition."""

    def begin_flush(self) -> FlushPoint | None:
        """Say what has to reach the disk now, or None if nothing has."""

    def complete_flush(self, point: FlushPoint) -> None:
        """Take note that `point` is on disk."""


class Syncer(Protocol):
    """Brings the files and directories of flush points to the disk."""

    def try_sync_now(self, points: Sequence[FlushPoint]) -> bool:
        """Make `points` durable at once, if that does not take long; raises OSError."""

    async def sync(self, points: Sequence[FlushPoint]) -> None:
        """Return once all of `points` are durable; raises OSError."""

    def close(self) -> None:
        """End; no sync is running."""


@attrs.define(eq=False)
class Flusher:
    """The queue of dirty logs and the task that empties it round by round."""

    syncer: Syncer
    completed: int = 0
    """The number of the last round that is durable."""
    _gathering: int = 1
    """The number of the round that the next append belongs to."""
    _dirty: dict[Flushable, None] = attrs.field(factory=dict)
    _callbacks: dict[int, list[Callable[[], None]]] = attrs.field(factory=dict)
    _idle: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _round_ended: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def mark_dirty(self, log: Flushable) -> int:
        """Put `log` into the gathering round and return its ticket."""
        self._dirty[log] = None
        if self._idle:
            self._idle.unpark()
        return self._gathering

    def call_when_durable(self, ticket: int, callback: Callable[[], None]) -> None:
        """Call back when round `ticket`, not yet complete, is; callbacks of a round run in the order they came."""
        assert self.completed < ticket <= self._gathering, f"ticket {ticket} is not outstanding"
        self._callbacks.setdefault(ticket, []).append(callback)

    async def wait_durable(self, ticket: int) -> None:
        """Return once round `ticket` is complete."""
        while self.completed < ticket:
            await self._round_ended.park()

    async def run(self) -> None:
        """Flush round after round, for ever. Raises OSError when a sync fails; then nothing more may be acknowledged."""
        while True:
            if self._dirty:
                await trio.lowlevel.checkpoint()
            else:
                await self._idle.park()
            await self._run_round()

    async def drain(self) -> None:
        """Flush what is dirty now. For shutdown, when `run` has ended."""
        while self._dirty:
            await self._run_round()

    async def _run_round(self) -> None:
        dirty, self._dirty = self._dirty, {}
        running, self._gathering = self._gathering, self._gathering + 1
        flushes = [(log, point) for log in dirty if (point := log.begin_flush()) is not None]
        if flushes:
            await self._sync([point for _, point in flushes], len(self._callbacks.get(running, ())))
        self.completed = running
        for log, point in flushes:
            log.complete_flush(point)
        for callback in self._callbacks.pop(running, ()):
            callback()
        self._round_ended.unpark_all()

    async def _sync(self, points: Sequence[FlushPoint], waiters: int) -> None:
        """While one connection alone waits, there is nobody whose requests could gather in the meantime."""
        if waiters != 1 or not self.syncer.try_sync_now(points):
            # The result of a sync must never be lost to a cancellation: it decides what may be served.
            with trio.CancelScope(shield=True):
                await self.syncer.sync(points)
