"""Bytes from a peer become frames.

Everything between a receive and the next `await` is synchronous, so all connections receive into one shared scratch
buffer and parse their frames where they were received. What is left when a connection has to wait is copied into a
buffer of its own, so an idle connection holds no memory. A buffer grows as bytes come, never by the length that a frame
claims (compare CVE-2022-34917).
"""

from __future__ import annotations

import attrs

from minibroker.protocol.errors import ProtocolError

SCRATCH_BYTES = 1 << 18
LEAST_ROOM_BYTES = 1 << 14
"""The smallest buffer of its own that a connection gets once the rest of a request keeps us waiting."""
GROWTH_FACTOR = 4
"""How much larger than what it holds a buffer may become: a 1 MB batch is moved once."""
CAREFUL_FACTOR = 2
"""The same where memory is getting short."""


@attrs.define(eq=False)
class Inbox:
    """The receive side of one connection."""

    _scratch: memoryview
    """Shared by all connections."""
    _max_frame_bytes: int
    """`socket.request.max.bytes`."""
    _own: memoryview | None = None
    _start: int = 0
    _end: int = 0

    @property
    def held_bytes(self) -> int:
        """Memory that this connection holds on to."""
        return 0 if self._own is None else len(self._own)

    @property
    def unfinished_bytes(self) -> int:
        """How much has come of a frame whose rest has not."""
        return self._end - self._start

    def room(self, growth_factor: int = GROWTH_FACTOR) -> memoryview:
        """Where the next bytes shall be received; never empty."""
        if self._own is None and self._end < len(self._scratch):
            return self._scratch[self._end :]
        self.park()
        assert self._own is not None
        if self._end == len(self._own):
            self._make_room(self._own, growth_factor)
        return self._own[self._end :]

    def received(self, count: int) -> None:
        """Take note that `count` bytes were received into `room()`."""
        self._end += count

    def next_frame(self) -> memoryview | None:
        """Return the next whole frame without its length, or None. It is valid until the next receive.

        Raises ProtocolError for a length that no request has.
        """
        start, waiting = self._start, self._end - self._start
        if waiting < 4:
            return None
        buffer = self._scratch if self._own is None else self._own
        length = int.from_bytes(buffer[start : start + 4], "big", signed=True)
        if not 0 <= length <= self._max_frame_bytes:
            raise ProtocolError(f"expected a request of 0 to {self._max_frame_bytes} bytes, found the length {length}")
        if waiting < 4 + length:
            return None
        self._start = start + 4 + length
        if self._start == self._end:
            self._start = self._end = 0
        return buffer[start + 4 : start + 4 + length]

    def park(self) -> None:
        """Leave the scratch buffer to others: to be called before every wait."""
        if self._own is None and self._end > self._start:
            rest = self._scratch[self._start : self._end]
            self._own = memoryview(bytearray(rest))
            self._start, self._end = 0, len(rest)

    def release(self) -> None:
        """Give memory back that holds nothing: for a connection that has become idle."""
        if self._start == self._end:
            self._own = None
            self._start = self._end = 0

    def close(self) -> None:
        """Give all memory back: nothing more comes."""
        self._own = None
        self._start = self._end = 0

    def _make_room(self, own: memoryview, growth_factor: int) -> None:
        """Move what is unfinished to the front, of a larger buffer if its frame needs one."""
        rest = own[self._start : self._end]
        needed = 4 + int.from_bytes(rest[:4], "big") if len(rest) >= 4 else LEAST_ROOM_BYTES
        size = min(needed, max(LEAST_ROOM_BYTES, growth_factor * len(rest)))
        larger = own if size <= len(own) and self._start else memoryview(bytearray(max(size, len(rest) + 1)))
        larger[: len(rest)] = rest
        self._own = larger
        self._start, self._end = 0, len(rest)
