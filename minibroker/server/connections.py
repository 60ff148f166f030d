"""All connections of a broker: who may come in, who has been idle for too long, and how they are all sent home."""

from __future__ import annotations

import logging
import resource
import socket
from collections import Counter

import attrs
import trio

from minibroker.handlers.context import Endpoint, Services
from minibroker.server.complaints import Complaints
from minibroker.server.connection import Connection
from minibroker.server.dispatch import Dispatcher
from minibroker.server.inbox import SCRATCH_BYTES, Inbox
from minibroker.server.limits import Limits, MemoryBudget, Turns
from minibroker.server.poller import HAS_EPOLL, EpollPoller, Poller, TaskPoller
from minibroker.server.transport import SocketTransport, Transport

logger = logging.getLogger(__name__)

UNLIMITED = 1 << 62
CONNECTIONS_PART = 0.75
"""Of the file descriptors that we may have, what connections may take."""
SWEEP_S = 5.0
"""How often idle connections are looked for."""
RELIEF_S = 0.25
"""How often memory is looked for while it is short."""


def connection_descriptors() -> int:
    """As many of the file descriptors that this process may have as connections may take."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return UNLIMITED if allowed == resource.RLIM_INFINITY else int(allowed * CONNECTIONS_PART)


@attrs.define(eq=False)
class Connections:
    """The connections of one broker."""

    services: Services
    _nursery: trio.Nursery
    _open: set[Connection] = attrs.field(factory=set)
    _per_address: Counter[str] = attrs.field(factory=Counter)
    _closed_one: trio.Event = attrs.field(factory=trio.Event)
    _scratch: memoryview = attrs.field(factory=lambda: memoryview(bytearray(SCRATCH_BYTES)))
    _descriptors: int = attrs.field(factory=connection_descriptors)
    """How many connections there are descriptors for."""
    _told: bool = False
    _turns: Turns = attrs.field(factory=Turns)
    _complaints: Complaints = attrs.field(factory=Complaints)
    _poller: Poller = attrs.field(init=False)
    _limits: Limits = attrs.field(init=False)
    _budget: MemoryBudget = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._poller = EpollPoller(self.services.flusher.run_round_now) if HAS_EPOLL else TaskPoller()
        settings = self.services.settings
        limit = settings.queued_max_request_bytes
        self._budget = MemoryBudget(UNLIMITED if limit == -1 else limit)
        self._limits = Limits(
            max_frame_bytes=settings.socket_request_max_bytes,
            max_in_flight=settings.queued_max_requests,
            unfinished_request_s=settings.minibroker_read_timeout_ms / 1000,
            write_deadline_s=settings.minibroker_write_timeout_ms / 1000,
        )

    def __len__(self) -> int:
        return len(self._open)

    @property
    def held_bytes(self) -> int:
        """Memory that unfinished requests and unsent answers take."""
        return self._budget.held_bytes

    def accept(self, sock: socket.socket, endpoint: Endpoint) -> None:
        """Serve an accepted socket, unless its address has too many connections already."""
        try:
            host = sock.getpeername()[0].removeprefix("::ffff:")
            transport = SocketTransport.of(sock, host)
        except OSError as error:
            logger.debug("lost a connection before it began: %s", error)
            sock.close()
            return
        allowed = self.services.settings.max_connections_per_ip
        if self._per_address[host] >= allowed:
            self._complaints.warn("refused a connection of %s: max.connections.per.ip allows %d", host, allowed)
            sock.close()
            return
        self.start(transport, endpoint)

    def start(self, transport: Transport, endpoint: Endpoint) -> None:
        """Serve a peer."""
        connection = Connection(
            transport=transport,
            dispatcher=Dispatcher(self.services, endpoint),
            inbox=Inbox(self._scratch, self._limits.max_frame_bytes),
            limits=self._limits,
            budget=self._budget,
            poller=self._poller,
            turns=self._turns,
            complaints=self._complaints,
        )
        self._open.add(connection)
        self._per_address[transport.host] += 1
        self._nursery.start_soon(self._serve, connection)

    async def wait_room(self) -> None:
        """Return when another connection may be accepted.

        That is bounded by `max.connections`, and by the descriptors of this process: some are kept for the logs, or
        whoever opens connections enough would take the partitions offline.
        """
        while len(self._open) >= (most := min(self.services.settings.max_connections, self._descriptors)):
            if most == self._descriptors and not self._told:
                logger.warning("no more than %d connections: the limit of file descriptors is too low for more", most)
                self._told = True
            await self._closed_one.wait()

    async def run_polling(self) -> None:
        """Take what the peers send, for ever."""
        await self._poller.run()

    async def run_sweeping(self) -> None:
        """Close connections that were idle for too long, and free the memory of quiet ones, for ever."""
        while True:
            await trio.sleep(SWEEP_S)
            now = trio.current_time()
            max_idle_s = self.services.settings.connections_max_idle_ms / 1000
            for connection in tuple(self._open):
                idle_s = now - connection.last_active
                if idle_s > SWEEP_S:
                    connection.release()
                if 0 <= max_idle_s < idle_s and connection.idle:
                    logger.debug("closed the connection of %s: idle for %.0f s", connection.transport.host, idle_s)
                    connection.stop_reading()

    async def run_relieving(self) -> None:
        """While memory is short, take back what is not needed and part with those who sit on it, for ever."""
        while True:
            await self._budget.wait_exceeded()
            now = trio.current_time()
            for connection in tuple(self._open):
                connection.relieve(now)
            await trio.sleep(RELIEF_S)

    async def drain(self, deadline_s: float) -> None:
        """Let every connection answer what it has started, and end; those that take longer are cut."""
        for connection in tuple(self._open):
            connection.stop_reading()
        with trio.move_on_after(deadline_s):
            while self._open:
                await self._closed_one.wait()
        self._nursery.cancel_scope.cancel()

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._open.discard(connection)
            host = connection.transport.host
            self._per_address[host] -= 1
            if not self._per_address[host]:
                del self._per_address[host]
            self._closed_one.set()
            self._closed_one = trio.Event()
