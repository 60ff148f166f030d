"""A connection's answers, in the order of its requests.

Whoever makes the head of the queue ready sends it: the reader for a request that needs no wait, the flush round for all
that waited for it, and the writer task for what has to wait otherwise (a long poll, a rebalance, a cold disk, a peer that
does not read).
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable

import attrs
import trio

from minibroker.server.dispatch import Sendable, Waiting
from minibroker.server.limits import Limits
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
    limits: Limits
    hang_up: Callable[[], None]
    """End the connection: nothing can be sent any more."""
    progressed: Callable[[], None]
    """Called when answers have gone, or when memory that they take has changed."""
    last_sent: float = 0.0
    """When the peer last took something that it had kept waiting, on the monotonic clock."""
    in_order: bool = False
    """Whether the last request waits for something that no later one may overtake."""
    _queue: deque[Answer] = attrs.field(factory=deque)
    _queued_bytes: int = 0
    """Memory of the answers that are encoded and not yet in the outbox, and of the requests that wait behind another.

    The first is counted only if it keeps its records while others wait in order: consumers poll all the time, and what one
    request takes beside its records is limited.
    """
    _outbox: Outbox = attrs.field(init=False)
    _awaited_round: int = 0
    """The flush round that will call us back."""
    _writing: bool = False
    """Whether the writer task is at work: then nobody else sends."""
    _writer_work: trio.Event = attrs.field(factory=trio.Event)
    _lost: bool = False
    _kept_waiting_since: float = math.inf
    """When the peer began to have us wait with what is in the outbox, on the monotonic clock; never when it does not."""
    _sent_before: int = 0
    """What had been sent then."""

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
        """Memory that answers take, and requests that wait behind another."""
        return self._queued_bytes + self._outbox.held_bytes

    def add(self, answer: Answer) -> None:
        """Queue the answer of the next request, and send what stands ready."""
        if self._queue or isinstance(answer, Sendable) or answer.in_order:
            self._queued_bytes += answer.held_bytes
        else:
            answer.held_bytes = 0
        self._queue.append(answer)
        if type(answer) is Waiting and answer.in_order:
            self.in_order = True
        if not self._writing:
            self.send_ready()

    def lose(self) -> None:
        """Send nothing more, and give back what the answers take: the connection is about to end."""
        self._lost = True
        self._outbox.close()
        for answer in self._queue:
            answer.held_bytes = 0
            if isinstance(answer, Sendable):
                answer.parts = []
        self._queued_bytes = 0

    def close(self) -> None:
        """Forget what was not answered."""
        self.lose()
        for answer in self._queue:
            if isinstance(answer, Waiting):
                answer.close()
        self._queue.clear()

    def crawls(self, now: float) -> bool:
        """Whether the peer has us wait, and takes what it gets more slowly than it may while memory is short."""
        taken = self._outbox.sent_bytes - self._sent_before
        limits = self.limits
        least_per_s = max(limits.pressed_bytes_per_s, self._outbox.held_bytes / limits.pressed_drain_s)
        return now - self._kept_waiting_since > limits.pressed_s + taken / least_per_s

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
                    if not head.in_order:
                        self._queued_bytes -= head.held_bytes
                        head.held_bytes = 0
                    self._queue[0] = answer = await head.wait()
                    if head.in_order:
                        self.in_order = False
                    self._queued_bytes += answer.held_bytes - head.held_bytes
                self._writing = False
                self.send_ready()

    async def _send_outbox(self) -> None:
        outbox, patience_s = self._outbox, self.limits.write_deadline_s
        if outbox.send_nowait():
            return
        self._sent_before, self._kept_waiting_since = outbox.sent_bytes, trio.current_time()
        least_bytes = int(patience_s * self.limits.min_taken_bytes_per_s)
        due_bytes, deadline = outbox.sent_bytes + least_bytes, self._kept_waiting_since + patience_s
        sent = False
        while not sent:
            self.progressed()
            began, is_peers = trio.current_time(), outbox.waits_for_peer
            with trio.move_on_at(deadline if is_peers else math.inf) as scope:
                await outbox.wait_sendable()
            if scope.cancelled_caught:
                raise PeerTooSlow(f"it took less than {least_bytes} bytes of its answers in {patience_s:g} s")
            self.last_sent = trio.current_time()
            if not is_peers:
                self._kept_waiting_since += self.last_sent - began
                deadline += self.last_sent - began
            sent = outbox.send_nowait()
            if outbox.sent_bytes >= due_bytes:
                due_bytes, deadline = outbox.sent_bytes + least_bytes, self.last_sent + patience_s
        self._kept_waiting_since = math.inf
