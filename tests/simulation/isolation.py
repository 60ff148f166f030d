"""What a simulation changes around the broker: for its own thread alone, since others may run the brokers of other tests.

One such broker that drew from the same random numbers would change the schedule of the simulation, and no trace of a seed
would be like another.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import trio
from trio._core import _run

from minibroker.handlers import join_group


def only_here(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is `ours` in this thread, and `theirs` in all others."""
    here = threading.get_ident()

    def either(*arguments: Any, **options: Any) -> Any:
        return (ours if threading.get_ident() == here else theirs)(*arguments, **options)

    return either


@contextmanager
def seeded_schedule(rng: random.Random) -> Iterator[None]:
    """Let `rng` choose which task of Trio runs before which."""
    usual = _run._r
    chance = SimpleNamespace(
        **{name: only_here(getattr(rng, name), getattr(usual, name)) for name in ("random", "shuffle", "uniform")}
    )
    with mock.patch.object(_run, "_r", chance), mock.patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True):
        yield


@contextmanager
def seeded_members(new_id: Callable[[], UUID]) -> Iterator[None]:
    """Let members of groups get ids from `new_id`."""
    with mock.patch.object(join_group, "uuid4", only_here(new_id, uuid4)):
        yield


async def _run_inline(call: Any, *arguments: Any, **options: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return call(*arguments)


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever the broker gives to worker threads runs in its own: threads have no seed."""
    with mock.patch.object(trio.to_thread, "run_sync", only_here(_run_inline, trio.to_thread.run_sync)):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Do not log: a hundred recoveries say a lot."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
