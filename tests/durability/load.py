"""Foreign clients (librdkafka) that outlive the broker, and write down what they were told.

Each runs in a thread of its own. The history is shared: one lock.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests.simulation.history import History, Place

PATIENCE_S = 120
RECONNECT = {
    "reconnect.backoff.ms": 10,
    "reconnect.backoff.max.ms": 50,
    "retry.backoff.ms": 10,
    "retry.backoff.max.ms": 50,
    "socket.timeout.ms": 5000,
    "log_level": 0,
}
OUTSTANDING = 300


@attrs.define(eq=False)
class Load:
    """What all clients share."""

    address: str
    history: History = attrs.field(factory=History)
    lock: Any = attrs.field(factory=threading.Lock)
    acked: int = 0
    polled: int = 0
    committed: int = 0
    done: bool = False
    failures: list[str] = attrs.field(factory=list)
    _values: int = 0
    _changed: Any = attrs.field(init=False)
    _threads: list[threading.Thread] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._changed = threading.Condition(self.lock)

    def create(self, topics: dict[str, tuple[int, dict[str, str]]]) -> None:
        """Make topics: name -> (partitions, settings)."""
        admin = AdminClient({"bootstrap.servers": self.address, **RECONNECT})
        new = [NewTopic(name, count, config=dict(configs)) for name, (count, configs) in topics.items()]
        for name, future in admin.create_topics(new).items():
            future.result(PATIENCE_S)
            self.history.expect_topic(name, True)

    def start(self, *clients: Any) -> None:
        """Run each client in a thread."""
        for client in clients:
            thread = threading.Thread(target=self._run, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, client: Any) -> None:
        try:
            client.run()
        except BaseException as error:  # told to whoever runs the test
            self.failures.append(f"{type(client).__name__}: {error!r}")

    def wait_more(self, acked: int = 0, polled: int = 0, committed: int = 0) -> None:
        """Return when that many more records are acknowledged, read, and that many more commits done."""
        with self._changed:
            wanted = (self.acked + acked, self.polled + polled, self.committed + committed)
            done = self._changed.wait_for(lambda: self.failures or self._has(*wanted), PATIENCE_S)
        assert not self.failures, self.failures
        assert done, "no progress"

    def _has(self, acked: int, polled: int, committed: int) -> bool:
        return self.acked >= acked and self.polled >= polled and self.committed >= committed

    def abandon(self) -> None:
        """Something is broken: nobody waits for answers that will not come."""
        self.done = True

    def finish(self) -> None:
        """End all clients: producers once everything is acknowledged."""
        self.done = True
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        assert not self.failures, self.failures

    def new_value(self, prefix: str) -> bytes:
        """One that no other record has; with the lock held."""
        self._values += 1
        return f"{prefix}:{self._values}".encode()

    def acknowledge(self, place: Place, offset: int, value: bytes) -> None:
        """A producer was told where a record is."""
        with self.lock:
            self.history.ack(place, offset, [value])
            self.acked += 1
            self.moved()

    def begin(self, reader: str, place: Place) -> None:
        """A consumer is about to read a partition from its beginning."""
        with self.lock:
            self.history.seek(reader, place, 0)

    def take(self, reader: str, records: Mapping[Any, Sequence[Any]]) -> None:
        """A consumer got records: partition -> records."""
        with self.lock:
            for found in records.values():
                for record in found:
                    self.history.poll(reader, (record.topic, record.partition), record.offset, record.value)
                    self.polled += 1
            self.moved()

    def moved(self) -> None:
        """Wake whoever waits; with the lock held."""
        self._changed.notify_all()


@attrs.define(eq=False)
class Writer:
    """An idempotent producer."""

    load: Load
    number: int
    places: list[Place]
    keys: int = 0
    """How many keys it uses; 0 for records without."""

    def run(self) -> None:
        """Produce until the load is done; then wait for every answer."""
        rng = random.Random(self.number)
        load = self.load
        producer = Producer(
            {
                "bootstrap.servers": load.address,
                "enable.idempotence": True,
                "linger.ms": 2,
                "batch.num.messages": 20,
                "message.timeout.ms": PATIENCE_S * 1000,
                "compression.type": rng.choice(("none", "lz4")),
                **RECONNECT,
            }
        )
        while not load.done:
            if len(producer) < OUTSTANDING:
                place = rng.choice(self.places)
                key = f"k{rng.randrange(self.keys)}" if self.keys else ""
                with load.lock:
                    value = load.new_value(key)
                    load.history.send(place, self.number, [value])
                producer.produce(
                    place[0],
                    value,
                    key=key.encode() if self.keys else None,
                    partition=place[1],
                    on_delivery=self._answered,
                )
                producer.poll(0)
            else:
                producer.poll(0.05)
        if producer.flush(PATIENCE_S):
            raise AssertionError(f"{len(producer)} records were never answered")

    def _answered(self, error: KafkaError | None, message: Any) -> None:
        load = self.load
        if error is not None:
            load.failures.append(f"producer {self.number}: {error}")
            return
        load.acknowledge((message.topic(), message.partition()), message.offset(), message.value())


@attrs.define(eq=False)
class Reader:
    """A consumer by position, from the beginning."""

    load: Load
    name: str
    places: list[Place]

    def run(self) -> None:
        """Poll until the load is done."""
        load = self.load
        consumer = Consumer(
            {
                "bootstrap.servers": load.address,
                "group.id": self.name,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "check.crcs": True,
                "fetch.wait.max.ms": 20,
                "fetch.error.backoff.ms": 10,
                **RECONNECT,
            }
        )
        consumer.assign([TopicPartition(topic, index, 0) for topic, index in self.places])
        for place in self.places:
            load.begin(self.name, place)
        while not load.done:
            messages = consumer.consume(200, 0.1)
            with load.lock:
                for message in messages:
                    self._take(message)
                load.moved()
        consumer.close()

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is not None:
            if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError._BAD_MSG):
                raise AssertionError(f"{self.name}: {error}")
            return  # the broker is away
        place = (message.topic(), message.partition())
        self.load.history.poll(self.name, place, message.offset(), message.value())
        self.load.polled += 1


@attrs.define(eq=False)
class Member:
    """The one member of a group: reads, commits, and asks what is committed."""

    load: Load
    group: str
    topic: str

    def run(self) -> None:
        """Until the load is done."""
        load = self.load
        consumer = Consumer(
            {
                "bootstrap.servers": load.address,
                "group.id": self.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 500,
                "fetch.wait.max.ms": 20,
                **RECONNECT,
            }
        )
        consumer.subscribe([self.topic])
        while not load.done:
            ends: dict[Place, int] = {}
            messages: list[Any] = consumer.consume(50, 0.1)
            for message in messages:
                if message.error() is None:
                    ends[message.topic(), message.partition()] = message.offset() + 1
            if ends:
                self._commit(consumer, ends)
                self._read(consumer, list(ends))
        consumer.close()

    def _commit(self, consumer: Consumer, ends: dict[Place, int]) -> None:
        history = self.load.history
        with self.load.lock:
            for place, offset in ends.items():
                history.try_commit(self.group, place, offset)
        try:
            done = consumer.commit(
                offsets=[TopicPartition(topic, index, offset) for (topic, index), offset in ends.items()],
                asynchronous=False,
            )
        except KafkaException:
            time.sleep(0.01)  # the broker is away; nobody knows whether it heard us
            return
        with self.load.lock:
            for partition in done:
                if partition.error is None:
                    history.commit(self.group, (partition.topic, partition.partition), partition.offset)
                    self.load.committed += 1
            self.load.moved()

    def _read(self, consumer: Consumer, places: list[Place]) -> None:
        history = self.load.history
        with self.load.lock:
            known = {place: history.known_commit(self.group, place) for place in places}
        try:
            found = consumer.committed([TopicPartition(*place) for place in places], timeout=1.0)
        except KafkaException:
            return
        with self.load.lock:
            for partition in found:
                place = (partition.topic, partition.partition)
                if partition.error is None:
                    history.read_commit(self.group, place, max(partition.offset, -1), known[place])
