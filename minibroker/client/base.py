"""The way in and out of producer, consumer and admin: a cluster that can be reached inside `async with`."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from minibroker.client.cluster import Cluster
from minibroker.client.errors import ClientClosed


class Client:
    """Base of the three."""

    __slots__ = ()
    _cluster: Cluster
    """Made of the settings of the subclass."""

    def _open(self) -> None:
        """Begin; the cluster is open already."""

    async def _close(self, error: BaseException | None) -> None:
        """End, while the cluster is still open. `error` is what the block is left by."""

    def _closed(self) -> ClientClosed:
        """What is raised outside the block."""
        return ClientClosed(f"the {type(self).__name__.lower()} is closed; it works inside its `async with` block")

    def _check_open(self) -> None:
        if not self._cluster.tasks.open:
            raise self._closed()

    async def __aenter__(self) -> Self:
        await self._cluster.__aenter__()
        try:
            self._open()
        except BaseException as error:
            await self._cluster.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._close(error)
        finally:
            await self._cluster.__aexit__(kind, error, trace)
