"""Group members of other clients, each in a thread of its own: what they own and what they have read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from typing import Any

import attrs


@attrs.define(eq=False)
class Member:
    """A foreign member; `stop` makes it leave."""

    bootstrap: str
    topic: str
    group: str
    assignors: tuple[str, ...]
    owned: int = 0
    read: set[tuple[int, int]] = attrs.Factory(set)
    """(partition, offset) of what it was handed."""
    stopping: threading.Event = attrs.Factory(threading.Event)
    problem: BaseException | None = None
    _thread: threading.Thread | None = None

    def start(self, work: Callable[[Member], None]) -> Member:
        """Run `work` in a thread."""

        def run() -> None:
            try:
                work(self)
            except BaseException as error:  # raised by stop, in the test's thread
                self.problem = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Leave the group. Raises what went wrong."""
        self.stopping.set()
        assert self._thread is not None
        self._thread.join(20)
        if self.problem is not None:
            raise self.problem


def confluent(member: Member) -> None:
    """librdkafka."""
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": member.bootstrap,
            "group.id": member.group,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": ",".join(member.assignors),
            "heartbeat.interval.ms": 200,
            "session.timeout.ms": 6000,
        }
    )
    consumer.subscribe([member.topic])
    while not member.stopping.is_set():
        message = consumer.poll(0.05)
        member.owned = len(consumer.assignment())
        if message is not None and message.error() is None:
            member.read.add((message.partition(), message.offset()))
    consumer.close()


def kafka_python(member: Member) -> None:
    """kafka-python."""
    from kafka import ConsumerRebalanceListener, KafkaConsumer
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

    known = {
        "range": RangePartitionAssignor,
        "roundrobin": RoundRobinPartitionAssignor,
        "sticky": StickyPartitionAssignor,
    }
    consumer = KafkaConsumer(
        bootstrap_servers=member.bootstrap,
        group_id=member.group,
        auto_offset_reset="earliest",
        partition_assignment_strategy=[known[name] for name in member.assignors],
        heartbeat_interval_ms=200,
        session_timeout_ms=6000,
    )

    class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
        def on_partitions_assigned(self, assigned: Collection[object]) -> None:
            member.owned = len(assigned)

        def on_partitions_revoked(self, revoked: Collection[object]) -> None:
            member.owned = 0

    consumer.subscribe([member.topic], listener=Listener())
    while not member.stopping.is_set():
        # Long polls: version 3.0.12 forgets its assignment, and ends its heartbeats, when a poll ends while it joins
        # again because partitions became known. Apache Kafka's initial delay of rebalances hides that.
        for records in consumer.poll(2000).values():
            member.read.update((record.partition, record.offset) for record in records)
    consumer.close()


def aiokafka(member: Member) -> None:
    """aiokafka."""
    from aiokafka import AIOKafkaConsumer
    from aiokafka.coordinator.assignors.range import RangePartitionAssignor
    from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

    known: dict[str, Any] = {
        "range": RangePartitionAssignor,
        "roundrobin": RoundRobinPartitionAssignor,
        "sticky": StickyPartitionAssignor,
    }

    async def work() -> None:
        consumer = AIOKafkaConsumer(
            member.topic,
            bootstrap_servers=member.bootstrap,
            group_id=member.group,
            auto_offset_reset="earliest",
            partition_assignment_strategy=[known[name] for name in member.assignors],
            heartbeat_interval_ms=200,
            session_timeout_ms=6000,
        )
        await consumer.start()
        while not member.stopping.is_set():
            for records in (await consumer.getmany(timeout_ms=50)).values():
                member.read.update((record.partition, record.offset) for record in records)
            member.owned = len(consumer.assignment())
        await consumer.stop()

    asyncio.run(work())


CLIENTS = {"confluent": confluent, "kafka_python": kafka_python, "aiokafka": aiokafka}
