"""The same load (`load`) by aiokafka and kafka-python."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import attrs
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as AioPartition
from aiokafka.errors import KafkaConnectionError
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as PythonPartition

from tests.durability.load import OUTSTANDING, PATIENCE_S, Load
from tests.simulation.history import Place

for _name in ("aiokafka", "kafka"):  # which have a lot to say about brokers that are killed
    logging.getLogger(_name).setLevel(logging.CRITICAL)
BACK_OFF = {"reconnect_backoff_ms": 10, "reconnect_backoff_max_ms": 50, "retry_backoff_ms": 10}


@attrs.define(eq=False)
class AioWriter:
    """An idempotent producer of aiokafka."""

    load: Load
    number: int
    places: list[Place]
    _outstanding: set[asyncio.Task[None]] = attrs.field(factory=set)

    def run(self) -> None:
        """Produce until the load is done; then wait for every answer."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        rng = random.Random(self.number)
        producer = await self._start()
        try:
            while not self.load.done:
                await self._send(producer, rng.choice(self.places))
                while len(self._outstanding) >= OUTSTANDING and not self.load.done:
                    await asyncio.wait(self._outstanding, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*self._outstanding)
        finally:
            await producer.stop()

    async def _start(self) -> AIOKafkaProducer:
        """A producer that has found the broker; aiokafka gives up at once where it does not."""
        while True:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.load.address,
                enable_idempotence=True,
                linger_ms=2,
                retry_backoff_ms=10,
                request_timeout_ms=PATIENCE_S * 1000,
            )
            try:
                await producer.start()
            except KafkaConnectionError:
                await producer.stop()
                if self.load.done:
                    raise
            else:
                return producer

    async def _send(self, producer: Any, place: Place) -> None:
        with self.load.lock:
            value = self.load.new_value("")
            self.load.history.send(place, self.number, [value])
        delivery = await producer.send(place[0], value, partition=place[1])
        task = asyncio.ensure_future(self._wait(place, value, delivery))
        self._outstanding.add(task)
        task.add_done_callback(self._outstanding.discard)

    async def _wait(self, place: Place, value: bytes, delivery: Any) -> None:
        try:
            metadata = await delivery
        except Exception as error:
            self.load.failures.append(f"producer {self.number}: {error!r}")
            return
        self.load.acknowledge(place, metadata.offset, value)


@attrs.define(eq=False)
class PythonWriter:
    """An idempotent producer of kafka-python."""

    load: Load
    number: int
    places: list[Place]

    def run(self) -> None:
        """Produce until the load is done; then wait for every answer."""
        rng = random.Random(self.number)
        producer = KafkaProducer(
            bootstrap_servers=self.load.address,
            enable_idempotence=True,
            linger_ms=2,
            delivery_timeout_ms=PATIENCE_S * 1000,
            metrics_enabled=False,
            **BACK_OFF,
        )
        waiting: list[tuple[Place, bytes, Any]] = []
        try:
            while not self.load.done:
                place = rng.choice(self.places)
                with self.load.lock:
                    value = self.load.new_value("")
                    self.load.history.send(place, self.number, [value])
                waiting.append((place, value, producer.send(place[0], value, partition=place[1])))
                while waiting and (len(waiting) >= OUTSTANDING or waiting[0][2].is_done):
                    self._take(*waiting.pop(0))
            for outstanding in waiting:
                self._take(*outstanding)
        finally:
            producer.close(PATIENCE_S)

    def _take(self, place: Place, value: bytes, delivery: Any) -> None:
        self.load.acknowledge(place, delivery.get(PATIENCE_S).offset, value)


@attrs.define(eq=False)
class AioReader:
    """A consumer of aiokafka by position, from the beginning."""

    load: Load
    name: str
    places: list[Place]

    def run(self) -> None:
        """Poll until the load is done."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.load.address,
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_wait_ms=20,
            retry_backoff_ms=10,
        )
        await consumer.start()
        try:
            consumer.assign([AioPartition(*place) for place in self.places])
            for place in self.places:
                self.load.begin(self.name, place)
                consumer.seek(AioPartition(*place), 0)
            while not self.load.done:
                self.load.take(self.name, await consumer.getmany(timeout_ms=100))
        finally:
            await consumer.stop()


@attrs.define(eq=False)
class PythonReader:
    """A consumer of kafka-python by position, from the beginning."""

    load: Load
    name: str
    places: list[Place]

    def run(self) -> None:
        """Poll until the load is done."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.load.address,
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_wait_ms=20,
            metrics_enabled=False,
            **BACK_OFF,
        )
        try:
            consumer.assign([PythonPartition(*place) for place in self.places])
            for place in self.places:
                self.load.begin(self.name, place)
                consumer.seek(PythonPartition(*place), 0)
            while not self.load.done:
                self.load.take(self.name, consumer.poll(timeout_ms=100))
        finally:
            consumer.close()
