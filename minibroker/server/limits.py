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
    max_unsent_bytes: int = 1 << 20
    """Answers that the peer has not taken yet; the reader pauses there. One answer may be larger than this."""
    unfinished_request_s: float = 30.0
    """How long the rest of a request may take, plus what `min_bytes_per_s` grants for what has come."""
    min_bytes_per_s: int = 1024
    """A peer slower than this in the middle of a request is cut."""
    write_deadline_s: float = 30.0
    """A peer that has us wait with its answers is cut when it has taken less than `min_taken_bytes_per_s` for this long."""
    min_taken_bytes_per_s: int = 4096
    pressed_s: float = 1.0
    """How long a peer may stand still while it holds more than its share of a memory budget that is used up."""
    pressed_bytes_per_s: int = 1 << 16
    """A peer slower than this in the middle of a request, or with the answers that it keeps waiting, is cut then."""
    pressed_drain_s: float = 10.0
    """So is one that would take longer than this for its answers."""


HARD_FACTOR = 3
"""Beyond so many limits no large answer is kept."""
SHARES = 4
"""Over the limit, all shares together are this part of it: a buffer grows by as much at a time (see `inbox`)."""
SMALL_BYTES = 1 << 16
"""However many shares there are, an answer of this size is kept."""
TURN_S = 0.005
"""How long a peer's requests may take before others are let in: a small one may have us visit a million records."""
LONG_S = 2 * TURN_S
"""What takes longer than this was one long request."""
LEAST_TURN_S = 0.0002
"""The same, however many others there are: to change from one to the next takes time too."""


@attrs.define(eq=False)
class Turns:
    """How long a connection's turn is: the shorter, the more of them wait for their next."""

    waiting: int = 0
    """Connections that have more requests than fitted into their last turn."""
    length_s: float = TURN_S
    lane: trio.Lock = attrs.field(factory=trio.Lock)
    """Held by the one whose turn it is among those with single requests that take longer than any turn."""

    def count(self, more: int) -> None:
        """So many more wait, or fewer."""
        self.waiting += more
        self.length_s = max(LEAST_TURN_S, TURN_S / (1 + self.waiting))


@attrs.define(eq=False)
class MemoryBudget:
    """Memory for unfinished requests and unsent answers of all connections together (`queued.max.request.bytes`).

    Over the limit a connection pauses before it takes more, but for two exceptions. Whoever holds less than its share
    goes on, so that honest clients with small requests do not notice who fills the memory up; nobody knows how large an
    answer will be, so from thrice the limit on a large one costs its peer the connection. And the one that has held on
    longest goes on, so that the broker cannot get stuck: it finishes, gives its memory back, and the next one follows.
    """

    limit_bytes: int
    held_bytes: int = 0
    _holders: dict[object, int] = attrs.field(factory=dict)
    _released: trio.Event = attrs.field(factory=trio.Event)
    _exceeded: trio.Event = attrs.field(factory=trio.Event)

    @property
    def tight(self) -> bool:
        """Whether a good part of the limit is used."""
        return self.held_bytes >= self.limit_bytes >> 2

    @property
    def exceeded(self) -> bool:
        """Whether the limit is reached."""
        return self.held_bytes >= self.limit_bytes

    @property
    def overrun(self) -> bool:
        """Whether so much is held that nothing large may come to it."""
        return self.held_bytes >= HARD_FACTOR * self.limit_bytes

    @property
    def share_bytes(self) -> int:
        """What everybody may hold over the limit."""
        return self.limit_bytes // (SHARES * (len(self._holders) or 1))

    def hold(self, holder: object, count: int) -> None:
        """Set what `holder` holds to `count` bytes."""
        before = self._holders.pop(holder, 0) if count == 0 else self._holders.get(holder, 0)
        if count:
            self._holders[holder] = count
        self.held_bytes += count - before
        if count < before:
            self._released.set()
            self._released = trio.Event()
        if self.held_bytes >= self.limit_bytes:
            self._exceeded.set()

    def allows(self, holder: object) -> bool:
        """Whether `holder` may take more."""
        if self.held_bytes < self.limit_bytes or next(iter(self._holders), holder) is holder:
            return True
        return self._holders.get(holder, 0) < self.share_bytes

    async def wait_allowed(self, holder: object) -> None:
        """Return once `holder` may take more."""
        while not self.allows(holder):
            await self._released.wait()

    async def wait_exceeded(self) -> None:
        """Return once the limit is reached."""
        while not self.exceeded:
            self._exceeded = trio.Event()
            await self._exceeded.wait()
