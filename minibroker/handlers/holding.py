"""Replies to requests that the coordinator may hold."""

from __future__ import annotations

from minibroker.coordinator.held import Held
from minibroker.handlers.context import AfterFlush, Reply


def reply_when_answered(held: Held) -> Reply:
    """What the handler of a held request returns: the answer if it is there, else a coroutine that waits for it."""
    return _wait(held) if held.response is None else AfterFlush(held.response, held.ticket)


async def _wait(held: Held) -> AfterFlush:
    await held.wait()
    return AfterFlush(held.response, held.ticket)
