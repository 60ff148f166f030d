"""One client's connection: a reader that starts requests and a writer that answers them in the same order.

The reader receives, decodes and starts each request at once, so a producer's next batch is appended while the previous
one waits for the disk. Answers queue in the order of their requests. Whoever makes the head of the queue ready sends it:
the reader for a request that needs no wait, the flush round for all that waited for it, and the writer task for what
has to wait otherwise (a long poll, a rebalance, a cold disk, a peer that does not read). So the common request costs
one wake-up, that of the reader.
"""

from __future__ import annotations

import logging
from collections import deque

import attrs
import trio

from minibroker.protocol.errors import ProtocolError
from minibroker.server.dispatch import Dispatcher, Sendable, Waiting
from minibroker.server.inbox import Inbox
from minibroker.server.limits import Limits, MemoryBudget
from minibroker.server.outbox import Outbox
from minibroker.server.transport import Transport

logger = logging.getLogger(__name__)

YIELD_BYTES = 1 << 20
"""A peer that sends without pause lets the others in after this much."""

Answer = Sendable | Waiting


class PeerTooSlow(Exception):
    """The peer did not take its answers, or did not finish its request, in time."""


@attrs.define(eq=False)
class Connection:
    """See the module. `run` serves one peer until it leaves, misbehaves or is cancelled."""

    transport: Transport
    dispatcher: Dispatcher
    inbox: Inbox
    limits: Limits
    budget: MemoryBudget
    last_active: float = attrs.field(factory=trio.current_time)
    """When bytes last came, on the monotonic clock."""
    _outbox: Outbox = attrs.field(init=False)
    _answers: deque[Answer] = attrs.field(factory=deque)
    _awaited_round: int = 0
    """The flush round that will call us back."""
    _writing: bool = False
    """Whether the writer task is at work: then nobody else sends."""
    _writer_work: trio.Event = attrs.field(factory=trio.Event)
    _progress: trio.Event = attrs.field(factory=trio.Event)
    _unfinished_since: float = 0.0
    """When the reader first waited for the rest of the present request; 0 between requests."""
    _reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _closed: bool = False

    def __attrs_post_init__(self) -> None:
        self._outbox = Outbox(self.transport)

    @property
    def idle(self) -> bool:
        """Whether the peer waits for nothing."""
        return not self._answers and not self._outbox.pending

    async def run(self) -> None:
        """Serve the peer. Its faults end this connection and are logged in one line; an AssertionError is ours and passes."""
        host = self.transport.host
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_writer)
                with self._reading:
                    await self._run_reader()
                if self._reading.cancelled_caught:
                    await self._drain()
                nursery.cancel_scope.cancel()
        except* AssertionError:
            raise
        except* (ProtocolError, PeerTooSlow) as group:
            logger.warning("closed the connection of %s: %s", host, group.exceptions[0])
        except* (OSError, trio.ClosedResourceError) as group:
            logger.debug("lost the connection of %s: %s", host, group.exceptions[0])
        except* Exception as group:
            logger.error("closed the connection of %s after an error of ours", host, exc_info=group)
        finally:
            self.close()

    def close(self) -> None:
        """Hang up and forget what was not answered."""
        self._closed = True
        self.transport.close()
        for answer in self._answers:
            if isinstance(answer, Waiting):
                answer.close()
        self._answers.clear()
        self.budget.hold(self, 0)

    def stop_reading(self) -> None:
        """Take no further request; `run` ends when those that are appended have been answered."""
        self._reading.cancel()

    # -- the reader

    async def _run_reader(self) -> None:
        received = 0
        while True:
            count = self.transport.receive_nowait(self.inbox.room())
            if count is None:
                await self._wait_readable()
                received = 0
                continue
            if count == 0:
                return
            self.inbox.received(count)
            received += count
            while (frame := self.inbox.next_frame()) is not None:
                self._unfinished_since = 0.0
                self._start(frame)
                if len(self._answers) >= self.limits.max_in_flight:
                    await self._wait_answered()
            if received >= YIELD_BYTES:
                self.inbox.park()
                await trio.lowlevel.checkpoint()
                received = 0

    async def _wait_readable(self) -> None:
        """Wait for more bytes: between requests as long as the peer likes, in the middle of one for a bounded time."""
        self.inbox.park()
        self.budget.hold(self, self.inbox.held_bytes)
        if not self.inbox.unfinished_bytes:
            self._unfinished_since = 0.0
            await self.transport.wait_readable()
        else:
            with trio.move_on_after(self._patience()) as scope:
                await self.budget.wait_allowed(self)
                await self.transport.wait_readable()
            if scope.cancelled_caught:
                raise PeerTooSlow("the rest of a request did not come in time")
        self.last_active = trio.current_time()

    def _patience(self) -> float:
        """How many seconds the unfinished request has left: a byte now and then does not hold a connection for ever."""
        now = trio.current_time()
        if not self._unfinished_since:
            self._unfinished_since = now
        granted = self.limits.unfinished_request_s + self.inbox.unfinished_bytes / self.limits.min_bytes_per_s
        return max(0.0, self._unfinished_since + granted - now)

    async def _wait_answered(self) -> None:
        """Wait until half of the requests in flight is answered."""
        self.inbox.park()
        while len(self._answers) > self.limits.max_in_flight // 2:
            await self._wait_progress()

    def _start(self, frame: memoryview) -> None:
        answer = self.dispatcher.dispatch(frame, self.transport.host)
        if answer is not None:
            self._answers.append(answer)
            if not self._writing:
                self._send_ready()

    async def _drain(self) -> None:
        """Wait until what was appended is answered; what waits for others (a poll, a rebalance) is dropped."""
        while self._outbox.pending or (self._answers and isinstance(self._answers[0], Sendable)):
            await self._wait_progress()

    async def _wait_progress(self) -> None:
        self._progress = trio.Event()
        await self._progress.wait()

    # -- sending what is ready, from whichever task made it ready

    def _send_ready(self) -> None:
        """Send what stands ready at the head of the queue; leave to the writer what has to wait."""
        self._fill_outbox()
        try:
            done = self._outbox.send_nowait()
        except OSError as error:
            # Somebody else's task may stand here: hang up, and this connection's own reader will find out.
            logger.debug("lost the connection of %s: %s", self.transport.host, error)
            self._reading.cancel()
            self._closed = True
            return
        if not done or (self._answers and not isinstance(self._answers[0], Sendable)):
            self._writing = True
            self._writer_work.set()
        self._progress.set()

    def _fill_outbox(self) -> None:
        flusher = self.dispatcher.services.flusher
        while self._answers:
            answer = self._answers[0]
            if not isinstance(answer, Sendable):
                return
            if answer.ticket > flusher.completed:
                if self._awaited_round < answer.ticket:
                    self._awaited_round = answer.ticket
                    flusher.call_when_durable(answer.ticket, self._on_durable)
                return
            self._outbox.add(answer.parts)
            self._answers.popleft()

    def _on_durable(self) -> None:
        if not self._writing and not self._closed:
            self._send_ready()

    # -- the writer

    async def _run_writer(self) -> None:
        while True:
            await self._writer_work.wait()
            self._writer_work = trio.Event()
            while self._writing:
                await self._send_outbox()
                if self._answers and isinstance(head := self._answers[0], Waiting):
                    self._answers[0] = await head.wait()
                self._writing = False
                self._send_ready()

    async def _send_outbox(self) -> None:
        while not self._outbox.send_nowait():
            with trio.move_on_after(self.limits.write_deadline_s) as scope:
                await self._outbox.wait_sendable()
            if scope.cancelled_caught:
                raise PeerTooSlow(f"it took nothing of its answers for {self.limits.write_deadline_s:g} s")
