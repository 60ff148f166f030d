"""What a handler is given, and what it may return.

`handle(request, context)` runs at once and in the order of the requests of its connection: it decides, appends and reads
without waiting. It returns one of four replies:

- a response message: it is ready;
- `AfterFlush(response, ticket)`: it is true once that flush round is on disk, and is sent then;
- a coroutine that returns one of these two: the connection's writer awaits it when its turn has come;
- None: the request wants no answer (Produce with acks=0).

Records in a request are views of the connection's receive buffer: they are valid until `handle` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

if TYPE_CHECKING:
    from minibroker.config.settings import BrokerSettings
    from minibroker.coordinator.group_coordinator import GroupCoordinator
    from minibroker.topics.catalog import Catalog
    from minibroker.topics.clock import Clock
    from minibroker.topics.flusher import Flusher
    from minibroker.topics.producer_ids import ProducerIds


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where clients are told to connect."""

    host: str
    port: int


@attrs.define(eq=False, kw_only=True)
class Services:
    """Everything of the broker that handlers may use."""

    catalog: Catalog
    flusher: Flusher
    producer_ids: ProducerIds
    clock: Clock
    endpoints: Sequence[Endpoint] = ()
    """One per listener, in the order of the listeners."""
    long_answers: trio.Lock = attrs.field(factory=trio.Lock)
    """Held while an answer is made that may be much larger than its request: their memory is that of one."""
    workers: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    """For what handlers have done in other threads: a batch unpacked may take 100 MB."""
    ending: bool = False
    """Whether the broker is about to end: nobody may wait for more than there is."""
    polls: set[Callable[[], None]] = attrs.field(factory=set)
    """Called when that begins."""
    awaited: int = 0
    """Partitions that fetches of many of them wait for."""

    def end(self) -> None:
        """Have all who wait for others answered: they would hold up the answers behind them, and then the end."""
        self.ending = True
        for wake in tuple(self.polls):
            wake()
        if self._coordinator is not None:
            self._coordinator.close()

    @property
    def settings(self) -> BrokerSettings:
        """The broker's settings as they are now: some change while it runs."""
        return self.catalog.settings

    _coordinator: GroupCoordinator | None = None

    @property
    def coordinator(self) -> GroupCoordinator:
        """The coordinator of all groups. Made when it is first asked for: its import is a tenth of a start."""
        if self._coordinator is None:
            from minibroker.coordinator.group_coordinator import GroupCoordinator

            self._coordinator = GroupCoordinator(
                catalog=self.catalog, flusher=self.flusher, settings=self.settings, clock=self.clock
            )
        return self._coordinator

    @property
    def node_id(self) -> int:
        """This broker's id."""
        return self.settings.node_id

    @property
    def cluster_id(self) -> str:
        """The id that was drawn when the data directory was made."""
        return self.catalog.cluster_id


@attrs.define(eq=False, kw_only=True)
class RequestContext:
    """One request's circumstances."""

    services: Services
    version: int
    client_id: str | None
    client_host: str
    endpoint: Endpoint
    """What this client is told about where we are: the endpoint of the listener it came by."""


@attrs.frozen
class AfterFlush:
    """A response that is true once flush round `ticket` is on disk."""

    response: Any
    ticket: int


Reply = Any | AfterFlush | Coroutine[Any, Any, Any | AfterFlush] | None
