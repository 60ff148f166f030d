"""A connection's answers, in the order of its requests.

Whoever makes the head of the queue ready sends it: the reader for a request that needs no wait, the flush round for all
that waited for it, and the writer task for what has to wait otherwise (a long poll, a rebalance, a cold disk, a peer that
does not read).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import attrs
import trio

from minibroker.server.dispatch import Sendable, Waiting
from minibroker.server.outbox import Outbox
from minibroker.server.transport import Transport
from minibroker.storage.errors import StorageError
from minibroker.topics.flusher import Flusher

logger = logging.getLogger(__name__)

Answer = Sendable | Waiting


class PeerTooSlow(Exception):
    """The peer did not take its answers, or did not finish its request, in time."""


@attrs.define(eq=False)
class Answers:
    """See the module."""

    transport: Transport
    flusher: Flusher
    write_deadline_s: float
    hang_up: Callable[[], None]
    """End the connection: nothing can be sent any more."""
    progressed: Callable[[], None]
    """Called when answers have gone, or when memory that they take has changed."""
    last_sent: float = 0.0
    """When the peer last took something that it had kept waiting, on the monotonic clock."""
    _queue: deque[Answer] = attrs.field(factory=deque)
    _queued_bytes: int = 0
    """Memory of the answers that are encoded and not yet in the outbox."""
    _outbox: Outbox = attrs.field(init=False)
    _awaited_round: int = 0
    """The flush round that will call us back."""
    _writing: bool = False
    """Whether the writer task is at work: then nobody else sends."""
    _writer_work: trio.Event = attrs.field(factory=trio.Event)
    _lost: bool = False

    def __attrs_post_init__(self) -> None:
        self._outbox = Outbox(self.transport, self.flusher.wait_turn)

    def __len__(self) -> int:
        """Requests that are started and not answered, or whose answers wait for others."""
        return len(self._queue)

    @property
    def pending(self) -> bool:
        """Whether the peer waits for anything."""
        return bool(self._queue or self._outbox.pending)

    @property
    def unsent_bytes(self) -> int:
        """Memory that answers take."""
        return self._queued_bytes + self._outbox.held_bytes

    def add(self, answer: Answer) -> None:
        """Queue the answer of the next request, and send what stands ready."""
        self._queue.append(answer)
        if isinstance(answer, Sendable):
            self._queued_bytes += answer.held_bytes
        if not self._writing:
            self.send_ready()

    def close(self) -> None:
        """Forget what was not answered, at once: whoever counts memory does so too."""
        self._lost = True
        for answer in self._queue:
            if isinstance(answer, Waiting):
                answer.close()
        self._queue.clear()
        self._queued_bytes = 0
        self._outbox.close()

    def send_ready(self) -> None:
        """Send what stands ready at the head of the queue; leave to the writer what has to wait."""
        if self._lost:
            return
        queue = self._queue
        self._fill_outbox()
        try:
            done = self._outbox.send_nowait()
        except (OSError, StorageError) as error:
            # Somebody else's task may stand here: hang up, and let this connection's own tasks end.
            logger.debug("lost the connection of %s: %s", self.transport.host, error)
            self._lost = True
            self.hang_up()
            return
        if not done or (queue and not isinstance(queue[0], Sendable)):
            self._writing = True
            self._writer_work.set()
        self.progressed()

    def _fill_outbox(self) -> None:
        queue = self._queue
        while queue:
            answer = queue[0]
            if not isinstance(answer, Sendable):
                return
            if answer.ticket > self.flusher.completed:
                if self._awaited_round < answer.ticket:
                    self._awaited_round = answer.ticket
                    self.flusher.call_when_durable(answer.ticket, self._on_durable)
                return
            self._outbox.add(answer.parts, answer.held_bytes)
            self._queued_bytes -= answer.held_bytes
            queue.popleft()

    def _on_durable(self) -> None:
        """Called by the flusher, which serves everybody: an error must not reach it."""
        if self._writing:
            return
        try:
            self.send_ready()
        except AssertionError:
            raise
        except Exception:
            logger.exception("closed the connection of %s after an error of ours", self.transport.host)
            self._lost = True
            self.hang_up()

    async def run_writer(self) -> None:
        """Send what has to wait, for ever. Raises PeerTooSlow, OSError, StorageError."""
        while True:
            await self._writer_work.wait()
            self._writer_work = trio.Event()
            while self._writing:
                await self._send_outbox()
                if self._queue and isinstance(head := self._queue[0], Waiting):
                    self._queue[0] = answer = await head.wait()
                    self._queued_bytes += answer.held_bytes
                self._writing = False
                self.send_ready()

    async def _send_outbox(self) -> None:
        if self._outbox.send_nowait():
            return
        with trio.move_on_after(self.write_deadline_s) as scope:
            sent = False
            while not sent:
                self.progressed()
                await self._outbox.wait_sendable()
                self.last_sent = trio.current_time()
                scope.deadline = self.last_sent + self.write_deadline_s
                sent = self._outbox.send_nowait()
        if scope.cancelled_caught:
            raise PeerTooSlow(f"it took nothing of its answers for {self.write_deadline_s:g} s")
