"""The cluster as a client sees it: metadata kept fresh, a link to each broker, requests with retries."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Container, Iterable
from types import TracebackType
from typing import Literal, TypeVar

import attrs
import trio

from minibroker.client.address import Address
from minibroker.client.background import BackgroundTasks
from minibroker.client.connection import Connection
from minibroker.client.errors import ConnectionFailed, RequestTimeout
from minibroker.client.link import Link
from minibroker.client.metadata import ClusterInfo, cluster_info
from minibroker.client.settings import ClusterSettings
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode, KafkaError, error_for
from minibroker.protocol.schema import Request, Response

Purpose = Literal["main", "fetch", "group"]
"""Brokers answer a connection in order, so a long poll would hold up everything behind it: fetches and group
requests (a JoinGroup may wait for minutes) have connections of their own."""

STALE = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.REPLICA_NOT_AVAILABLE,
        ErrorCode.NETWORK_EXCEPTION,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.INCONSISTENT_TOPIC_ID,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.NOT_CONTROLLER,
        ErrorCode.LISTENER_NOT_FOUND,
    }
)
"""Errors which hint that the metadata is out of date."""

ResponseT = TypeVar("ResponseT", bound=Response)
Result = TypeVar("Result")


@attrs.define(eq=False)
class Cluster:
    """Shared by the parts of one client. Use it in `async with`."""

    settings: ClusterSettings
    info: ClusterInfo = attrs.Factory(ClusterInfo)
    refresh_error: KafkaError | None = None
    """Why the last refresh failed; None after a good one."""
    tasks: BackgroundTasks = attrs.Factory(BackgroundTasks)
    """Runs what the client does in the background."""
    on_change: list[Callable[[], None]] = attrs.Factory(list)
    """Called when metadata arrived or a connection came or went. Must not raise."""
    _watched: set[str] = attrs.Factory(set)
    _watch_all: bool = False
    _links: dict[tuple[int, Purpose], Link] = attrs.Factory(dict)
    _bootstrap: list[Link] = attrs.Factory(list)
    _refresh_wanted: trio.Event = attrs.Factory(trio.Event)
    _refresh_urgent: trio.Event = attrs.Factory(trio.Event)
    _refreshed: trio.Event = attrs.Factory(trio.Event)
    _refreshes_begun: int = 0
    _refreshes_ended: int = 0

    async def __aenter__(self) -> Cluster:
        self._bootstrap = [self._new_link(address) for address in self.settings.bootstrap]
        await self.tasks.__aenter__()
        self.tasks.start(self._keep_fresh, name="cluster metadata")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.tasks.__aexit__(kind, error, trace)

    # Metadata.

    def watch(self, topics: Iterable[str]) -> bool:
        """Keep these topics' metadata fresh too; true if one of them is new, and a refresh was asked for."""
        new = set(topics) - self._watched
        self._watched |= new
        if new and not self._watch_all:
            self.request_refresh(urgent=True)
        return bool(new)

    def watch_only(self, topics: Iterable[str]) -> None:
        """Forget the other topics."""
        topics = set(topics)
        self._watched &= topics
        self._watch_all = False
        self.watch(topics)

    def watch_all(self) -> None:
        """Keep the metadata of every topic."""
        if not self._watch_all:
            self._watch_all = True
            self.request_refresh(urgent=True)

    def request_refresh(self, *, urgent: bool = False) -> None:
        """Have the metadata asked for again; unless it is `urgent`, after a pause since the last time."""
        self._refresh_wanted.set()
        if urgent:
            self._refresh_urgent.set()

    async def refresh(self) -> ClusterInfo:
        """Ask for the metadata and wait for it. Raises the error of that attempt."""
        self.request_refresh(urgent=True)
        await self.wait_refresh()
        return self.info

    async def wait_refresh(self) -> None:
        """Wait until the metadata has been asked for again, from now on. Raises the error of that attempt."""
        wanted = self._refreshes_begun + 1  # the one under way may not ask for topics that were watched since
        while self._refreshes_ended < wanted:
            await self._refreshed.wait()
        if self.refresh_error is not None:
            raise self.refresh_error

    async def _keep_fresh(self) -> None:
        failures = 0
        while True:
            with trio.move_on_after(self.settings.metadata_max_age_ms / 1000):
                await self._refresh_wanted.wait()
            self._refresh_wanted, self._refresh_urgent = trio.Event(), trio.Event()
            self._refreshes_begun += 1
            try:
                await self._refresh_once()
            except KafkaError as error:
                failures += 1
                self.refresh_error = error
            else:
                failures = failures + 1 if self._topics_missing() else 0
                self.refresh_error = None
            self._refreshes_ended += 1
            self._refreshed.set()
            self._refreshed = trio.Event()
            self._changed()
            if failures:
                self._refresh_wanted.set()
            # Also after a success: what made it stale may take a moment to settle, and must not become a busy loop.
            with trio.move_on_after(self.settings.retry_backoff.pause_s(max(failures, 1))):
                await self._refresh_urgent.wait()

    def _topics_missing(self) -> bool:
        """Whether a watched topic is not there (yet), or without a leader somewhere: then ask again before long."""
        topics = (self.info.topics.get(name) for name in self._watched)
        codes = (topic.error_code for topic in topics if topic is not None)
        return any(code and error_for(code).code.retriable for code in codes)

    async def _refresh_once(self) -> None:
        from minibroker.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic

        request = MetadataRequest(
            topics=None if self._watch_all else [MetadataRequestTopic(name=name) for name in sorted(self._watched)],
            allow_auto_topic_creation=self.settings.allow_auto_create_topics and not self._watch_all,
        )
        self.info = cluster_info(await self.request(request), self.info)
        self._adopt_links()

    def _adopt_links(self) -> None:
        """Follow brokers that moved, and let a bootstrap connection serve the broker whose address it has."""
        for (node_id, purpose), link in list(self._links.items()):
            broker = self.info.brokers.get(node_id)
            if broker is None or broker.address != link.address:
                del self._links[node_id, purpose]
                if link.connection is not None:
                    link.connection.close("given up: the broker is gone or has another address")
        by_address = {broker.address: node_id for node_id, broker in self.info.brokers.items()}
        for link in self._bootstrap:
            if link.address in by_address and link.usable():
                self._links.setdefault((by_address[link.address], "main"), link)

    # Connections.

    def ready_connection(self, node_id: int, purpose: Purpose = "main") -> Connection | None:
        """The connection to a broker if there is one; otherwise one is begun, and `on_change` tells the outcome."""
        link = self._link(node_id, purpose)
        if link is None:
            self.request_refresh()
            return None
        connection = link.usable()
        if connection is None:
            link.begin()
        return connection

    async def connection(self, node_id: int, purpose: Purpose = "main") -> Connection:
        """A connection to a broker. Raises ConnectionFailed."""
        link = self._link(node_id, purpose)
        if link is None:
            self.request_refresh()
            raise ConnectionFailed(f"the cluster does not list a broker {node_id} at present")
        return await link.reach()

    async def any_connection(self) -> Connection:
        """A connection to any broker, at best one that exists. Raises ConnectionFailed if none can be reached."""
        brokers = [link for node_id in self.info.brokers if (link := self._link(node_id, "main")) is not None]
        random.shuffle(brokers)
        candidates = brokers + [link for link in self._bootstrap if link not in brokers]
        candidates.sort(key=lambda link: link.usable() is None)
        failures: list[str] = []
        for link in candidates:
            try:
                return await link.reach()
            except ConnectionFailed as error:
                failures.append(error.message)
        raise ConnectionFailed("no broker can be reached: " + "; ".join(dict.fromkeys(failures)))

    def trouble(self, node_id: int) -> KafkaError | None:
        """Why a broker, or the cluster as a whole, cannot be reached at present; None if nothing is known against it."""
        link = self._links.get((node_id, "main"))
        return (link.error if link else None) or self.refresh_error

    def _link(self, node_id: int, purpose: Purpose) -> Link | None:
        link = self._links.get((node_id, purpose))
        if link is None:
            broker = self.info.brokers.get(node_id)
            if broker is None:
                return None
            bootstrap = broker.address in self.settings.bootstrap
            link = self._new_link(broker.address, "" if bootstrap else f"broker {node_id}")
            self._links[node_id, purpose] = link
        return link

    def _new_link(self, address: Address, advertised_by: str = "") -> Link:
        return Link(address, self.settings, self.tasks, self._changed, advertised_by)

    def _changed(self) -> None:
        for callback in self.on_change:
            callback()

    # Requests.

    async def request(
        self,
        message: Request[ResponseT] | Callable[[int], Request[ResponseT]],
        *,
        api: ApiKey | None = None,
        node_id: int | None = None,
        purpose: Purpose = "main",
        highest: int | None = None,
        extra_timeout_s: float = 0.0,
    ) -> ResponseT:
        """One request to one broker (None: any), not retried. Raises KafkaError.

        What differs between versions is given as a function of the version both sides speak; `api` says of which API.
        """
        connection = await (self.any_connection() if node_id is None else self.connection(node_id, purpose))
        if not isinstance(message, Request):
            assert api is not None
            highest = connection.version_of(api, highest)
            message = message(highest)
        timeout_s = self.settings.request_timeout_s + extra_timeout_s
        return await connection.request(message, highest=highest, timeout_s=timeout_s)

    async def controller(self) -> int:
        """Node id of the controller (on KRaft clusters: of any broker, which forwards). Raises KafkaError."""
        if self.info.controller_id < 0:
            await self.refresh()
        if self.info.controller_id < 0:
            raise error_for(ErrorCode.NOT_CONTROLLER, "the cluster has no controller at present")
        return self.info.controller_id

    async def retrying(
        self, attempt: Callable[[], Awaitable[Result]], what: str, final: Container[ErrorCode] = ()
    ) -> Result:
        """Repeat `attempt` while it fails with retriable errors (other than those in `final`), up to `api_timeout_ms`.

        Raises the first final error, or RequestTimeout which tells the last retriable one.
        """
        last: KafkaError | None = None
        failures = 0
        with trio.move_on_after(self.settings.api_timeout_ms / 1000):
            while True:
                try:
                    return await attempt()
                except KafkaError as error:
                    if not error.code.retriable or error.code in final:
                        raise
                    last = error
                failures += 1
                if last.code in STALE:
                    self.request_refresh()
                await trio.sleep(self.settings.retry_backoff.pause_s(failures))
        reason = f": {last}" if last else ""
        raise RequestTimeout(f"{what} was not done within {self.settings.api_timeout_ms:.0f} ms{reason}") from last
