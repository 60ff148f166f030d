"""Real clients: how fast a program in Python gets records in and out with each.

All are told the same: acks=all, 5 ms of linger, batches of 256 KiB; the rest is as each comes. Each is used as its
documentation says: records sent one by one without waiting for each, records taken as many at a time as it offers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import attrs

from minibroker.load.errors import LoadError
from minibroker.load.topics import expect_records, record_count

ClientName = Literal["minibroker", "minibroker-batches", "aiokafka", "kafka-python", "confluent"]

BATCH_BYTES: Final = 262_144
LINGER_MS: Final = 5
POLL_RECORDS: Final = 5_000
LOOKS: Final = 100  # at the clock only after so many records: looking costs as much as sending does
PATIENCE_S: Final = 60


@attrs.frozen(kw_only=True)
class ClientSpec:
    """Produce for so many seconds, or consume until then or until everything is read."""

    address: str
    topic: str
    client: ClientName
    work: Literal["produce", "consume"]
    seconds: float
    record_bytes: int = 100


@attrs.define
class Count:
    """What went through a client."""

    records: int = 0
    bytes: int = 0


def run_client(spec: ClientSpec) -> dict[str, float]:
    """Drive a client; its figures. Raises LoadError if the log does not hold what it says it sent."""
    before = record_count(spec.address, spec.topic, 1)
    work = (PRODUCE if spec.work == "produce" else CONSUME)[spec.client]
    cpu, begin = time.process_time(), time.perf_counter()
    count, seconds = work(spec, before)
    used = time.process_time() - cpu
    if spec.work == "produce":
        expect_records(spec.address, spec.topic, 1, before + count.records)
    if not count.records:
        raise LoadError(f"{spec.client} read nothing in {time.perf_counter() - begin:.1f} s")
    return {
        "records_per_s": count.records / seconds,
        "mb_per_s": count.bytes / seconds / 1e6,
        "client_cpu_us_per_record": used / count.records * 1e6,
    }


Outcome = tuple[Count, float]
"""What was done, and the seconds from the first record to the last acknowledgement."""


def _with_minibroker(spec: ClientSpec, _: int) -> Outcome:
    import trio

    from minibroker.client import Producer

    value = bytes(spec.record_bytes)

    async def produce() -> Outcome:
        count = Count()
        async with Producer(spec.address, linger_ms=LINGER_MS, batch_bytes=BATCH_BYTES) as producer:
            await producer.partitions(spec.topic)
            begin = time.perf_counter()
            while time.perf_counter() - begin < spec.seconds:
                for _ in range(LOOKS):
                    await producer.send(spec.topic, value)
                count.records += LOOKS
            await producer.flush()
            return _sent(count, spec, begin)

    return trio.run(produce)


def _with_aiokafka(spec: ClientSpec, _: int) -> Outcome:
    from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]

    value = bytes(spec.record_bytes)

    async def produce() -> Outcome:
        count = Count()
        producer = AIOKafkaProducer(
            bootstrap_servers=spec.address, acks="all", linger_ms=LINGER_MS, max_batch_size=BATCH_BYTES
        )
        await producer.start()
        try:
            await producer.partitions_for(spec.topic)
            begin = time.perf_counter()
            while time.perf_counter() - begin < spec.seconds:
                for _ in range(LOOKS):
                    await producer.send(spec.topic, value)
                count.records += LOOKS
            await producer.flush()
            return _sent(count, spec, begin)
        finally:
            await producer.stop()

    return asyncio.run(produce())


def _with_kafka_python(spec: ClientSpec, _: int) -> Outcome:
    from kafka import KafkaProducer  # type: ignore[import-untyped]

    value, count = bytes(spec.record_bytes), Count()
    producer = KafkaProducer(bootstrap_servers=spec.address, acks="all", linger_ms=LINGER_MS, batch_size=BATCH_BYTES)
    producer.partitions_for(spec.topic)
    begin = time.perf_counter()
    while time.perf_counter() - begin < spec.seconds:
        for _ in range(LOOKS):
            producer.send(spec.topic, value)
        count.records += LOOKS
    producer.flush()
    outcome = _sent(count, spec, begin)
    producer.close()
    return outcome


def _with_confluent(spec: ClientSpec, _: int) -> Outcome:
    from confluent_kafka import Producer

    value, count = bytes(spec.record_bytes), Count()
    producer = Producer(
        {"bootstrap.servers": spec.address, "acks": "all", "linger.ms": LINGER_MS, "batch.size": BATCH_BYTES}
    )
    producer.list_topics(spec.topic, PATIENCE_S)
    begin = time.perf_counter()
    while time.perf_counter() - begin < spec.seconds:
        for _ in range(LOOKS):
            while True:
                try:
                    producer.produce(spec.topic, value)
                    break
                except BufferError:  # its queue is full: this is how it says so
                    producer.poll(0.01)
        count.records += LOOKS
        producer.poll(0)
    if left := producer.flush(PATIENCE_S):
        raise LoadError(f"confluent could not deliver {left} records")
    return _sent(count, spec, begin)


def _sent(count: Count, spec: ClientSpec, begin: float) -> Outcome:
    count.bytes = count.records * spec.record_bytes
    return count, time.perf_counter() - begin


@attrs.define(eq=False)
class _Clock:
    """Counts what is read, from the first record on: joining and finding out is not what is measured."""

    spec: ClientSpec
    expected: int
    count: Count = attrs.field(factory=Count)
    begin: float | None = None
    last: float = 0.0
    _deadline: float = attrs.field(factory=lambda: time.perf_counter() + PATIENCE_S)

    def goes_on(self) -> bool:
        """Whether there is time and something left to read."""
        return self.count.records < self.expected and time.perf_counter() < self._deadline

    def took(self, records: int, size_bytes: int) -> None:
        """Count what one poll brought."""
        self.last = time.perf_counter()
        if self.begin is None:
            if records:
                self.begin, self._deadline = self.last, self.last + self.spec.seconds
            self.expected -= records
            return
        self.count.records += records
        self.count.bytes += size_bytes

    def outcome(self) -> Outcome:
        """The figures."""
        return self.count, self.last - self.begin if self.begin is not None else 0.0


def _from_minibroker(spec: ClientSpec, expected: int) -> Outcome:
    import trio

    from minibroker.client import Consumer

    async def consume() -> Outcome:
        clock = _Clock(spec, expected)
        async with Consumer(spec.address, topics=[spec.topic], start="earliest") as consumer:
            while clock.goes_on():
                records = await consumer.poll(POLL_RECORDS)
                clock.took(len(records), sum([len(record.value or b"") for record in records]))
        return clock.outcome()

    return trio.run(consume)


def _from_minibroker_batches(spec: ClientSpec, expected: int) -> Outcome:
    import trio

    from minibroker.client import Consumer

    async def consume() -> Outcome:
        clock = _Clock(spec, expected)
        async with Consumer(spec.address, topics=[spec.topic], start="earliest") as consumer:
            while clock.goes_on():
                for batch in await consumer.poll_batches(POLL_RECORDS):
                    clock.took(len(batch.records), sum([len(record.value or b"") for record in batch.records]))
        return clock.outcome()

    return trio.run(consume)


def _from_aiokafka(spec: ClientSpec, expected: int) -> Outcome:
    from aiokafka import AIOKafkaConsumer

    async def consume() -> Outcome:
        clock = _Clock(spec, expected)
        consumer = AIOKafkaConsumer(spec.topic, bootstrap_servers=spec.address, auto_offset_reset="earliest")
        await consumer.start()
        try:
            while clock.goes_on():
                for records in (await consumer.getmany(timeout_ms=1_000, max_records=POLL_RECORDS)).values():
                    clock.took(len(records), sum([len(record.value) for record in records]))
        finally:
            await consumer.stop()
        return clock.outcome()

    return asyncio.run(consume())


def _from_kafka_python(spec: ClientSpec, expected: int) -> Outcome:
    from kafka import KafkaConsumer

    clock = _Clock(spec, expected)
    consumer = KafkaConsumer(spec.topic, bootstrap_servers=spec.address, auto_offset_reset="earliest")
    while clock.goes_on():
        for records in consumer.poll(1_000, max_records=POLL_RECORDS).values():
            clock.took(len(records), sum([len(record.value) for record in records]))
    consumer.close()
    return clock.outcome()


def _from_confluent(spec: ClientSpec, expected: int) -> Outcome:
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    clock = _Clock(spec, expected)
    settings: dict[str, Any] = {"bootstrap.servers": spec.address, "group.id": "none", "enable.auto.commit": False}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(spec.topic, 0, OFFSET_BEGINNING)])
    while clock.goes_on():
        records = consumer.consume(POLL_RECORDS, 0.1)
        clock.took(len(records), sum([len(record.value() or b"") for record in records]))
    consumer.close()
    return clock.outcome()


Work = Callable[[ClientSpec, int], Outcome]

PRODUCE: Final[Mapping[str, Work]] = {
    "minibroker": _with_minibroker,
    "aiokafka": _with_aiokafka,
    "kafka-python": _with_kafka_python,
    "confluent": _with_confluent,
}
CONSUME: Final[Mapping[str, Work]] = {
    "minibroker": _from_minibroker,
    "minibroker-batches": _from_minibroker_batches,
    "aiokafka": _from_aiokafka,
    "kafka-python": _from_kafka_python,
    "confluent": _from_confluent,
}
