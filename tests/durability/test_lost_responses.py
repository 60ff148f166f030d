"""Lost responses, resets in mid-request and late requests: idempotent producers lose, double and reorder nothing.

A default run does 200 such things to our own producers and a few to foreign ones; `python -m tests.soak responses` goes on.
"""

from __future__ import annotations

import logging
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio

from minibroker.client import Delivery, Producer
from minibroker.testing.broker_thread import BrokerThread
from minibroker.testing.embedded import open_broker
from tests.durability.load import Load, Writer
from tests.durability.process import free_port
from tests.durability.python_load import AioWriter, PythonWriter
from tests.durability.saboteur import FAULTS, NOTICED_AT_ONCE, Saboteur
from tests.durability.verdict import judge, read_directory
from tests.simulation.history import History, Place

SETTINGS = {"log.segment.bytes": "16384", "offsets.topic.num.partitions": "1", "num.partitions": "3"}
TOPIC = "a"
PLACES: list[Place] = [(TOPIC, 0), (TOPIC, 1), (TOPIC, 2)]
PRODUCERS = 16
BURST = 12
FOREIGN = {"librdkafka": Writer, "aiokafka": AioWriter, "kafka-python": PythonWriter}
UNIT = 200
"""Faults of one unit of the long run."""
FOREIGN_UNIT = 60


@attrs.define(eq=False)
class OurProducer:
    """A task that sends bursts of small batches, so that several are in flight, and waits for every answer."""

    number: int
    saboteur: Saboteur
    history: History
    rng: random.Random
    enough: Callable[[], bool]
    _sent: int = 0

    async def run(self) -> None:
        """Produce until there was enough of it."""
        async with Producer(
            self.saboteur.address, linger_ms=0, batch_bytes=200, retry_backoff_ms=1, request_timeout_ms=400
        ) as producer:
            while not self.enough():
                sent = [await self._send(producer) for _ in range(self.rng.randrange(1, BURST))]
                for place, value, delivery in sent:
                    self.history.ack(place, (await delivery.wait()).offset, [value])

    async def _send(self, producer: Producer) -> tuple[Place, bytes, Delivery]:
        place = self.rng.choice(PLACES)
        self._sent += 1
        value = (b"%d:%d:" % (self.number, self._sent)).ljust(60, b".")
        self.history.send(place, self.number, [value])
        delivery = await producer.send(place[0], value, partition=place[1])
        return place, value, delivery


def settings_for(saboteur: Saboteur, address: str) -> dict[str, str]:
    """Of a broker that sends its clients to the saboteur."""
    return {
        **SETTINGS,
        "listeners": f"PLAINTEXT://{address}",
        "advertised.listeners": f"PLAINTEXT://{saboteur.address}",
    }


def sabotage_ours(directory: Path, seed: int, faults: int, deadline: Callable[[], bool] = lambda: False) -> Saboteur:
    """Do so many things to our own producers, and judge what is there in the end."""
    saboteur, history, address = Saboteur(seed), History(), f"127.0.0.1:{free_port()}"

    def enough() -> bool:
        if saboteur.total >= faults or deadline():
            saboteur.make_peace()
        return saboteur.peaceful

    async def main() -> None:
        settings, data = settings_for(saboteur, address), str(directory / "data")
        async with open_broker(settings, data_dir=data), trio.open_nursery() as nursery:
            nursery.start_soon(saboteur.run, address)
            async with trio.open_nursery() as producers:
                for number in range(PRODUCERS):
                    rng = random.Random(f"{seed} {number}")
                    producers.start_soon(OurProducer(number, saboteur, history, rng, enough).run)
            saboteur.stop()

    trio.run(main)
    judge(history, read_directory(directory, SETTINGS))
    return saboteur


def sabotage_foreign(
    directory: Path, seed: int, foreign: str, faults: int, deadline: Callable[[], bool] = lambda: False
) -> Saboteur:
    """The same to two producers of another client; they are given only what they notice at once."""
    saboteur, address = Saboteur(seed, NOTICED_AT_ONCE), f"127.0.0.1:{free_port()}"
    load = Load(saboteur.address)
    with BrokerThread(settings_for(saboteur, address), data_dir=str(directory / "data")), tapped(saboteur, address):
        load.start(*(FOREIGN[foreign](load, number, PLACES) for number in range(2)))
        try:
            while saboteur.total < faults and not deadline():
                load.wait_more(acked=1)
            saboteur.make_peace()
            load.finish()
        except BaseException:
            load.abandon()
            raise
    judge(load.history, read_directory(directory, SETTINGS))
    return saboteur


@contextmanager
def tapped(saboteur: Saboteur, address: str) -> Iterator[None]:
    """The saboteur in a thread of its own."""
    token: Future[trio.lowlevel.TrioToken] = Future()

    async def main() -> None:
        token.set_result(trio.lowlevel.current_trio_token())
        await saboteur.run(address)

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    try:
        yield
    finally:
        token.result().run_sync_soon(saboteur.stop)
        thread.join()


def test_our_producers_survive_whatever_happens_to_their_requests(tmp_path: Path) -> None:
    """200 requests or answers are lost, torn or late, each in a way of its own; every record is there once, in order."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    saboteur = sabotage_ours(tmp_path, seed, 200)
    assert saboteur.total >= 200
    assert set(saboteur.done) == set(FAULTS)


@pytest.mark.parametrize("foreign", FOREIGN)
def test_foreign_producers_survive_it_too(tmp_path: Path, foreign: str) -> None:
    """Idempotent producers that others have written meet the same, and lose, double and reorder nothing."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    assert sabotage_foreign(tmp_path, seed, foreign, 20).total >= 20


def soak(seed: int, deadline: Callable[[], bool]) -> int:
    """Two hundred faults for our producers, or fewer for foreign ones whose turn it is."""
    foreign = dict(enumerate(FOREIGN)).get(seed % 10)
    logging.disable(logging.WARNING)  # our producers warn of every connection that they lose
    try:
        with tempfile.TemporaryDirectory(prefix="minibroker-") as name:
            if foreign is None:
                return sabotage_ours(Path(name), seed, UNIT, deadline).total
            return sabotage_foreign(Path(name), seed, foreign, FOREIGN_UNIT, deadline).total
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error!r}") from error
    finally:
        logging.disable(logging.NOTSET)
