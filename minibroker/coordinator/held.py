"""A request to the coordinator whose answer may be a while coming."""

from __future__ import annotations

from typing import Any

import attrs
import trio


@attrs.define(eq=False)
class Held:
    """Stands for a JoinGroup or SyncGroup until it is answered."""

    response: Any = None
    """The answer; None as long as the request is held."""
    ticket: int = 0
    """The flush round after which the answer is true."""
    _answered: trio.Event | None = None
    """Made when somebody waits: most requests are answered at once."""

    def answer(self, response: Any, ticket: int) -> None:
        """Give the one and only answer."""
        assert self.response is None, "a request is answered once"
        self.response, self.ticket = response, ticket
        if self._answered is not None:
            self._answered.set()

    async def wait(self) -> None:
        """Return once `response` and `ticket` are there."""
        if self.response is None:
            self._answered = trio.Event()
            await self._answered.wait()
