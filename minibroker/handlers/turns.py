"""Long answers: others have their turn while one is made, one is made at a time, and it has an end.

A request of a kilobyte may name what takes megabytes to tell, so neither its own size nor that of what is stored bounds
the time or the memory of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Final

import attrs
import trio

from minibroker.handlers.context import AfterFlush, Reply, Services
from minibroker.protocol.errors import ErrorCode, KafkaError, PolicyViolation
from minibroker.storage.timestamps import Step

Steps = Generator[Step, Any, None]

TURN_STEPS: Final = 1000
"""What is done before others have their turn: some milliseconds."""
ELEMENT_BYTES: Final = 128
"""What an element of an answer is taken to need beside its text."""
LEAST_ROOM_BYTES: Final = 1 << 20
SHARE: Final = 4
"""An answer may take this part of `queued.max.request.bytes`, or of its default where it is unlimited."""
DEFAULT_BYTES: Final = 128 << 20


def in_turns(
    steps: Steps, reply: Callable[[], Any | AfterFlush], services: Services, alone: trio.Lock | None = None
) -> Reply:
    """Return what `reply` makes once `steps` are done: at once if they are few, else a coroutine that lets others in.

    What does not end in the first turn goes on within `alone`: `Services.long_answers` where the answer may be much larger
    than its request.
    """
    paused = _take_turn(steps, partial(next, steps))
    return reply() if paused is None else _go_on(paused, steps, reply, services.workers, alone)


def answer_in_turns(
    steps: Steps, response: Any, ticket: Callable[[], int], services: Services, alone: trio.Lock | None = None
) -> Reply:
    """The same for a response that `steps` fill: it is sent once round `ticket`, as of their end, is durable."""
    return in_turns(steps, lambda: AfterFlush(response, ticket()), services, alone)


async def _go_on(
    paused: Step,
    steps: Steps,
    reply: Callable[[], Any | AfterFlush],
    workers: trio.CapacityLimiter,
    alone: trio.Lock | None,
) -> Any | AfterFlush:
    async with alone or nullcontext():
        turn: Step | None = paused
        while turn is not None:
            resume: Callable[[], Step] = partial(next, steps)
            if isinstance(turn, int):
                await trio.lowlevel.checkpoint()
            else:
                resume = await _carry_out(turn, steps, workers)
            turn = _take_turn(steps, resume)
        return reply()


async def _carry_out(work: Callable[[], object], steps: Steps, workers: trio.CapacityLimiter) -> Callable[[], Step]:
    """Do `work` in another thread; return what tells `steps` of its result, or of its error."""
    try:
        return partial(steps.send, await trio.to_thread.run_sync(work, limiter=workers))
    except Exception as error:
        return partial(steps.throw, error)


def _take_turn(steps: Steps, resume: Callable[[], Step]) -> Step | None:
    """Go on until others have their turn (returns a number), another thread has to do something, or (None) all is done."""
    left = TURN_STEPS
    try:
        step = resume()
        while isinstance(step, int):
            left -= step
            if left < 0:
                return step
            step = next(steps)
    except StopIteration:
        return None
    return step


def code_of_rest(error: KafkaError, answered: Sequence[object]) -> ErrorCode:
    """The code of an error that concerns one group of many: clients ask again for those there was no `Room` for."""
    full = error.code == ErrorCode.POLICY_VIOLATION and answered
    return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS if full else error.code


def memory_for_requests(services: Services) -> int:
    """`queued.max.request.bytes`, or its default where it is unlimited."""
    limit = services.settings.queued_max_request_bytes
    return limit if limit > 0 else DEFAULT_BYTES


@attrs.define(eq=False)
class Room:
    """How much one answer may still hold."""

    left_bytes: int

    @classmethod
    def of(cls, services: Services) -> Room:
        """That of a new answer."""
        return cls(max(memory_for_requests(services) // SHARE, LEAST_ROOM_BYTES))

    def take(self, elements: int, text_bytes: int = 0) -> None:
        """Make room for so much, or raise PolicyViolation: then, and from then on, there is none."""
        self.left_bytes -= elements * ELEMENT_BYTES + text_bytes
        if self.left_bytes < 0:
            raise PolicyViolation("the answer would be too large (queued.max.request.bytes): ask for less at a time")
