"""The way to one broker: connecting, the ApiVersions handshake (KIP-511), reconnecting with backoff, and the words
for an address that cannot be reached."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import attrs
import trio

from minibroker import __version__
from minibroker.client.address import Address
from minibroker.client.background import BackgroundTasks
from minibroker.client.connection import Connection
from minibroker.client.errors import ConnectionFailed
from minibroker.client.settings import ClusterSettings
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode, KafkaError, error_for

log = logging.getLogger(__name__)


@attrs.define(eq=False)
class Link:
    """At most one connection to one broker, made when it is needed."""

    address: Address
    settings: ClusterSettings
    tasks: BackgroundTasks
    """Run the attempts and serve the connection."""
    on_change: Callable[[], None]
    """Called when an attempt has succeeded or failed, and when the connection has ended."""
    advertised_by: str = ""
    """For an address learnt from the cluster: which broker it is said to be of."""
    connection: Connection | None = None
    error: KafkaError | None = None
    """Why the last attempt failed, or the last connection ended."""
    connecting: bool = False
    _failures: int = 0
    _retry_at: float = 0.0
    _changed: trio.Event = attrs.Factory(trio.Event)

    def usable(self) -> Connection | None:
        """The connection, if there is one that works."""
        connection = self.connection
        return connection if connection is not None and connection.error is None else None

    def begin(self) -> None:
        """Have a connection made, if that is not under way."""
        if not self.connecting and self.tasks.open:
            self.connecting = True
            self.tasks.start(self._attempt, name=f"connecting to {self.address}")

    async def reach(self) -> Connection:
        """The connection; if there is none, one attempt is made. Raises ConnectionFailed."""
        if (connection := self.usable()) is not None:
            return connection
        self.begin()
        while self.connecting:
            await self._changed.wait()
        if (connection := self.usable()) is not None:
            return connection
        raise ConnectionFailed(self.error.message if self.error else f"not connected to {self.address}")

    async def _attempt(self) -> None:
        try:
            await trio.sleep_until(self._retry_at)  # others may have failed
            self.connection = await self._connect()
        except ConnectionFailed as error:
            self._failed(error)
        else:
            self.error, self._failures = None, 0
        finally:
            self.connecting = False
            self._changed.set()
            self._changed = trio.Event()
        self.on_change()

    async def _connect(self) -> Connection:
        settings = self.settings
        with trio.move_on_after(settings.connect_timeout_ms / 1000):
            try:
                transport = await settings.connect(self.address)
            except OSError as error:
                raise ConnectionFailed(self._advice(_reason(error))) from error
            if not self.tasks.open:  # closed meanwhile
                await transport.aclose()
                raise ConnectionFailed(f"gave up connecting to {self.address}")
            connection = Connection(self.address, settings.client_id, transport)
            self.tasks.start(self._serve, connection, name=f"connection to {self.address}")
            try:
                await handshake(connection)
            except KafkaError as error:
                connection.close()
                raise ConnectionFailed(self._advice(str(error))) from error
            except BaseException:
                connection.close()
                raise
            return connection
        raise ConnectionFailed(self._advice(f"no answer within {settings.connect_timeout_ms:.0f} ms"))

    async def _serve(self, connection: Connection) -> None:
        await connection.run()
        if self.connection is connection:
            self.connection = None
            self._failed(connection.error)
            self.on_change()

    def _failed(self, error: KafkaError | None) -> None:
        if isinstance(error, ConnectionFailed) and (self.error is None or self.error.message != error.message):
            log.warning("%s", error)  # once: who waits for this broker may wait for long, and should know why
        self.error = error
        self._failures += 1
        self._retry_at = trio.current_time() + self.settings.reconnect_backoff.pause_s(self._failures)

    def _advice(self, reason: str) -> str:
        if not self.advertised_by:
            return f"cannot connect to {self.address}: {reason}"
        return (
            f"cannot connect to {self.address}, the address that {self.advertised_by} advertises: {reason}. "
            f"The bootstrap address answered, but every Kafka client goes on at the advertised one: "
            f"if it is not reachable from here, set advertised.listeners on the broker to one that is"
        )


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


async def handshake(connection: Connection) -> None:
    """Learn which versions the broker speaks. Raises KafkaError."""
    from minibroker.protocol.messages.api_versions import ApiVersionsRequest

    request = ApiVersionsRequest(client_software_name="minibroker", client_software_version=__version__)
    highest = ApiKey.API_VERSIONS.max_version
    connection.versions = {ApiKey.API_VERSIONS: (0, highest)}
    response = await connection.request(request)
    if response.error_code == ErrorCode.UNSUPPORTED_VERSION:
        offered = [key.max_version for key in response.api_keys if key.api_key == ApiKey.API_VERSIONS]
        response = await connection.request(request, highest=min(highest, max(offered, default=0)))
    if response.error_code:
        raise error_for(response.error_code, "the broker refused to tell its versions")
    connection.versions = {key.api_key: (key.min_version, key.max_version) for key in response.api_keys}
