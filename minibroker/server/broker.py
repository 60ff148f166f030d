"""The broker: everything that runs, in one nursery tree.

    serve
    ├── flusher                      outlives the connections: what they have appended is flushed
    ├── coordinator                  loads groups, then keeps their deadlines
    ├── maintenance                  checkpoints, retention, compaction
    └── connections
        ├── one acceptor per listening socket
        ├── one poller for the sockets of all clients
        └── one connection per client

A connection or a maintenance job fails alone. A failed sync, or a bug of ours (AssertionError), ends everything: nothing
may be acknowledged any more.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID, uuid4

import attrs
import trio

from minibroker.config.listeners import Listener
from minibroker.config.settings import BrokerSettings
from minibroker.handlers.context import Endpoint, Services
from minibroker.server.connections import Connections
from minibroker.server.listening import BoundListener, bind_all, run_accepting
from minibroker.storage.filesystem import FileSystem, OsFileSystem
from minibroker.topics.clock import Clock
from minibroker.topics.flusher import Flusher, Syncer
from minibroker.topics.names import CONSUMER_OFFSETS
from minibroker.topics.opening import Data, open_data
from minibroker.topics.producer_ids import ProducerIds
from minibroker.topics.syncer import ThreadSyncer

logger = logging.getLogger(__name__)

FIRST_CONNECTION_S = 0.05
"""So long who has waited for the start is served before anybody else."""


@attrs.define(eq=False, kw_only=True)
class RunningBroker:
    """A broker that accepts connections."""

    services: Services
    connections: Connections
    data: Data
    """The data directory, and what was found in it."""
    start_seconds: float
    """How long it took to get here."""
    _stop: trio.Event

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """What clients are told to connect to."""
        return self.services.endpoints

    def stop(self) -> None:
        """Begin an orderly end: `serve` returns when it is over."""
        self._stop.set()

    async def wait_stopping(self) -> None:
        """Return when an orderly end has begun."""
        await self._stop.wait()


async def serve(
    settings: BrokerSettings,
    *,
    fs: FileSystem | None = None,
    clock: Clock | None = None,
    syncer: Syncer | None = None,
    bind: Callable[[Sequence[Listener], Sequence[Listener]], Sequence[BoundListener]] = bind_all,
    new_id: Callable[[], UUID] = uuid4,
    task_status: trio.TaskStatus[RunningBroker] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a broker until it is stopped. `task_status` gets the RunningBroker once connections are accepted.

    Raises StartError or DirectoryError (one line for the operator) before that, and an ExceptionGroup with SyncFailed
    when the disk can no longer be trusted. A simulation brings its own disk, clock, syncer and ids, binds nothing, and
    hands its peers to `RunningBroker.connections`.
    """
    began = time.perf_counter()
    fs = fs or OsFileSystem()
    clock = clock or Clock()
    raise_descriptor_limit()
    advertised = settings.advertised_addresses() if settings.advertised_listeners else ()
    bound = bind(settings.listen_addresses(), advertised)
    syncer = syncer or ThreadSyncer(fs)
    data: Data | None = None
    try:
        flusher = Flusher(syncer)
        data = await open_data(fs, settings, flusher, clock, new_id)
        report_recovery(data)
        services = Services(
            catalog=data.catalog,
            flusher=flusher,
            producer_ids=ProducerIds(data.catalog),
            clock=clock,
            endpoints=[listener.endpoint for listener in bound],
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flusher.run)

            def started(running: RunningBroker) -> None:
                task_status.started(running)
                nursery.start_soon(_run_background, running)

            await _serve_connections(services, bound, data, began, started)
            nursery.cancel_scope.cancel()
        data.mark_all_dirty()
        await flusher.drain()
        data.close()
    finally:
        for listener in bound:
            listener.close()
        syncer.close()
        if data is not None:
            data.directory.release()


async def _run_background(running: RunningBroker) -> None:
    """Run what a first connection need not wait for; it is imported here because that takes a fifth of a start."""
    from minibroker.server.maintenance import Maintenance

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Maintenance(running.data).run)
        if CONSUMER_OFFSETS not in running.services.catalog.topics:  # else groups wait to be loaded
            await trio.sleep(FIRST_CONNECTION_S)
        nursery.start_soon(running.services.coordinator.run)


async def _serve_connections(
    services: Services,
    bound: Sequence[BoundListener],
    data: Data,
    began: float,
    started: Callable[[RunningBroker], None],
) -> None:
    """Accept and serve connections until the broker is stopped, then let them finish."""
    settings = services.settings
    stop = trio.Event()
    async with trio.open_nursery() as nursery, trio.open_nursery() as acceptors:
        connections = Connections(services, nursery)
        for listener in bound:
            for sock in listener.sockets:
                sock.listen(settings.socket_listen_backlog_size)
                accept = partial(_accept, connections, listener)
                acceptors.start_soon(run_accepting, sock, accept, connections.wait_room)
        acceptors.start_soon(connections.run_polling)
        acceptors.start_soon(connections.run_sweeping)
        acceptors.start_soon(connections.run_relieving)
        started(
            RunningBroker(
                services=services,
                connections=connections,
                data=data,
                start_seconds=time.perf_counter() - began,
                stop=stop,
            )
        )
        await stop.wait()
        acceptors.cancel_scope.cancel()
        for listener in bound:
            listener.close()
        services.end()
        await connections.drain(settings.minibroker_shutdown_timeout_ms / 1000)


def _accept(connections: Connections, listener: BoundListener, sock: socket.socket) -> None:
    connections.accept(sock, listener.endpoint_for(sock))


def report_recovery(data: Data) -> None:
    """Say what was found that was not as the last life left it: all of it in one line, and each log that lost something."""
    reports = data.reports
    for report in reports:
        level = logging.WARNING if report.cut_bytes or report.quarantined else logging.DEBUG
        logger.log(level, "recovered %s", report)
    if reports:
        logger.info(
            "recovered: %d logs, %d bytes read, %d batches kept beyond the last checkpoint, %d bytes cut, %d ranges of "
            "offsets quarantined",
            len(reports),
            sum(report.read_bytes for report in reports),
            sum(report.recovered_batches for report in reports),
            sum(report.cut_bytes for report in reports),
            sum(len(report.quarantined) for report in reports),
        )


def raise_descriptor_limit() -> None:
    """Take all the file descriptors that we are allowed: a partition needs one, and so does a connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited" and means less
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
