"""Long answers: others have their turn while one is made, one is made at a time, and it has an end.

A request of a kilobyte may name what takes megabytes to tell, so neither its own size nor that of what is stored bounds
the time or the memory of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import attrs
import trio

from minibroker.handlers.context import AfterFlush, Reply, Services
from minibroker.protocol.errors import ErrorCode, KafkaError, PolicyViolation

TURN_STEPS: Final = 1000
"""What is done before others have their turn: some milliseconds."""
ELEMENT_BYTES: Final = 128
"""What an element of an answer is taken to need beside its text."""
LEAST_ROOM_BYTES: Final = 1 << 20
SHARE: Final = 4
"""An answer may take this part of `queued.max.request.bytes`, or of its default where it is unlimited."""
DEFAULT_BYTES: Final = 128 << 20


def in_turns(
    steps: Iterator[int], reply: Callable[[], Any | AfterFlush], alone: AbstractAsyncContextManager[object]
) -> Reply:
    """Return what `reply` makes once `steps` are done: at once if they are few, else a coroutine that lets others in.

    `steps` yields how much it has done, in elements of a microsecond or two. What does not end in the first turn goes on
    within `alone`: `Services.long_answers` where the answer may be much larger than its request.
    """
    if _take_turn(steps):
        return reply()
    return _go_on(steps, reply, alone)


async def _go_on(
    steps: Iterator[int], reply: Callable[[], Any | AfterFlush], alone: AbstractAsyncContextManager[object]
) -> Any | AfterFlush:
    async with alone:
        await trio.lowlevel.checkpoint()
        while not _take_turn(steps):
            await trio.lowlevel.checkpoint()
        return reply()


def _take_turn(steps: Iterator[int]) -> bool:
    """Whether the steps are done."""
    left = TURN_STEPS
    for count in steps:
        left -= count
        if left < 0:
            return False
    return True


def code_of_rest(error: KafkaError, answered: Sequence[object]) -> ErrorCode:
    """The code of an error that concerns one group of many: clients ask again for those there was no `Room` for."""
    full = error.code == ErrorCode.POLICY_VIOLATION and answered
    return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS if full else error.code


@attrs.define(eq=False)
class Room:
    """How much one answer may still hold."""

    left_bytes: int

    @classmethod
    def of(cls, services: Services) -> Room:
        """That of a new answer."""
        limit = services.settings.queued_max_request_bytes
        return cls(max((limit if limit > 0 else DEFAULT_BYTES) // SHARE, LEAST_ROOM_BYTES))

    def take(self, elements: int, text_bytes: int = 0) -> None:
        """Make room for so much, or raise PolicyViolation: then, and from then on, there is none."""
        self.left_bytes -= elements * ELEMENT_BYTES + text_bytes
        if self.left_bytes < 0:
            raise PolicyViolation("the answer would be too large (queued.max.request.bytes): ask for less at a time")
