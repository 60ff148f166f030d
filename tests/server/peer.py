"""A peer in memory: a Transport with a window of so many bytes, and a Connection that serves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import attrs
import trio

from minibroker.server.complaints import Complaints
from minibroker.server.connection import Connection
from minibroker.server.dispatch import Dispatcher, Sendable, Waiting, decoded_bytes
from minibroker.server.inbox import SCRATCH_BYTES, Inbox
from minibroker.server.limits import Limits, MemoryBudget, Turns
from minibroker.server.poller import Poller, TaskPoller
from minibroker.server.transport import Buffer, Transport
from minibroker.storage.filesystem import File
from minibroker.topics.flusher import Flusher

MAX_FRAME_BYTES = 100 << 20
LIMITS = Limits(max_frame_bytes=MAX_FRAME_BYTES, max_in_flight=10)


@attrs.define(eq=False)
class Held:
    """A handler whose answers, a dot each, wait for `go_on`."""

    started: int = 0
    """Requests."""
    go_on: trio.Event = attrs.field(factory=trio.Event)

    def __call__(self, frame: bytes) -> object:
        self.started += 1
        return self._answer()

    async def _answer(self) -> bytes:
        await self.go_on.wait()
        return b"."


@attrs.define(eq=False, repr=False)
class Peer:
    """Both ends of a connection. The peer sends with `send`, and takes answers out of `window_bytes` with `take`."""

    window_bytes: int = 1 << 20
    host: str = "10.0.0.1"
    closed: bool = False
    """By the broker."""
    left: bool = False
    reset: bool = False
    broken: bool = False
    """Whether whatever the broker sends fails."""
    to_broker: bytearray = attrs.field(factory=bytearray)
    to_peer: bytearray = attrs.field(factory=bytearray)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    # -- what the peer does

    def send(self, data: bytes) -> None:
        self.to_broker += data
        self._change()

    def send_frame(self, content: bytes) -> None:
        self.send(len(content).to_bytes(4, "big") + content)

    def take(self, count: int = 1 << 30) -> bytes:
        taken = bytes(self.to_peer[:count])
        del self.to_peer[:count]
        self._change()
        return taken

    def leave(self) -> None:
        self.left = True
        self._change()

    async def wait_closed(self) -> None:
        while not self.closed:
            await self._changed.wait()

    # -- the broker's Transport

    def receive_nowait(self, buffer: memoryview) -> int | None:
        if self.reset:
            raise ConnectionResetError(104, "Connection reset by peer")
        if not self.to_broker:
            return 0 if self.left else None
        size = min(len(buffer), len(self.to_broker))
        buffer[:size] = self.to_broker[:size]
        del self.to_broker[:size]
        return size

    def send_nowait(self, buffers: Sequence[Buffer], *, more: bool) -> int:
        if self.broken:
            raise BrokenPipeError(32, "Broken pipe")
        data = b"".join(buffers)[: self.window_bytes - len(self.to_peer)]
        self.to_peer += data
        self._change()
        return len(data)

    def send_file_nowait(self, file: File, position: int, size: int) -> int:
        return self.send_nowait([file.pread(size, position)], more=False)

    async def wait_readable(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self.to_broker and not self.left and not self.reset:
            await self._changed.wait()

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        while len(self.to_peer) >= self.window_bytes and not self.broken:
            await self._changed.wait()

    def close(self) -> None:
        self.closed = True
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


Handler = Callable[[bytes], bytes | tuple[bytes, int] | Any]
"""(frame) -> an answer, an answer and its flush ticket, a coroutine that returns an answer, or None."""


@attrs.define(eq=False, repr=False)
class Bench:
    """Connections that share a budget, a flusher and a handler."""

    handle: Handler
    limits: Limits = LIMITS
    budget: MemoryBudget = attrs.field(factory=lambda: MemoryBudget(1 << 30))
    flusher: Flusher = attrs.field(factory=lambda: Flusher(cast(Any, None)))
    scratch: memoryview = attrs.field(factory=lambda: memoryview(bytearray(SCRATCH_BYTES)))
    turns: Turns = attrs.field(factory=Turns)
    complaints: Complaints = attrs.field(factory=Complaints)
    connections: list[Connection] = attrs.field(factory=list)

    def connection(self, peer: Transport, poller: Poller | None = None) -> Connection:
        dispatcher = SimpleNamespace(services=SimpleNamespace(flusher=self.flusher), dispatch=self._dispatch)
        inbox = Inbox(self.scratch, self.limits.max_frame_bytes)
        connection = Connection(
            transport=peer,
            dispatcher=cast(Dispatcher, dispatcher),
            inbox=inbox,
            limits=self.limits,
            budget=self.budget,
            poller=poller or TaskPoller(),
            turns=self.turns,
            complaints=self.complaints,
        )
        self.connections.append(connection)
        return connection

    def _dispatch(self, frame: memoryview, host: str) -> Sendable | Waiting | None:
        answer = self.handle(bytes(frame))
        if answer is None:
            return None
        if isinstance(answer, (bytes, bytearray)):
            return Sendable.of([answer])
        if isinstance(answer, tuple):
            return Sendable.of([answer[0]], answer[1])
        return Waiting(
            reply=answer,
            encode=lambda done: Sendable.of([done]),
            refuse=lambda error: error,
            in_order=frame[:8] == b"in order",
            held_bytes=decoded_bytes(len(frame)),
        )

    async def run_relieving(self) -> None:
        """What `Connections.run_relieving` does."""
        while True:
            await self.budget.wait_exceeded()
            for connection in self.connections:
                connection.relieve(trio.current_time())
            await trio.sleep(0.25)
