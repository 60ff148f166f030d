"""What clients share: the history they write, the road to the broker, the time, and chance."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import attrs
import trio

from minibroker.handlers.context import Endpoint
from minibroker.protocol.errors import ErrorCode
from minibroker.server.broker import RunningBroker
from tests.simulation.history import Anomaly, History
from tests.simulation.network import Link, Lost, Wire

ENDPOINT = Endpoint(host="broker.test", port=9092)
START_MS = 1_700_000_000_000


@attrs.define(eq=False, repr=False)
class World:
    """Everything around the broker of one simulation. Its random numbers decide everything that happens by chance."""

    rng: random.Random
    history: History = attrs.field(factory=History)
    has_power: Callable[[], bool] = bool
    storage_may_fail: bool = False
    """Whether the broker may answer with errors of its disk."""
    wall_offset_ms: float = START_MS
    """The wall clock when the monotonic clock of this life was zero."""
    broker: RunningBroker | None = None
    """None when it accepts nobody."""
    nursery: trio.Nursery | None = None
    values: int = 0
    events: int = 0
    _digest: Any = attrs.field(factory=lambda: hashlib.blake2b(digest_size=16))

    def now_ms(self) -> int:
        """The wall clock."""
        return int(self.wall_offset_ms + trio.current_time() * 1000)

    def now_ms_of_life(self, seconds: float) -> int:
        """The wall clock at a time of the present life, for whoever is outside of it."""
        return int(self.wall_offset_ms + seconds * 1000)

    def trace(self, *event: object) -> None:
        """Write down that something happened."""
        self.events += 1
        self._digest.update(f"{trio.current_time():.6f} {event!r}\n".encode())

    def trace_between_lives(self, *event: object) -> None:
        """The same when no clock runs."""
        self._digest.update(f"{event!r}\n".encode())

    @property
    def digest(self) -> str:
        """Of everything that happened: two runs of one seed have the same."""
        return str(self._digest.hexdigest())

    def new_value(self, prefix: str = "") -> bytes:
        """A value that no other record has; some are long."""
        self.values += 1
        padding = "x" * self.rng.choice((0, 0, 0, 20, 300))
        return f"{prefix}:{self.values}:{padding}".encode()

    def complain(self, kind: str, detail: str) -> None:
        """Report a promise that was broken before everybody's eyes."""
        self.history.anomalies.append(Anomaly(kind, detail))

    async def connect(self, client_id: str) -> Link:
        """A connection to the broker, as soon as there is one."""
        await trio.sleep(self.rng.choice((0, 0.001)))
        if self.broker is None or not self.has_power():
            await trio.sleep_forever()
        assert self.broker is not None
        assert self.nursery is not None
        wire = Wire(random.Random(self.rng.getrandbits(32)), self.has_power)
        link = Link(wire, client_id, lingers=client_id.startswith("producer"))
        try:
            self.broker.connections.start(wire, ENDPOINT)
        except RuntimeError:  # it is ending
            await trio.sleep_forever()
        self.nursery.start_soon(link.run)
        return link

    async def pause(self) -> None:
        """Let some time pass."""
        await trio.sleep(self.rng.choice((0, 0.001, 0.003, 0.01)))


class Client:
    """An actor that lives longer than the broker: what it has not been told, it asks again."""

    name: str
    world: World

    async def run(self) -> None:
        """Connect, do things, and when the connection is lost, begin again, for ever."""
        while True:
            link = await self.world.connect(self.name)
            try:
                await self.session(link)
            except Lost:
                self.world.trace(self.name, "lost")
            link.hang_up()
            await self.world.pause()

    async def session(self, link: Link) -> None:
        """Until the connection ends, or a client hangs up for its own reasons."""
        raise NotImplementedError


def name_of(code: int) -> str:
    """Kafka's name of an error code."""
    return next(error.name for error in ErrorCode if error == code)
