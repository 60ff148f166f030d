"""Accepting goes on whatever `accept` says of one connection, and listeners are bound together or not at all."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest
import trio
import trio.testing

from minibroker.config.listeners import parse_listener
from minibroker.server.errors import StartError
from minibroker.server.listening import bind_all, run_accepting


class Listening:
    """A listening socket with a script: numbers are errors, other things connections."""

    def __init__(self, script: list[Any]) -> None:
        self.script = script

    def accept(self) -> tuple[Any, Any]:
        found = self.script.pop(0)
        if isinstance(found, int):
            raise OSError(found, os.strerror(found))
        return found, None


class Connection:
    closed = False

    def close(self) -> None:
        self.closed = True


async def accept_all(script: list[Any], accepted: Callable[[Any], None]) -> None:
    async def wait_room() -> None:
        await trio.lowlevel.checkpoint()

    with pytest.raises(OSError, match="Bad file descriptor"):
        await run_accepting(cast(socket.socket, Listening([*script, errno.EBADF])), accepted, wait_room)


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EPERM])
async def test_the_fate_of_one_connection_is_not_ours(autojump_clock: trio.testing.MockClock, code: int) -> None:
    """Errors of the network that accept reports do not end the broker."""
    accepted: list[Any] = []
    first, second = Connection(), Connection()
    await accept_all([first, code, code, second], accepted.append)
    assert accepted == [first, second]


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
async def test_without_descriptors_a_newcomer_is_turned_away(autojump_clock: trio.testing.MockClock, code: int) -> None:
    """It is accepted with the spare descriptor and closed; then there is a rest."""
    accepted: list[Any] = []
    unlucky, lucky = Connection(), Connection()
    await accept_all([code, unlucky, code, code, lucky], accepted.append)
    assert unlucky.closed
    assert accepted == [lucky]
    assert trio.current_time() > 0


def test_a_taken_address_is_one_line_and_frees_the_others() -> None:
    """What was bound before it is given back."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
        probe.close()
        listeners = [parse_listener(f"127.0.0.1:{port}") for port in (free, taken.getsockname()[1])]
        with pytest.raises(StartError, match=r"cannot listen on 127.0.0.1:\d+: Address already in use"):
            bind_all(listeners, [])
        socket.create_server(("127.0.0.1", free)).close()
