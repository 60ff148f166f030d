"""Peers in memory: a Transport for the broker's side, and a Link that sends requests and hears answers.

A wire hands over what was sent in pieces of random size, takes no more at a time than it likes, and ends when either
side or the power does. After that nothing that the broker says reaches anybody.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from minibroker.protocol.api import response_class
from minibroker.protocol.codec import decode_message
from minibroker.protocol.framing import decode_response_header, encode_request
from minibroker.protocol.schema import Request
from minibroker.server.transport import Buffer
from minibroker.storage.filesystem import File


class Lost(Exception):
    """The connection ended before the answer came."""


@attrs.define(eq=False, repr=False)
class Wire:
    """Both directions of one connection, as the broker's Transport."""

    rng: random.Random
    has_power: Callable[[], bool]
    host: str = "10.0.0.1"
    to_broker: bytearray = attrs.field(factory=bytearray)
    to_client: bytearray = attrs.field(factory=bytearray)
    closed: bool = False
    hung_up: bool = False
    """By the client: what it has sent before may still be read, if it was sent to be."""
    _broker_wakes: trio.Event = attrs.field(factory=trio.Event)
    _client_wakes: trio.Event = attrs.field(factory=trio.Event)

    # -- the broker's side

    def receive_nowait(self, buffer: memoryview) -> int | None:
        """See Transport."""
        if self.closed or not self.has_power():
            raise ConnectionResetError("the connection is gone")
        if not self.to_broker:
            return 0 if self.hung_up else None
        size = min(len(buffer), len(self.to_broker))
        if self.rng.random() < 0.1:
            size = self.rng.randint(1, size)
        buffer[:size] = self.to_broker[:size]
        del self.to_broker[:size]
        return size

    def send_nowait(self, buffers: Sequence[Buffer], *, more: bool) -> int:
        """See Transport."""
        return self._send(b"".join(bytes(buffer) for buffer in buffers))

    def send_file_nowait(self, file: File, position: int, size: int) -> int:
        """See Transport."""
        return self._send(file.pread(size, position))

    async def wait_readable(self) -> None:
        """See Transport."""
        while not self.to_broker and not self.closed and not self.hung_up:
            await self._broker_wakes.wait()

    async def wait_writable(self) -> None:
        """See Transport."""
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """See Transport."""
        self.closed = True
        self._broker_wakes.set()
        self._client_wakes.set()

    def _send(self, data: bytes) -> int:
        if self.closed or self.hung_up or not self.has_power():
            raise ConnectionResetError("the connection is gone")
        size = len(data)
        if self.rng.random() < 0.05:
            size = self.rng.randint(0, size)
        self.to_client += data[:size]
        self._client_wakes.set()
        self._client_wakes = trio.Event()
        return size

    # -- the client's side

    def request(self, data: bytes) -> None:
        """Send bytes to the broker."""
        self.to_broker += data
        self._broker_wakes.set()
        self._broker_wakes = trio.Event()

    def hang_up(self, *, linger: bool) -> None:
        """The client leaves; with `linger` the broker still reads what it has sent."""
        self.hung_up = True
        self.closed = self.closed or not linger
        self._broker_wakes.set()
        self._client_wakes.set()

    async def frame(self) -> memoryview:
        """The next whole answer without its length. Raises Lost."""
        while True:
            if self.closed or self.hung_up or not self.has_power():
                raise Lost
            if len(self.to_client) >= 4:
                end = 4 + int.from_bytes(self.to_client[:4])
                if len(self.to_client) >= end:
                    frame = memoryview(bytes(self.to_client[4:end]))
                    del self.to_client[:end]
                    return frame
            await self._client_wakes.wait()


@attrs.define(eq=False, repr=False)
class Answer:
    """A response that has come, or will not."""

    key: Any
    version: int
    response: Any = None
    is_lost: bool = False
    _arrived: trio.Event = attrs.field(factory=trio.Event)

    def arrive(self, response: Any) -> None:
        """It is there."""
        self.response = response
        self._arrived.set()

    def lose(self) -> None:
        """It will not come."""
        self.is_lost = True
        self._arrived.set()

    async def wait(self) -> Any:
        """The response. Raises Lost."""
        await self._arrived.wait()
        if self.is_lost:
            raise Lost
        return self.response


@attrs.define(eq=False, repr=False)
class Link:
    """One client's connection: requests in flight, answered in order."""

    wire: Wire
    client_id: str
    lingers: bool = False
    """Whether requests that were sent before it hangs up may still arrive."""
    is_lost: bool = False
    _asked: deque[Answer] = attrs.field(factory=deque)
    _count: int = 0

    def send(self, message: Request[Any], version: int) -> Answer:
        """Send a request. Raises Lost."""
        if self.is_lost:
            raise Lost
        self._count += 1
        parts = encode_request(self._count, self.client_id, message, version)
        self.wire.request(b"".join(bytes(part) for part in parts))
        answer = Answer(message.api, version)
        self._asked.append(answer)
        return answer

    async def ask(self, message: Request[Any], version: int) -> Any:
        """Send a request and return its response. Raises Lost."""
        return await self.send(message, version).wait()

    async def run(self) -> None:
        """Hand out answers until the connection ends."""
        try:
            while True:
                frame = await self.wire.frame()
                answer = self._asked.popleft()
                _, position = decode_response_header(frame, answer.key, answer.version)
                answer.arrive(decode_message(response_class(answer.key), answer.version, frame[position:]))
        except Lost:
            self.hang_up()

    def hang_up(self) -> None:
        """End the connection; what is not answered is lost."""
        self.is_lost = True
        self.wire.hang_up(linger=self.lingers)
        for answer in self._asked:
            answer.lose()
        self._asked.clear()
