"""The point where partitions may be taken from an application: while it asks for more records.

Heartbeats run in the background, but a rebalance must not take a partition whose records the application is working on,
or they would be neither finished nor committed. As in the Java client, where rebalances happen inside `poll`, whoever
asks for more is done with what it had.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio


@attrs.define(eq=False)
class PollGate:
    """Passed by the application on its way to more records; can be held shut."""

    on_hold: Callable[[], None]
    """Called when somebody wants to hold it, so that records at hand are not given out any more."""
    on_release: Callable[[], None]
    inside: bool = False
    """The application is asking for records."""
    entered_at: float = 0.0
    """When it last came or left; a time of the Trio clock."""
    _holders: int = 0
    _entered: trio.Event = attrs.Factory(trio.Event)

    @property
    def shut(self) -> bool:
        """Whether no records may be handed out."""
        return self._holders > 0

    def enter(self) -> None:
        """The application has come. Raises trio.BusyResourceError if another task of it is here already."""
        if self.inside:
            raise trio.BusyResourceError("another task is polling this consumer")
        self.inside = True
        self.entered_at = trio.current_time()
        self._entered.set()

    def leave(self) -> None:
        """It goes, with or without records."""
        self.inside = False
        self.entered_at = trio.current_time()
        self._entered = trio.Event()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Wait for the application to come, and keep it inside."""
        self._holders += 1
        try:
            self.on_hold()
            while not self.inside:
                await self._entered.wait()
            yield
        finally:
            self._holders -= 1
            self.on_release()
