"""Sockets that accept connections.

An address is bound before the data directory is opened, so that a taken port costs nothing, and listened on after
recovery, so that nobody is accepted before there is something to serve.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from minibroker.config.listeners import Listener
from minibroker.handlers.context import Endpoint
from minibroker.server.errors import StartError

logger = logging.getLogger(__name__)

OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
CLOSED = (errno.EBADF, errno.ENOTSOCK, errno.EINVAL)
BACK_OFF_S = 0.1


@attrs.define(eq=False)
class BoundListener:
    """A listener's sockets: one, or one per address that its host name has."""

    listener: Listener
    advertised: Listener | None
    sockets: list[socket.socket]

    @property
    def port(self) -> int:
        """The port, also where any free one was asked for."""
        port: int = self.sockets[0].getsockname()[1]
        return port

    @property
    def endpoint(self) -> Endpoint:
        """What clients are told, as far as it is the same for all."""
        told = self.advertised or self.listener
        return Endpoint(host=told.host or "0.0.0.0", port=told.port or self.port)

    def endpoint_for(self, connection: socket.socket) -> Endpoint:
        """What this client is told: on every interface, the address by which it has reached us."""
        if self.advertised is not None or not self.listener.is_wildcard:
            return self.endpoint
        host = connection.getsockname()[0]
        return Endpoint(host=host.removeprefix("::ffff:"), port=self.port)

    def close(self) -> None:
        """Accept nobody any more."""
        for sock in self.sockets:
            if sock.fileno() != -1:
                trio.lowlevel.notify_closing(sock)
                sock.close()


def bind_all(listeners: Sequence[Listener], advertised: Sequence[Listener]) -> list[BoundListener]:
    """Bind every listener. Raises StartError with one line that says which address is not to be had, and why."""
    bound: list[BoundListener] = []
    try:
        for index, listener in enumerate(listeners):
            told = advertised[index] if index < len(advertised) else None
            bound.append(BoundListener(listener, told, _bind(listener)))
    except BaseException:
        for earlier in bound:
            for sock in earlier.sockets:
                sock.close()
        raise
    return bound


def _bind(listener: Listener) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    port = listener.port
    try:
        for family, address in _addresses(listener):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if listener.host == "" else 1)
            sock.bind((address, port))
            port = sock.getsockname()[1]
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise StartError(f"cannot listen on {listener.address}: {error.strerror or error}") from error
    return sockets


def _addresses(listener: Listener) -> list[tuple[socket.AddressFamily, str]]:
    """The families and addresses to bind; every interface is one IPv6 socket that takes IPv4 too, where there is IPv6."""
    if listener.host == "":
        return [(socket.AF_INET6, "::")] if socket.has_dualstack_ipv6() else [(socket.AF_INET, "0.0.0.0")]
    found = socket.getaddrinfo(listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


async def run_accepting(
    listening: socket.socket, accepted: Callable[[socket.socket], None], wait_room: Callable[[], Awaitable[None]]
) -> None:
    """Accept connections for ever, as many at a time as are there, while there is room for them.

    Without a free descriptor it gives up a spare one to accept and close at once, so that the peer is told rather than
    left waiting, and then rests. Whatever else `accept` reports is the fate of one connection (accept(2): "network
    errors already pending on the new socket"), never a reason to stop.
    """
    spare = Spare()
    try:
        while True:
            await wait_room()
            try:
                connection, _ = listening.accept()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(listening)
            except ConnectionError:
                continue  # it left before it was accepted
            except OSError as error:
                if error.errno in CLOSED:
                    raise
                logger.warning("cannot accept a connection: %s", error.strerror)
                if error.errno in OUT_OF_DESCRIPTORS:
                    spare.turn_away(listening)
                await trio.sleep(BACK_OFF_S)
            else:
                accepted(connection)
                await trio.lowlevel.checkpoint()  # however many come, those who are in have their turn
    finally:
        spare.close()


@attrs.define(eq=False)
class Spare:
    """A descriptor to give up when there is none left."""

    _descriptor: int | None = attrs.field(factory=lambda: os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def turn_away(self, listening: socket.socket) -> None:
        """Accept one connection and close it."""
        self.close()
        try:
            listening.accept()[0].close()
        except OSError as error:
            logger.debug("could not turn a connection away: %s", error)
        with contextlib.suppress(OSError):  # others may have been quicker; then the next has to wait in the backlog
            self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give it up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
