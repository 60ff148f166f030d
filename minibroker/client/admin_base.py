"""What the parts of the admin client share: a cluster, and requests built for the version both sides speak."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs

from minibroker.client.cluster import Cluster
from minibroker.client.connection import Connection
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode, error_for
from minibroker.protocol.schema import Request, Response

ResponseT = TypeVar("ResponseT", bound=Response)
Result = TypeVar("Result")

CONTROLLER = -1
"""In place of a node id: whichever broker is the controller."""


UNKNOWN = frozenset({ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID})
"""Retriable for those who wait for a topic to appear; who administers topics wants to know."""


@attrs.define(eq=False)
class AdminBase:
    """Common to all parts."""

    _cluster: Cluster = attrs.field(init=False)

    @property
    def _timeout_ms(self) -> int:
        return int(self._cluster.settings.request_timeout_ms)

    async def _ask(
        self,
        build: Request[ResponseT] | Callable[[int], Request[ResponseT]],
        read: Callable[[ResponseT], Result],
        *,
        api: ApiKey,
        node_id: int | None = None,
    ) -> Result:
        """One request to one broker (None: any), read by `read`; retried while that raises what may be retried."""

        async def attempt() -> Result:
            connection = await self._connect(node_id)
            version = connection.version_of(api)
            message = build(version) if callable(build) else build
            return read(await connection.request(message, highest=version, timeout_s=self._timeout_ms / 1000))

        return await self._cluster.retrying(attempt, api.camel_name, UNKNOWN)

    async def _connect(self, node_id: int | None) -> Connection:
        if node_id is None:
            return await self._cluster.any_connection()
        return await self._cluster.connection(await self._cluster.controller() if node_id == CONTROLLER else node_id)

    async def _ask_all(self, ask: Callable[[int], Awaitable[Result]]) -> dict[int, Result]:
        """Ask every broker; by node id."""
        info = await self._cluster.refresh()
        return {node_id: await ask(node_id) for node_id in sorted(info.brokers)}


def check(code: int, message: str | None, what: str) -> None:
    """Raise the error of an answer, if it has one."""
    if code:
        error = error_for(code, message or "")
        raise type(error)(f"{what}: {message or error.code.meaning}")
