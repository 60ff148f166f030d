"""What one peer, and all of them together, may cost."""

from __future__ import annotations

import attrs
import trio


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds on one connection."""

    max_frame_bytes: int
    """`socket.request.max.bytes`."""
    max_in_flight: int = 100
    """Requests started and not yet answered; the reader pauses there."""
    unfinished_request_s: float = 30.0
    """How long the rest of a request may take, plus what `min_bytes_per_s` grants for what has come."""
    min_bytes_per_s: int = 1024
    """A peer slower than this in the middle of a request is cut."""
    write_deadline_s: float = 30.0
    """How long a peer that takes nothing of its answers keeps its connection."""


@attrs.define(eq=False)
class MemoryBudget:
    """Memory for unfinished requests and unsent answers of all connections together (`queued.max.request.bytes`).

    Over the limit connections pause before they receive more, except the one that holds on longest: it finishes, gives
    its memory back, and the next one follows. So the broker cannot be filled up, nor can it get stuck.
    """

    limit_bytes: int
    held_bytes: int = 0
    _holders: dict[object, int] = attrs.field(factory=dict)
    _released: trio.Event = attrs.field(factory=trio.Event)

    def hold(self, holder: object, count: int) -> None:
        """Set what `holder` holds to `count` bytes."""
        before = self._holders.pop(holder, 0) if count == 0 else self._holders.get(holder, 0)
        if count:
            self._holders[holder] = count
        self.held_bytes += count - before
        if count < before:
            self._released.set()
            self._released = trio.Event()

    def allows(self, holder: object) -> bool:
        """Whether `holder` may take more."""
        return self.held_bytes < self.limit_bytes or next(iter(self._holders), holder) is holder

    async def wait_allowed(self, holder: object) -> None:
        """Return once `holder` may take more."""
        while not self.allows(holder):
            await self._released.wait()
