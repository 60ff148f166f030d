"""The same few things, done with each foreign Python client: write records, read records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import attrs

DEADLINE_S = 30


@attrs.frozen
class Message:
    """A record as every client can say it."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...] = ()


def write_with_confluent(address: str, topic: str, messages: Sequence[Message], codec: str, acks: str = "all") -> None:
    """librdkafka."""
    from confluent_kafka import Producer

    failures: list[object] = []
    producer = Producer(
        {
            "bootstrap.servers": address,
            "compression.type": codec,
            "acks": acks,
            "linger.ms": 5,
            "enable.idempotence": acks == "all",
        }
    )
    for message in messages:
        producer.produce(
            topic,
            value=message.value,
            key=message.key,
            timestamp=message.timestamp_ms,
            headers=list(message.headers),
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    assert producer.flush(DEADLINE_S) == 0
    assert failures == []


def write_with_aiokafka(address: str, topic: str, messages: Sequence[Message], codec: str) -> None:
    """aiokafka, idempotent."""
    from aiokafka import AIOKafkaProducer

    async def write() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=address,
            compression_type=None if codec == "none" else codec,
            enable_idempotence=True,
            linger_ms=5,
        )
        await producer.start()
        try:
            sent = [
                await producer.send(
                    topic, message.value, message.key, timestamp_ms=message.timestamp_ms, headers=list(message.headers)
                )
                for message in messages
            ]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    asyncio.run(write())


def write_with_kafka_python(address: str, topic: str, messages: Sequence[Message], codec: str) -> None:
    """kafka-python."""
    from kafka import KafkaProducer

    producer = KafkaProducer(
        bootstrap_servers=address, compression_type=None if codec == "none" else codec, acks="all", linger_ms=5
    )
    try:
        sent = [
            producer.send(
                topic, message.value, message.key, timestamp_ms=message.timestamp_ms, headers=list(message.headers)
            )
            for message in messages
        ]
        for future in sent:
            future.get(DEADLINE_S)
    finally:
        producer.close()


def read_with_confluent(address: str, topic: str, count: int) -> list[Message]:
    """librdkafka; checks CRCs."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": address, "group.id": "none", "check.crcs": True})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found: list[Message] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(found) < count and time.monotonic() < deadline:
        for message in consumer.consume(count - len(found), 1.0):
            assert message.error() is None, message.error()
            found.append(
                Message(message.key(), message.value(), message.timestamp()[1], tuple(message.headers() or ()))
            )
    consumer.close()
    return found


def read_with_aiokafka(address: str, topic: str, count: int) -> list[Message]:
    """aiokafka."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    async def read() -> list[Message]:
        consumer = AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([TopicPartition(topic, 0)])
            found: list[Message] = []
            async with asyncio.timeout(DEADLINE_S):
                while len(found) < count:
                    record = await consumer.getone()
                    found.append(Message(record.key, record.value, record.timestamp, tuple(record.headers)))
            return found
        finally:
            await consumer.stop()

    return asyncio.run(read())


def read_with_kafka_python(address: str, topic: str, count: int) -> list[Message]:
    """kafka-python."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest")
    try:
        consumer.assign([TopicPartition(topic, 0)])
        found: list[Message] = []
        deadline = time.monotonic() + DEADLINE_S
        while len(found) < count and time.monotonic() < deadline:
            for records in consumer.poll(1000).values():
                found += [
                    Message(record.key, record.value, record.timestamp, tuple(record.headers)) for record in records
                ]
        return found
    finally:
        consumer.close()


Writer = Callable[[str, str, Sequence[Message], str], None]
Reader = Callable[[str, str, int], list[Message]]

WRITERS: dict[str, Writer] = {
    "confluent": write_with_confluent,
    "aiokafka": write_with_aiokafka,
    "kafka_python": write_with_kafka_python,
}
READERS: dict[str, Reader] = {
    "confluent": read_with_confluent,
    "aiokafka": read_with_aiokafka,
    "kafka_python": read_with_kafka_python,
}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
