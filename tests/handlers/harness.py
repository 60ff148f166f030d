"""Handlers on a catalog that lives on a simulated disk: no sockets, no threads, and the power can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import uuid4

import attrs
import trio

from minibroker.config.settings import BrokerSettings
from minibroker.coordinator.group_coordinator import GroupCoordinator
from minibroker.handlers.context import AfterFlush, Endpoint, RequestContext, Services
from minibroker.handlers.registry import BY_KEY
from minibroker.protocol.codec import decode_message, encode
from minibroker.protocol.schema import Request, Response
from minibroker.records.builder import build_batch
from minibroker.records.validation import admit_batch
from minibroker.storage.log import FlushPoint
from minibroker.topics.clock import Clock
from minibroker.topics.flusher import Flusher
from minibroker.topics.opening import open_data
from minibroker.topics.producer_ids import ProducerIds
from tests.simulation.disk import SimulatedDisk

ResponseT = TypeVar("ResponseT", bound=Response)

ENDPOINT = Endpoint(host="broker.test", port=9092)
NOW_MS = 1_700_000_000_000


@attrs.define
class DiskSyncer:
    """Syncs on the spot; `rounds` is how often."""

    disk: SimulatedDisk
    rounds: int = 0

    def try_sync_now(self, points: Sequence[FlushPoint]) -> bool:
        return False

    async def sync(self, points: Sequence[FlushPoint]) -> None:
        await trio.lowlevel.checkpoint()
        self.rounds += 1
        for point in points:
            for file in point.files:
                file.sync_data()
            for directory in point.directories:
                self.disk.sync_directory(directory)


@attrs.define(eq=False)
class HandlerBench:
    """A broker's services without a server."""

    services: Services
    disk: SimulatedDisk

    def start(self, request: Request[ResponseT], version: int, *, as_it_is: bool = False) -> Any:
        """What its handler replies at once; the request goes through the wire first, unless it is to be taken as it is."""
        api = BY_KEY[type(request).api]  # type: ignore[attr-defined]
        context = RequestContext(
            services=self.services, version=version, client_id="test", client_host="127.0.0.1", endpoint=ENDPOINT
        )
        return api.handle(request if as_it_is else through_the_wire(request, version), context)

    async def ask(self, request: Request[ResponseT], version: int) -> ResponseT:
        """What a client that sends `request` gets, once it may be sent."""
        reply = self.start(request, version)
        if isinstance(reply, Coroutine):
            reply = await reply
        if isinstance(reply, AfterFlush):
            await self.services.flusher.wait_durable(reply.ticket)
            reply = reply.response
        response: ResponseT = through_the_wire(reply, version)
        return response

    async def create(self, name: str, partitions: int = 1, **configs: str) -> None:
        """Make a topic; settings are given with underscores."""
        catalog = self.services.catalog
        catalog.create_topic(name, partitions, {key.replace("_", "."): value for key, value in configs.items()})
        await self.services.flusher.wait_durable(catalog.flush_ticket())

    async def append(self, topic: str, count: int, partition: int = 0) -> None:
        """Append records to a partition, durably where its settings say so."""
        batch = build_batch((NOW_MS + index, b"key", b"value", ()) for index in range(count))
        found = self.services.catalog.partition(topic, partition)
        appended = found.append(*admit_batch(memoryview(batch), found.limits, NOW_MS), NOW_MS)
        await self.services.flusher.wait_durable(appended.ticket)


def through_the_wire(message: Any, version: int) -> Any:
    """The message as the other side sees it."""
    data = bytearray(b"".join(bytes(part) for part in encode(message, version)))  # type: ignore[arg-type]
    return decode_message(type(message), version, memoryview(data))


@asynccontextmanager
async def open_bench(
    settings: BrokerSettings | None = None, disk: SimulatedDisk | None = None
) -> AsyncIterator[HandlerBench]:
    """Services on a disk: a new one, or what another life has left."""
    settings = settings or BrokerSettings(log_dirs="/data")
    disk = disk or SimulatedDisk()
    clock = Clock(now_ms=lambda: NOW_MS)
    flusher = Flusher(DiskSyncer(disk))
    data = await open_data(disk, settings, flusher, clock, uuid4)
    services = Services(
        catalog=data.catalog,
        coordinator=GroupCoordinator(catalog=data.catalog, flusher=flusher, settings=settings, clock=clock),
        flusher=flusher,
        producer_ids=ProducerIds(data.catalog),
        clock=clock,
        endpoints=[ENDPOINT],
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flusher.run)
        yield HandlerBench(services, disk)
        nursery.cancel_scope.cancel()


async def finish(reply: Any) -> Any:
    """What comes of a reply that has to be waited for."""
    assert isinstance(reply, Coroutine)
    return await reply


async def rests_of(reply: Any) -> int:
    """How often a reply lets others run before it is there."""
    rests = 0
    ended = trio.Event()

    async def wait() -> None:
        await finish(reply)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        while not ended.is_set():
            rests += 1
            await trio.lowlevel.checkpoint()
    return rests
