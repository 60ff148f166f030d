"""Connections that are kept busy: one thread, no objects per request, nothing decoded that need not be."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from minibroker.load.errors import LoadError
from minibroker.load.measurement import Phase, Stopwatch
from minibroker.load.wire import LENGTH, PATIENCE_S, connect

READABLE: Final = select.POLLIN  # epoll and poll use the same numbers
WRITABLE: Final = select.POLLOUT
BUFFER_BYTES: Final = 64 * 1024
_TIMEVAL: Final = struct.Struct("ll")


class Conversation(Protocol):
    """What is said over one connection."""

    def next_request(self) -> memoryview | None:
        """The next frame, valid until it is sent; None when there is nothing left to ask."""

    def on_response(self, frame: memoryview) -> None:
        """Count an answer, given without its length. Raises LoadError if it is not the one hoped for."""


@attrs.define(eq=False)
class Lane:
    """One connection with at most ``in_flight`` requests unanswered."""

    address: str
    conversation: Conversation
    stopwatch: Stopwatch
    in_flight: int = 1
    sock: socket.socket = attrs.field(init=False)
    sent_at: deque[float] = attrs.field(factory=deque, init=False)
    unsent: memoryview | None = attrs.field(default=None, init=False)
    _buffer: memoryview = attrs.field(factory=lambda: memoryview(bytearray(BUFFER_BYTES)), init=False)
    _filled: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.sock = connect(self.address)
        # A timeout of Python's would cost a poll() in front of every call.
        self.sock.settimeout(None)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(PATIENCE_S, 0))

    def fill(self) -> None:
        """Send until enough is in flight, or the socket takes no more."""
        while len(self.sent_at) < self.in_flight and self.unsent is None:
            request = self.conversation.next_request()
            if request is None:
                return
            self.sent_at.append(time.perf_counter())
            self.send(request)

    def send(self, request: memoryview) -> None:
        """Send what the socket takes now, and keep the rest."""
        try:
            count = self.sock.send(request)
        except BlockingIOError:
            count = 0
        self.unsent = request[count:] if count < len(request) else None

    def receive(self) -> None:
        """Take what has arrived, and count the answers that are complete."""
        count = self.sock.recv_into(self._buffer[self._filled :])
        if not count:
            raise LoadError(f"{self.address} closed the connection")
        now = time.perf_counter()
        buffer, filled, position = self._buffer, self._filled + count, 0
        while filled - position >= LENGTH.size:
            end = position + LENGTH.size + LENGTH.unpack_from(buffer, position)[0]
            if end > filled:
                self._make_room(end - position)
                break
            self.conversation.on_response(buffer[position + LENGTH.size : end])
            self.stopwatch.latencies_s.append(now - self.sent_at.popleft())
            position = end
        self._filled = filled - position
        if self._filled and (position or buffer is not self._buffer):
            self._buffer[: self._filled] = bytes(buffer[position:filled])

    def _make_room(self, size: int) -> None:
        if size > len(self._buffer):
            self._buffer = memoryview(bytearray(size))


def run_lanes(lanes: Sequence[Lane]) -> None:
    """Keep the lanes busy until their stopwatch, which they share, says it is over. Raises LoadError."""
    try:
        if len(lanes) == 1:
            _run_one(lanes[0])
        else:
            _run_many(lanes)
    except OSError as error:
        raise LoadError(f"no answer from {lanes[0].address}: {error}") from None
    finally:
        for lane in lanes:
            lane.sock.close()


def run_by_the_clock(lane: Lane, interval_s: float) -> None:
    """Send one request every ``interval_s``, each after the answer to the last. Raises LoadError.

    A request that could not go out when it was due has waited since then, which its latency tells.
    """
    stopwatch = lane.stopwatch
    due = time.perf_counter()
    try:
        while stopwatch.phase is not Phase.DRAINING and (request := lane.conversation.next_request()) is not None:
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
                lane.sent_at.append(time.perf_counter())
            else:
                lane.sent_at.append(due)
            lane.sock.sendall(request)
            while lane.sent_at:
                lane.receive()
            stopwatch.update(time.perf_counter())
            due += interval_s
    except OSError as error:
        raise LoadError(f"no answer from {lane.address}: {error}") from None
    finally:
        lane.sock.close()


def _run_one(lane: Lane) -> None:
    """One connection needs no poll: it blocks where it would wait anyway."""
    stopwatch = lane.stopwatch
    while True:
        if stopwatch.phase is not Phase.DRAINING:
            lane.fill()
        while lane.unsent is not None:
            lane.send(lane.unsent)
        if not lane.sent_at:
            break
        lane.receive()
        stopwatch.update(time.perf_counter())
    stopwatch.finish()


def _run_many(lanes: Sequence[Lane]) -> None:
    stopwatch = lanes[0].stopwatch
    poller, timeout = (select.epoll(), PATIENCE_S) if hasattr(select, "epoll") else (select.poll(), PATIENCE_S * 1000)
    busy = {lane.sock.fileno(): lane for lane in lanes}
    for descriptor, lane in busy.items():
        lane.sock.setblocking(False)
        poller.register(descriptor, READABLE | WRITABLE)
    while busy:
        events = poller.poll(timeout)
        if not events:
            raise LoadError(f"{len(busy)} connections to {lanes[0].address} had no answer for {PATIENCE_S} s")
        for descriptor, event in events:
            lane = busy[descriptor]
            was_blocked = event & WRITABLE
            if event & ~WRITABLE:
                lane.receive()
            if lane.unsent is not None:
                lane.send(lane.unsent)
            if stopwatch.phase is not Phase.DRAINING:
                lane.fill()
            if (lane.unsent is not None) != bool(was_blocked):
                poller.modify(descriptor, READABLE | (WRITABLE if lane.unsent is not None else 0))
            if not lane.sent_at and lane.unsent is None:
                poller.unregister(descriptor)
                del busy[descriptor]
        stopwatch.update(time.perf_counter())
    stopwatch.finish()
