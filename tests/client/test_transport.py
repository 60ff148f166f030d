"""The raw socket transport: nothing is lost or reordered when the kernel takes only a part."""

from __future__ import annotations

import socket
from collections import deque

import pytest
import trio

from minibroker.client.address import Address
from minibroker.client.transport import Buffer, SocketTransport, connect_tcp


async def test_everything_arrives_in_order() -> None:
    """Many buffers of many sizes, more than one call gathers and more than the socket's buffer holds."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    sender, receiver = SocketTransport(left), SocketTransport(right)
    parts: list[Buffer] = [bytes([number % 251]) * (number * 37 % 20_000 + 1) for number in range(500)]
    parts[3] = memoryview(bytearray(b"writable"))
    expected = b"".join(parts)
    received = bytearray()

    async def receive() -> None:
        view = memoryview(bytearray(70_000))
        while count := await receiver.receive_into(view):
            received.extend(view[:count])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        buffers = deque(parts)
        sender.send_some(buffers)
        assert buffers
        await sender.send_all(buffers)
        await sender.aclose()
    assert received == expected
    await receiver.aclose()


async def test_a_host_without_a_listener_is_an_os_error() -> None:
    """With the reason of the last address tried."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await connect_tcp(Address("127.0.0.1", reserved.getsockname()[1]))
