"""Background tasks that live as long as an `async with` block, without changing what the block raises.

A bare nursery wraps every exception of its body in an ExceptionGroup; a user who writes `except ValueError` around
`async with Producer(...)` should not have to know that there is a nursery inside. And it would pass a cancellation from
outside on to the tasks at once; but a consumer that is cancelled needs its connections until it has left its group.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import attrs
import trio


@attrs.define(eq=False)
class BackgroundTasks:
    """An async context manager: tasks started in it are cancelled at its end, and not before.

    An exception of the body leaves as itself. An exception in a background task (a bug: errors of brokers are
    handed to whoever waits for the answer) cancels the body and leaves in an ExceptionGroup, as from any nursery.
    """

    _manager: AbstractAsyncContextManager[trio.Nursery] | None = None
    """Of the nursery around the body, which the shielded one of the tasks is in."""
    _nursery: trio.Nursery | None = None
    _ending: bool = False

    @property
    def open(self) -> bool:
        """Whether tasks can be started, and will run."""
        return self._nursery is not None and not self._ending

    def start(self, function: Callable[..., Awaitable[Any]], *arguments: object, name: str) -> None:
        """Run `function(*arguments)` until it returns or the block ends.

        A task that is not yet aware of the end may still start another, which is cancelled like itself.
        """
        if self._nursery is None:
            raise RuntimeError("use it in `async with`: its background tasks are not running")
        self._nursery.start_soon(function, *arguments, name=name)

    async def __aenter__(self) -> BackgroundTasks:
        if self._manager is not None:
            raise RuntimeError("it is open already")
        self._manager = trio.open_nursery()
        outer = await self._manager.__aenter__()
        with trio.CancelScope(shield=True):  # for a moment, so that it never is half open
            self._nursery = await outer.start(self._host)
        return self

    async def _host(self, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                task_status.started(nursery)
                await trio.sleep_forever()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._manager is not None
        assert self._nursery is not None
        self._ending = True
        self._nursery.cancel_scope.cancel()
        try:
            # The body's own exception is kept from the nursery, so that Python raises it again as it was.
            await self._manager.__aexit__(None, None, None)
        finally:
            self._manager = self._nursery = None
            self._ending = False
