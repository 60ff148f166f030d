"""Bytes to and from one broker, over a raw non-blocking socket.

It tries the system call first and waits only when it would block: through `trio.socket` a ready
receive costs 7 µs, raw 1 µs. And `receive_into` fills the caller's buffer, so a large response is never joined.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs
import trio

from minibroker.client.address import Address

Buffer = bytes | bytearray | memoryview

MAX_GATHER = 64
"""Buffers per sendmsg call: the least IOV_MAX that POSIX systems have is 16, Linux and macOS have 1024."""


class Transport(Protocol):
    """What a connection needs of the network. All methods raise OSError or trio.BrokenResourceError."""

    def send_some(self, buffers: deque[Buffer]) -> None:
        """Send what goes without blocking; what was not sent stays in `buffers`."""

    async def send_all(self, buffers: deque[Buffer]) -> None:
        """Send everything, also what is added to `buffers` meanwhile."""

    async def receive_into(self, view: memoryview) -> int:
        """Receive at least one byte; 0 means the broker has closed."""

    async def aclose(self) -> None:
        """Close at once, without waiting for what was not sent."""


Connect = Callable[[Address], Awaitable[Transport]]
"""How to open a transport to an address (raises OSError); tests bring their own."""


@attrs.define(eq=False)
class SocketTransport:
    """A connected, non-blocking TCP socket."""

    _socket: socket.socket

    def send_some(self, buffers: deque[Buffer]) -> None:
        """Gather what the kernel takes."""
        while buffers:
            try:
                sent = self._socket.sendmsg(list(buffers)[:MAX_GATHER] if len(buffers) > MAX_GATHER else buffers)
            except BlockingIOError:
                return
            _drop(buffers, sent)

    async def send_all(self, buffers: deque[Buffer]) -> None:
        """Gather, waiting for room."""
        while buffers:
            await trio.lowlevel.wait_writable(self._socket)
            self.send_some(buffers)

    async def receive_into(self, view: memoryview) -> int:
        """Receive what is there, or wait."""
        while True:
            try:
                return self._socket.recv_into(view)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)

    async def aclose(self) -> None:
        """Close at once."""
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


def _drop(buffers: deque[Buffer], sent: int) -> None:
    """Forget the first `sent` bytes."""
    while sent:
        first = buffers[0]
        if len(first) > sent:
            buffers[0] = memoryview(first)[sent:]
            return
        sent -= len(first)
        buffers.popleft()


async def connect_tcp(address: Address) -> SocketTransport:
    """Connect to the first of the host's addresses that accepts. Raises OSError with the last one's reason."""
    found = await trio.socket.getaddrinfo(address.host, address.port, type=trio.socket.SOCK_STREAM)
    failure: OSError = OSError(f"{address.host} has no address")
    for family, kind, protocol, _, where in found:
        raw = socket.socket(family, kind, protocol)
        try:
            raw.setblocking(False)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await trio.socket.from_stdlib_socket(raw).connect(where)
        except OSError as error:
            raw.close()
            failure = error
        except BaseException:
            raw.close()
            raise
        else:
            return SocketTransport(raw)
    raise failure
