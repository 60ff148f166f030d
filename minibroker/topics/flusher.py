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

STRAIN_FACTOR = 4.0
RECENT_S = 0.1
"""Without a round for this long nobody is held up."""
REST_ROUNDS = 4.0
LONGEST_REST_S = 0.1


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
class Round:
    """A round that has begun."""

    number: int
    flushes: list[tuple[Flushable, FlushPoint]]

    @property
    def points(self) -> Sequence[FlushPoint]:
        """What has to be synced."""
        return [point for _, point in self.flushes]


@attrs.define(eq=False)
class Pace:
    """How long rounds of one log take."""

    usual_s: float = 0.0
    """Lately."""
    best_s: float = 1.0
    """At best, forgotten slowly."""
    measured_at: float = 0.0

    @property
    def strained(self) -> bool:
        """Whether that is much longer than need be."""
        return self.usual_s > STRAIN_FACTOR * self.best_s

    def note(self, began: float) -> None:
        """Take in a round that began then and has just ended, on the monotonic clock."""
        self.measured_at = trio.current_time()
        took_s = self.measured_at - began
        self.usual_s += 0.1 * (took_s - self.usual_s)
        self.best_s += (1.0 if took_s < self.best_s else 0.001) * (took_s - self.best_s)


@attrs.define(eq=False)
class Flusher:
    """The queue of dirty logs and the task that empties it round by round."""

    syncer: Syncer
    completed: int = 0
    """The number of the last round that is durable."""
    _gathering: int = 1
    """The number of the round that the next append belongs to."""
    _pace: Pace = attrs.field(factory=Pace)
    _begun: Round | None = None
    """The round before that one, until it is complete."""
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

    async def wait_turn(self) -> None:
        """Return when something large may be read from the disk: syncs go first.

        That is after the round that runs; and if rounds take much longer than they could, after a rest as well, or else
        a reader that takes all that the disk gives would leave nothing to them.
        """
        if self._begun is not None:
            await self._round_ended.park()
        idle_s = trio.current_time() - self._pace.measured_at
        if idle_s < RECENT_S and self._pace.strained:
            await trio.sleep(min(REST_ROUNDS * self._pace.usual_s, LONGEST_REST_S))

    async def run(self) -> None:
        """Flush round after round, for ever. Raises OSError when a sync fails; then nothing more may be acknowledged."""
        while True:
            if self._dirty:
                await trio.lowlevel.checkpoint()
            else:
                await self._idle.park()
            if self._dirty or self._begun:
                await self._run_round()

    async def drain(self) -> None:
        """Flush what is dirty now. For shutdown, when `run` has ended."""
        while self._dirty or self._begun:
            await self._run_round()

    def run_round_now(self) -> None:
        """Run a round without a wait if exactly one connection waits for it and the disk is quick.

        To be called when no request is left to be taken: otherwise there is somebody whose appends could join the round.
        Raises OSError as `run` does.
        """
        if self._begun is None and len(self._callbacks.get(self._gathering, ())) == 1:
            self._begun = self._begin()
            began = trio.current_time()
            if self.syncer.try_sync_now(self._begun.points):
                self._pace.note(began)
                self._complete()

    async def _run_round(self) -> None:
        self._begun = self._begun or self._begin()
        if self._begun.flushes:
            # The result of a sync must never be lost to a cancellation: it decides what may be served.
            began = trio.current_time()
            with trio.CancelScope(shield=True):
                await self.syncer.sync(self._begun.points)
            if len(self._begun.flushes) == 1:
                self._pace.note(began)
        self._complete()

    def _begin(self) -> Round:
        dirty, self._dirty = self._dirty, {}
        number, self._gathering = self._gathering, self._gathering + 1
        return Round(number, [(log, point) for log in dirty if (point := log.begin_flush()) is not None])

    def _complete(self) -> None:
        done, self._begun = self._begun, None
        assert done is not None
        self.completed = done.number
        for log, point in done.flushes:
            log.complete_flush(point)
        for callback in self._callbacks.pop(done.number, ()):
            callback()
        self._round_ended.unpark_all()
