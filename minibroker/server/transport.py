"""The door to a peer: non-blocking receive and send, and two waits.

A ready `recv_into` costs 1 µs on the raw socket and 7 µs through Trio, so a connection tries the socket first and only
waits in Trio when it would block. The simulation puts streams in memory behind the same interface.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import Protocol

import attrs
import trio

from minibroker.storage.filesystem import File

IOV_MAX = 1024
"""The most buffers that one `sendmsg` takes (POSIX limit on Linux and macOS)."""

HAS_SENDFILE = sys.platform == "linux"
"""Elsewhere sendfile has other arguments, and a read and a send do as well."""

MSG_MORE = getattr(socket, "MSG_MORE", 0)

Buffer = bytes | bytearray | memoryview


class Transport(Protocol):
    """One connected peer."""

    host: str
    """The peer's address, for logs and for group members' `client_host`."""

    def receive_nowait(self, buffer: memoryview) -> int | None:
        """Receive into `buffer` and return the count, 0 at the end of the stream, None if it would block. Raises OSError."""

    def send_nowait(self, buffers: Sequence[Buffer], *, more: bool) -> int:
        """Send what the peer takes now and return the count of bytes, 0 if it would block. Raises OSError.

        `more` says that another send follows at once, so that the two may share a packet.
        """

    def send_file_nowait(self, file: File, position: int, size: int) -> int:
        """Send what the peer takes now of `size` bytes of `file` at `position`. Raises OSError."""

    async def wait_readable(self) -> None:
        """Return when a receive would not block. Raises trio.ClosedResourceError."""

    async def wait_writable(self) -> None:
        """Return when a send would not block. Raises trio.ClosedResourceError."""

    def close(self) -> None:
        """Hang up. May be called twice."""


@attrs.define(eq=False)
class SocketTransport:
    """A Transport over a non-blocking TCP socket."""

    sock: socket.socket
    host: str

    @classmethod
    def of(cls, sock: socket.socket, host: str) -> SocketTransport:
        """Take over an accepted socket."""
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return cls(sock, host)

    def receive_nowait(self, buffer: memoryview) -> int | None:
        """See Transport."""
        try:
            return self.sock.recv_into(buffer)
        except BlockingIOError:
            return None

    def send_nowait(self, buffers: Sequence[Buffer], *, more: bool) -> int:
        """See Transport."""
        try:
            return self.sock.sendmsg(buffers, (), MSG_MORE if more else 0)
        except BlockingIOError:
            return 0

    def send_file_nowait(self, file: File, position: int, size: int) -> int:
        """See Transport."""
        try:
            if HAS_SENDFILE:
                count = os.sendfile(self.sock.fileno(), file.fileno(), position, size)
            else:
                count = self.sock.send(file.pread(size, position))
        except BlockingIOError:
            return 0
        if count == 0:
            raise OSError(f"{file} ended at {position}, {size} bytes before the end of a response")
        return count

    async def wait_readable(self) -> None:
        """See Transport."""
        await trio.lowlevel.wait_readable(self.sock)

    async def wait_writable(self) -> None:
        """See Transport."""
        await trio.lowlevel.wait_writable(self.sock)

    def close(self) -> None:
        """See Transport."""
        if self.sock.fileno() != -1:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()
