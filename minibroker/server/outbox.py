"""Answers on their way to a peer: buffers are gathered, file slices go by sendfile.

Reading a segment that is not in the page cache blocks the whole thread, writers included; such a chunk is first read
ahead in a worker thread. It waits for a flush round that is under way: behind a reader that has the disk to itself a sync takes
ten times as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable

import attrs
import trio

from minibroker.server.transport import IOV_MAX, Buffer, Transport
from minibroker.storage.errors import StorageError
from minibroker.storage.reading import FileSlice

CHUNK_BYTES = 1 << 20
"""How much of a file is sent, or read ahead, at a time."""
TURN_BYTES = 2 << 20
"""How much a peer gets before others have their turn: a millisecond at the speed of the loopback."""


@attrs.define(eq=False)
class Outbox:
    """The send side of one connection."""

    _transport: Transport
    _wait_for_disk: Callable[[], Awaitable[None]]
    """Awaited before something is read from the disk, so that syncs go first."""
    held_bytes: int = 0
    """Memory that unsent answers take; file slices take none."""
    sent_bytes: int = 0
    """How much is away, in all."""
    _parts: deque[Buffer | FileSlice] = attrs.field(factory=deque)
    _file_sent: int = 0
    """How much of the file slice at the head is away."""
    _warm_end: int = 0
    """Up to which position the file of the slice at the head is known to be in the page cache."""
    _cold: bool = False
    """Whether the next chunk has to be read from the disk first."""
    _yielding: bool = False
    """Whether it is another's turn."""

    @property
    def pending(self) -> bool:
        """Whether anything is not sent yet."""
        return bool(self._parts)

    def add(self, parts: Iterable[Buffer | FileSlice], held_bytes: int) -> None:
        """Queue the parts of an answer, which take that much memory."""
        self._parts.extend(parts)
        self.held_bytes += held_bytes

    def close(self) -> None:
        """Forget what was not sent."""
        self._parts.clear()
        self.held_bytes = 0

    def send_nowait(self) -> bool:
        """Send what can be sent now; True when all is away. Raises OSError, StorageError."""
        budget = TURN_BYTES
        while self._parts:
            if budget <= 0:
                self._yielding = True
                return False
            part = self._parts[0]
            count, more = self._send_file(part) if isinstance(part, FileSlice) else self._send_buffers()
            self.sent_bytes += count
            if not more:
                return False
            budget -= count
        return True

    @property
    def waits_for_peer(self) -> bool:
        """Whether it is the peer that `send_nowait` stopped at."""
        return not (self._cold or self._yielding)

    async def wait_sendable(self) -> None:
        """Wait for what `send_nowait` stopped at: the peer, the disk, or another's turn."""
        if self._cold:
            part = self._parts[0]
            assert isinstance(part, FileSlice)
            position, size = self._next_chunk(part)
            await self._wait_for_disk()
            try:
                await trio.to_thread.run_sync(part.file.pread, size, position)
            except StorageError:
                part.segment.checked.clear()  # a peer that asks again is told of which partition it is
                raise
            self._warm_end = position + size
            self._cold = False
        elif self._yielding:
            self._yielding = False
            await trio.lowlevel.checkpoint()
        else:
            await self._transport.wait_writable()

    def _next_chunk(self, part: FileSlice) -> tuple[int, int]:
        return part.position + self._file_sent, min(CHUNK_BYTES, part.size_bytes - self._file_sent)

    def _send_file(self, part: FileSlice) -> tuple[int, bool]:
        """Send a chunk of a file; return how much has gone, and whether more would go."""
        position, size = self._next_chunk(part)
        if position >= self._warm_end:
            if not part.file.is_cached(position, size):
                self._cold = True
                return 0, False
            self._warm_end = position + size
        size = min(size, self._warm_end - position)
        count = self._transport.send_file_nowait(part.file, position, size)
        self._file_sent += count
        if self._file_sent == part.size_bytes:
            self._parts.popleft()
            self._file_sent = self._warm_end = 0
        return count, count == size

    def _send_buffers(self) -> tuple[int, bool]:
        """Send the buffers in front; return how much has gone, and whether more would go."""
        gather: list[Buffer] = []
        for part in self._parts:
            if isinstance(part, FileSlice) or len(gather) == IOV_MAX:
                break
            gather.append(part)
        count = left = self._transport.send_nowait(gather, more=len(gather) < len(self._parts))
        self.held_bytes -= count
        for part in gather:
            if left < len(part):
                if left:
                    self._parts[0] = memoryview(part)[left:]
                return count, False
            left -= len(part)
            self._parts.popleft()
        return count, True
