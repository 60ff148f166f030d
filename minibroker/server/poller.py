"""Who tells connections that bytes have come.

A task that waits in Trio costs some 40 µs for each time it is woken, about as much as all the rest of a small request.
So where there is epoll one task waits for all sockets, and calls what each of them does with its bytes: a
function that does not wait. Only where it has to is the connection's own task woken.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, Protocol

import attrs
import outcome
import trio

from minibroker.server.transport import SocketTransport, Transport

HAS_EPOLL = hasattr(select, "epoll")
TURN_S = 0.001
"""So long one round of bytes after another is taken before other tasks have their turn."""
LONG_S = 0.005
"""After a turn that took so long all sockets are looked at anew."""
EVENTS = 256
"""The most sockets that are looked after before any of them is again."""


class Poller(Protocol):
    """Calls back for transports that can be read."""

    async def watch(self, transport: Transport, on_readable: Callable[[], bool]) -> None:
        """Call `on_readable` whenever a receive would not block, until it returns False or raises; then do the same."""

    async def run(self) -> None:
        """Do what that needs, as long as connections are watched."""


class TaskPoller:
    """A Poller that waits in each connection's own task: for any transport, on any system."""

    async def watch(self, transport: Transport, on_readable: Callable[[], bool]) -> None:
        """See Poller."""
        while True:
            await transport.wait_readable()
            if not on_readable():
                return

    async def run(self) -> None:
        """See Poller: nothing is needed."""


@attrs.define(eq=False)
class Watcher:
    """A task that is woken once its callback wants no more."""

    task: trio.lowlevel.Task
    on_readable: Callable[[], bool]


@attrs.define(eq=False)
class EpollPoller:
    """A Poller with one epoll for all sockets."""

    rest: Callable[[], None]
    """Called when there is nothing to read for the moment; must not wait."""
    _epoll: Any = attrs.field(factory=lambda: select.epoll())
    _watchers: dict[int, Watcher] = attrs.field(factory=dict)
    _others: TaskPoller = attrs.field(factory=TaskPoller)
    _short: set[int] = attrs.field(factory=set)
    """Descriptors whose last turn did not take long."""
    _long: set[int] = attrs.field(factory=set)
    """Those whose last turn did."""

    async def watch(self, transport: Transport, on_readable: Callable[[], bool]) -> None:
        """See Poller."""
        if not isinstance(transport, SocketTransport):
            await self._others.watch(transport, on_readable)
            return
        descriptor = transport.sock.fileno()
        self._watchers[descriptor] = Watcher(trio.lowlevel.current_task(), on_readable)
        self._epoll.register(descriptor, select.EPOLLIN)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._forget(descriptor)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def run(self) -> None:
        """See Poller: look after all sockets, for ever."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                while self._take_turns():
                    await trio.lowlevel.checkpoint()
        finally:
            self._epoll.close()

    def _take_turns(self) -> bool:
        """Let every socket with bytes have its turn, again and again for a while; False once there are none."""
        end = trio.current_time() + TURN_S
        watchers = self._watchers
        while trio.current_time() < end:
            events = self._epoll.poll(0, EVENTS)
            if not events:
                self.rest()
                return False
            if self._long:
                events.sort(key=self._rank)
            for descriptor, _ in events:
                watcher = watchers.get(descriptor)
                if watcher is None:
                    continue  # one that had its turn before has ended it
                began = trio.current_time()
                self._have_turn(descriptor, watcher)
                if self._note(descriptor, trio.current_time() - began > LONG_S):
                    return True
        return True

    def _have_turn(self, descriptor: int, watcher: Watcher) -> None:
        try:
            if watcher.on_readable():
                return
            result: outcome.Outcome[None] = outcome.Value(None)
        except BaseException as error:  # whatever it is, it belongs to that task
            result = outcome.Error(error)
        if self._watchers.get(descriptor) is watcher:
            self._forget(descriptor)
            trio.lowlevel.reschedule(watcher.task, result)

    def _note(self, descriptor: int, was_long: bool) -> bool:
        if was_long:
            self._long.add(descriptor)
            self._short.discard(descriptor)
        elif descriptor not in self._short:
            self._short.add(descriptor)
            self._long.discard(descriptor)
        return was_long

    def _rank(self, event: tuple[int, int]) -> int:
        """Those first of whom it is known that they do not take long, and last those who do."""
        return 0 if event[0] in self._short else 2 if event[0] in self._long else 1

    def _forget(self, descriptor: int) -> None:
        del self._watchers[descriptor]
        self._epoll.unregister(descriptor)
