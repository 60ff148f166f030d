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
from minibroker.server.inbox import CAREFUL_FACTOR, Inbox
from minibroker.server.limits import Limits, MemoryBudget
from minibroker.server.outbox import Outbox
from minibroker.server.transport import Transport
from minibroker.storage.errors import StorageError

logger = logging.getLogger(__name__)

YIELD_BYTES = 1 << 20
"""A peer that asks without pause lets the others in after this much, answers included."""
YIELD_S = 0.005
"""Or after its requests have taken this long: a small one may have us unpack and visit a million records."""
LEAST_RECEIVED_BYTES = 4096
"""However short memory is, a receive may bring this much."""
NEGLIGIBLE_BYTES = 1024
"""Less unsent than this is not worth the accounting."""

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
    """When bytes last came or went while we waited for that, on the monotonic clock."""
    _outbox: Outbox = attrs.field(init=False)
    _answers: deque[Answer] = attrs.field(factory=deque)
    _queued_bytes: int = 0
    """Memory of the answers that are encoded and not yet in the outbox."""
    _held_bytes: int = 0
    """What the budget knows that we hold."""
    _awaited_round: int = 0
    """The flush round that will call us back."""
    _writing: bool = False
    """Whether the writer task is at work: then nobody else sends."""
    _writer_work: trio.Event = attrs.field(factory=trio.Event)
    _progress: trio.Event = attrs.field(factory=trio.Event)
    _unfinished_since: float = 0.0
    """When the reader first waited for the rest of the present request; 0 between requests."""
    _paused: bool = False
    """Whether we, not the peer, keep the rest of the present request waiting."""
    _reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _serving: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _lost: bool = False
    """Whether nothing can be sent any more."""

    def __attrs_post_init__(self) -> None:
        self._outbox = Outbox(self.transport)

    @property
    def idle(self) -> bool:
        """Whether the peer waits for nothing."""
        return not self._answers and not self._outbox.pending

    @property
    def _unsent_bytes(self) -> int:
        return self._queued_bytes + self._outbox.held_bytes

    async def run(self) -> None:
        """Serve the peer. Its faults end this connection and are logged in one line; an AssertionError is ours and passes."""
        host = self.transport.host
        try:
            with self._serving:
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
            logger.warning("closed the connection of %s: %s", host, _first(group))
        except* (OSError, trio.ClosedResourceError) as group:
            logger.debug("lost the connection of %s: %s", host, _first(group))
        except* Exception as group:
            logger.error("closed the connection of %s after an error of ours", host, exc_info=group)
        finally:
            self._close()

    def _close(self) -> None:
        """Hang up and forget what was not answered."""
        self._lost = True
        self.transport.close()
        for answer in self._answers:
            if isinstance(answer, Waiting):
                answer.close()
        self._answers.clear()
        self.budget.hold(self, 0)

    def stop_reading(self) -> None:
        """Take no further request; `run` ends when those that are appended have been answered."""
        self._reading.cancel()

    def relieve(self, now: float) -> None:
        """The memory budget is used up: give back what is not needed, and hang up if the peer stands still on the rest."""
        self.release()
        if self._held_bytes <= self.budget.share_bytes or (self._paused and not self._unsent_bytes):
            return
        unfinished = self.inbox.unfinished_bytes
        granted = self.limits.pressed_s + unfinished / self.limits.pressed_bytes_per_s
        crawls = bool(unfinished and self._unfinished_since) and now - self._unfinished_since > granted
        stands = now - self.last_active > self.limits.pressed_s
        if (crawls or stands) and (unfinished or self._unsent_bytes):
            logger.warning(
                "closed the connection of %s: it stands still on %d bytes while memory is short (queued.max.request.bytes)",
                self.transport.host,
                self._held_bytes,
            )
            self._serving.cancel()

    def release(self) -> None:
        """Give memory back that holds nothing."""
        self.inbox.release()
        self._account()

    # -- the reader

    async def _run_reader(self) -> None:
        taken = 0
        while True:
            count = self.transport.receive_nowait(self._room())
            if count is None:
                await self._wait_readable()
                taken = 0
                continue
            if count == 0:
                return
            self.inbox.received(count)
            if self.inbox.held_bytes:
                self._account()
            taken += count
            while True:
                if self._must_pause():
                    await self._pause()
                if (frame := self.inbox.next_frame()) is None:
                    break
                self._unfinished_since = 0.0
                taken += self._start(frame)
                if taken >= YIELD_BYTES or trio.current_time() - self.last_active > YIELD_S:
                    taken = await self._yield()
            if taken >= YIELD_BYTES or (self.budget.exceeded and self.inbox.unfinished_bytes):
                taken = await self._yield()

    def _room(self) -> memoryview:
        """Where the next bytes shall be received, and how many: the fewer the shorter memory is."""
        budget = self.budget
        if not budget.tight:
            return self.inbox.room()
        room = self.inbox.room(CAREFUL_FACTOR)
        return room[: max(budget.share_bytes, LEAST_RECEIVED_BYTES)] if budget.exceeded else room

    async def _wait_readable(self) -> None:
        """Wait for more bytes: between requests as long as the peer likes, in the middle of one for a bounded time."""
        self.inbox.park()
        self._account()
        if not self.inbox.unfinished_bytes:
            self._unfinished_since = 0.0
            await self.transport.wait_readable()
        else:
            await self._wait_allowed()
            with trio.move_on_after(self._patience()) as scope:
                await self.transport.wait_readable()
            if scope.cancelled_caught:
                raise PeerTooSlow("the rest of a request did not come in time")
        self.last_active = trio.current_time()

    async def _yield(self) -> int:
        """Let others have their turn; wait if memory is short. Return 0, what has been taken since."""
        self.inbox.park()
        self._account()
        if self.inbox.unfinished_bytes:
            await self._wait_allowed()
        await trio.lowlevel.checkpoint()
        self.last_active = trio.current_time()
        return 0

    async def _wait_allowed(self) -> None:
        """Wait until more may be received. It is not the peer who is slow then."""
        if not self.budget.allows(self):
            began = trio.current_time()
            self._paused = True
            await self.budget.wait_allowed(self)
            self._paused = False
            self.last_active = trio.current_time()
            if self._unfinished_since:
                self._unfinished_since += self.last_active - began

    def _patience(self) -> float:
        """How many seconds the next bytes may take: neither silence nor a byte now and then holds a connection for ever."""
        now = trio.current_time()
        if not self._unfinished_since:
            self._unfinished_since = now
        longest = self.limits.unfinished_request_s
        granted = longest + self.inbox.unfinished_bytes / self.limits.min_bytes_per_s
        return max(0.0, min(longest, self._unfinished_since + granted - now))

    def _must_pause(self) -> bool:
        """Whether too many requests are in flight, or too much waits for a peer that does not read, to start another."""
        unsent = self._queued_bytes + self._outbox.held_bytes
        if unsent > NEGLIGIBLE_BYTES:
            self._account()
        budget = self.budget
        return (
            len(self._answers) >= self.limits.max_in_flight
            or unsent > self.limits.max_unsent_bytes
            or (budget.held_bytes >= budget.limit_bytes and not budget.allows(self))
        )

    async def _pause(self) -> None:
        """Wait until the next request may be started."""
        self.inbox.park()
        self._account()
        if len(self._answers) >= self.limits.max_in_flight:
            while len(self._answers) > self.limits.max_in_flight // 2:
                await self._wait_progress()
        while self._must_pause():
            await (self._wait_progress() if self._unsent_bytes else self._wait_allowed())

    def _start(self, frame: memoryview) -> int:
        """Start a request, and return how much memory its answer takes so far."""
        answer = self.dispatcher.dispatch(frame, self.transport.host)
        if answer is None:
            return 0
        self._answers.append(answer)
        held = answer.held_bytes if isinstance(answer, Sendable) else 0
        self._queued_bytes += held
        if not self._writing:
            self._send_ready()
        return held

    async def _drain(self) -> None:
        """Wait until what was appended is answered; what waits for others (a poll, a rebalance) is dropped."""
        while self._outbox.pending or (self._answers and isinstance(self._answers[0], Sendable)):
            await self._wait_progress()

    async def _wait_progress(self) -> None:
        self._progress = trio.Event()
        await self._progress.wait()

    def _account(self) -> None:
        """Tell the budget what we hold."""
        unsent = self._unsent_bytes
        held = self.inbox.held_bytes + (unsent if unsent > NEGLIGIBLE_BYTES else 0)
        if held != self._held_bytes:
            self._held_bytes = held
            self.budget.hold(self, held)

    # -- sending what is ready, from whichever task made it ready

    def _send_ready(self) -> None:
        """Send what stands ready at the head of the queue; leave to the writer what has to wait."""
        if self._lost:
            return
        self._fill_outbox()
        try:
            done = self._outbox.send_nowait()
        except (OSError, StorageError) as error:
            # Somebody else's task may stand here: hang up, and let this connection's own tasks end.
            logger.debug("lost the connection of %s: %s", self.transport.host, error)
            self._lost = True
            self._serving.cancel()
            return
        if not done or (self._answers and not isinstance(self._answers[0], Sendable)):
            self._writing = True
            self._writer_work.set()
        if self._held_bytes > NEGLIGIBLE_BYTES:
            self._account()
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
            self._outbox.add(answer.parts, answer.held_bytes)
            self._queued_bytes -= answer.held_bytes
            self._answers.popleft()

    def _on_durable(self) -> None:
        """Called by the flusher, which serves everybody: an error must not reach it."""
        if self._writing:
            return
        try:
            self._send_ready()
        except AssertionError:
            raise
        except Exception:
            logger.exception("closed the connection of %s after an error of ours", self.transport.host)
            self._lost = True
            self._serving.cancel()

    # -- the writer

    async def _run_writer(self) -> None:
        while True:
            await self._writer_work.wait()
            self._writer_work = trio.Event()
            while self._writing:
                await self._send_outbox()
                if self._answers and isinstance(head := self._answers[0], Waiting):
                    self._answers[0] = answer = await head.wait()
                    self._queued_bytes += answer.held_bytes
                self._writing = False
                self._send_ready()

    async def _send_outbox(self) -> None:
        while not self._outbox.send_nowait():
            self._account()
            self._progress.set()
            with trio.move_on_after(self.limits.write_deadline_s) as scope:
                await self._outbox.wait_sendable()
            if scope.cancelled_caught:
                raise PeerTooSlow(f"it took nothing of its answers for {self.limits.write_deadline_s:g} s")
            self.last_active = trio.current_time()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of the exceptions in a group, however deep."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
