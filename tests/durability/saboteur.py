"""A proxy between clients and a broker that does what networks do at their worst, at moments that a seed chooses.

It knows where requests and responses begin and end, and which belong together. One request in so many meets one of:

    request lost          the connection is reset before the broker has any of it
    request torn          the broker gets a part of it, then a reset
    request late          the client's connection is reset; the broker gets the request only after others, perhaps
                          those in which the client has sent it again
    response lost         the broker has done it; the client gets a reset instead of the answer
    response torn         the client gets a part of the answer, then a reset
    response delayed      the answer, and those behind it, come a little later
    silence               the broker has produced; nobody ever says so, until the client loses patience
"""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter, deque
from contextlib import suppress

import attrs
import trio

from minibroker.protocol.api import ApiKey

NOTICED_AT_ONCE = (
    "request lost",
    "request torn",
    "request late",
    "response lost",
    "response torn",
    "response delayed",
)
FAULTS = (*NOTICED_AT_ONCE, "silence")
RESET = struct.pack("ii", 1, 0)
"""The SO_LINGER that makes of a close a reset."""
LONGEST_DELAY_S = 0.01
LATE_BY = 6
"""How many answers may go to others before a late request arrives."""
LOST = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


def reset(stream: trio.SocketStream) -> None:
    """Hang up in such a way that the peer gets an error."""
    with suppress(OSError):
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    stream.socket.close()


async def read_frame(stream: trio.SocketStream, pending: bytearray) -> bytes | None:
    """The next frame with its length; None where the stream ends."""
    while len(pending) < 4 or len(pending) < 4 + int.from_bytes(pending[:4], "big"):
        received = await stream.receive_some()
        if not received:
            return None
        pending += received
    end = 4 + int.from_bytes(pending[:4], "big")
    frame = bytes(pending[:end])
    del pending[:end]
    return frame


@attrs.define(eq=False)
class Saboteur:
    """See the module. It accepts on `port` once it is made, and serves while `run` runs."""

    seed: int
    kinds: tuple[str, ...] = FAULTS
    produce_share: float = 0.15
    """How many of the requests to produce meet a fault."""
    other_share: float = 0.03
    """And of all others."""
    peaceful: bool = False
    """Whether it only passes on."""
    done: Counter[str] = attrs.field(factory=Counter)
    """What has been done to requests."""
    answers: int = 0
    rng: random.Random = attrs.field(init=False)
    _listening: socket.socket = attrs.field(factory=socket.socket)
    _cancelled: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _progress: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(100)

    @property
    def address(self) -> str:
        """HOST:PORT for clients."""
        host, port = self._listening.getsockname()
        return f"{host}:{port}"

    @property
    def total(self) -> int:
        """How many requests have met a fault."""
        return sum(self.done.values())

    def choose(self, api_key: int) -> str:
        """What this request shall meet; most of them nothing."""
        produces = api_key == ApiKey.PRODUCE
        if self.peaceful or self.rng.random() >= (self.produce_share if produces else self.other_share):
            return ""
        kind = self.rng.choice(self.kinds if produces else NOTICED_AT_ONCE)
        self.done[kind] += 1
        return kind

    def answered(self) -> None:
        """An answer has gone to a client."""
        self.answers += 1
        self._progress.set()
        self._progress = trio.Event()

    async def wait_answers(self, count: int) -> None:
        """Return when so many more answers have gone to clients, or peace has come."""
        wanted = self.answers + count
        while self.answers < wanted and not self.peaceful:
            await self._progress.wait()

    def make_peace(self) -> None:
        """From now on only pass on."""
        self.peaceful = True

    async def run(self, broker: str) -> None:
        """Connect whoever comes to the broker, until cancelled."""
        host, _, port = broker.rpartition(":")
        self._listening.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._listening))

        async def serve(client: trio.SocketStream) -> None:
            with suppress(*LOST):
                await Pair(self, client, await trio.open_tcp_stream(host, int(port))).run()

        with self._cancelled:
            await trio.serve_listeners(serve, [listener])

    def stop(self) -> None:
        """End `run`; from its own thread."""
        self._cancelled.cancel()


@attrs.define(eq=False)
class Pair:
    """A client's connection, and the one to the broker that belongs to it."""

    saboteur: Saboteur
    client: trio.SocketStream
    broker: trio.SocketStream
    _awaited: deque[str] = attrs.field(factory=deque)
    """What shall happen to each answer that is to come."""
    _deaf: bool = False
    """Whether nobody hears the answers."""

    async def run(self) -> None:
        """Pass on until either side leaves or a fault ends both."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run, self._pass_requests, nursery.cancel_scope)
                nursery.start_soon(self._run, self._pass_answers, nursery.cancel_scope)
        finally:
            reset(self.client)
            reset(self.broker)

    async def _run(self, direction: object, scope: trio.CancelScope) -> None:
        with suppress(*LOST):
            await direction()  # type: ignore[operator]
        scope.cancel()

    async def _pass_requests(self) -> None:
        pending = bytearray()
        while (frame := await read_frame(self.client, pending)) is not None:
            kind = self.saboteur.choose(int.from_bytes(frame[4:6], "big"))
            match kind:
                case "request lost":
                    return
                case "request torn":
                    await self.broker.send_all(frame[: self.saboteur.rng.randrange(1, len(frame))])
                    return
                case "request late":
                    await self._send_late(frame)
                    return
            self._awaited.append(kind)
            await self.broker.send_all(frame)

    async def _send_late(self, frame: bytes) -> None:
        self._deaf = True
        reset(self.client)
        await self.saboteur.wait_answers(self.saboteur.rng.randrange(LATE_BY))
        await self.broker.send_all(frame)
        await self.broker.send_eof()
        await trio.sleep_forever()  # until the broker has answered and hung up: it might take a reset for the request

    async def _pass_answers(self) -> None:
        pending = bytearray()
        while (frame := await read_frame(self.broker, pending)) is not None:
            kind = self._awaited.popleft() if self._awaited else ""
            match kind:
                case "response lost":
                    return
                case "response torn":
                    await self.client.send_all(frame[: self.saboteur.rng.randrange(1, len(frame))])
                    return
                case "response delayed":
                    await trio.sleep(self.saboteur.rng.random() * LONGEST_DELAY_S)
                case "silence":
                    await trio.sleep_forever()
            if not self._deaf:
                await self.client.send_all(frame)
                self.saboteur.answered()
