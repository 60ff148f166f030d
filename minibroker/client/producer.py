"""The producer: buffers records per partition and delivers them in order, each once as far as Kafka promises it.

async with Producer("127.0.0.1:9092") as producer:
    delivery = await producer.send("orders", b"value", key=b"key")
    metadata = await delivery.wait()
"""

from __future__ import annotations

import contextlib
import time
from types import TracebackType

import attrs
import trio

from minibroker.client.base import Client
from minibroker.client.batches import Batch, Delivery
from minibroker.client.cluster import Cluster
from minibroker.client.errors import ClientClosed, RequestTimeout
from minibroker.client.metadata import ClusterInfo, TopicInfo, TopicPartition
from minibroker.client.partition_queue import PartitionQueue
from minibroker.client.partitioner import StickyPartitioner, partition_of_key
from minibroker.client.sender import Sender
from minibroker.client.settings import ClusterSettings
from minibroker.protocol.errors import KafkaError, MessageTooLarge, UnknownTopicOrPartition, error_for
from minibroker.records.batch import HEADER_BYTES
from minibroker.records.builder import BatchBuilder, RecordHeaders, max_record_bytes
from minibroker.records.compression import Codec

SENDS_PER_CHECKPOINT = 128
"""`send` gives way to other tasks this often; a checkpoint each time would cost twice as much as the record itself."""

FAILED_EXIT_FLUSH_S = 5.0
"""How long a block that is left by an exception still tries to deliver what it has sent."""

MAX_REMEMBERED_FAILURES = 64
"""Batches that failed and that nobody has asked about: enough for `flush` to find one to raise."""

RECORD_OVERHEAD_BYTES = 64
"""More than the framing of a record without headers, which is 36 bytes at most."""


@attrs.define(eq=False)
class _Topic:
    """A topic that is being written to."""

    name: str
    queues: list[PartitionQueue]
    sticky: StickyPartitioner = attrs.Factory(StickyPartitioner)
    info: ClusterInfo | None = None
    available: list[int] = attrs.Factory(list)
    """The partitions that have a leader."""


def _acks(acks: int | str) -> int:
    known = {"all": -1, "-1": -1, "1": 1, "0": 0}
    if str(acks) not in known:
        raise ValueError(f"expected acks of 'all', 1 or 0, found {acks!r}")
    return known[str(acks)]


def _codec(compression: str | Codec) -> Codec:
    if isinstance(compression, Codec):
        return compression
    if compression.upper() not in Codec.__members__:
        known = ", ".join(codec.name.lower() for codec in Codec)
        raise ValueError(f"expected a compression of {known}, found {compression!r}")
    return Codec[compression.upper()]


@attrs.define(eq=False, kw_only=True, on_setattr=attrs.setters.NO_OP)
class Producer(Client, ClusterSettings):
    """Sends records. Use it in `async with`; leaving the block delivers what is buffered.

    One producer may be shared by any number of tasks. Order is kept per partition, also under retries. Settings have
    Kafka's names and meanings; ValueError says which contradict each other.
    """

    acks: int = attrs.field(default=-1, converter=_acks)
    """"all" (or -1), 1 or 0."""
    idempotent: bool = attrs.field(default=attrs.Factory(lambda self: self.acks == -1, takes_self=True))
    """On by default with acks="all"."""
    compression: Codec = attrs.field(default=Codec.NONE, converter=_codec)
    """`none`, `gzip`, `snappy`, `lz4` or `zstd`."""
    compression_level: int | None = None
    linger_ms: float = 5
    """How long a batch waits for company, unless somebody waits for it (`Delivery.wait`, `flush`)."""
    batch_bytes: int = 262_144
    """When a batch is full, before compression. Larger than Java's 16 KiB, as a batch costs more in Python."""
    max_request_bytes: int = 1_048_576
    buffer_bytes: int = 33_554_432
    """When so much is buffered, `send` waits."""
    max_in_flight: int = 5
    """Requests to one broker at a time."""
    delivery_timeout_ms: float = 120_000
    """How long a record may take from `send` to its acknowledgement."""
    max_block_ms: float = 60_000
    """How long `send` may wait for buffer memory, or for the topic to be known."""
    client_id: str = "minibroker-producer"

    _cluster: Cluster = attrs.field(init=False, default=attrs.Factory(Cluster, takes_self=True))
    _sender: Sender = attrs.field(init=False)
    _topics: dict[str, _Topic] = attrs.field(init=False, factory=dict)
    _free_bytes: int = attrs.field(init=False)
    _sends: int = attrs.field(init=False, default=0)
    _room: trio.lowlevel.ParkingLot = attrs.field(init=False, factory=trio.lowlevel.ParkingLot)
    _waiting_for_room: int = attrs.field(init=False, default=0)
    _failed: list[Batch] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        if self.idempotent and self.acks != -1:
            raise ValueError("an idempotent producer needs acks='all'")
        if self.idempotent and not 1 <= self.max_in_flight <= 5:
            raise ValueError(f"an idempotent producer needs max_in_flight of 1 to 5, found {self.max_in_flight}")
        self._sender = Sender(self._cluster, self, self._on_settled)
        self._free_bytes = self.buffer_bytes

    # Sending.

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: RecordHeaders = (),
        timestamp_ms: int | None = None,
    ) -> Delivery:
        """Buffer a record, and return a handle by which its delivery can be awaited.

        Waits while the buffer is full and, the first time, until the topic is known. A record whose handle nobody
        awaits is not forgotten if it fails: `flush`, and the end of the block, raise the first such error.

        Raises MessageTooLarge, UnknownTopicOrPartition (no such partition), RequestTimeout (`max_block_ms` is over),
        ClientClosed. Cancelled, it has buffered nothing.
        """
        if topic not in self._topics:
            await self._wait_topic(topic)
        if self._free_bytes <= 0:
            await self._wait_room()
        self._sends += 1
        if not self._sends % SENDS_PER_CHECKPOINT:
            await trio.lowlevel.checkpoint()
        return self.send_nowait(topic, value, key, partition, headers, timestamp_ms)

    def send_nowait(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        headers: RecordHeaders = (),
        timestamp_ms: int | None = None,
    ) -> Delivery:
        """`send` without waiting. Raises trio.WouldBlock if the buffer is full or the topic not known yet.

        Nothing is sent before the calling task reaches a checkpoint.
        """
        target = self._topics.get(topic)
        if target is None or self._free_bytes <= 0:
            raise trio.WouldBlock
        if partition is not None:
            queue = self._explicit(target, partition)
        elif key is not None:
            queue = target.queues[partition_of_key(key, len(target.queues))]
        else:
            queue = target.queues[target.sticky.current]
        size = len(value or b"") + len(key or b"") + RECORD_OVERHEAD_BYTES
        if headers:
            size = max_record_bytes(key, value, headers)
        batch = queue.open
        if batch is None or batch.builder.size_bytes + size > self.batch_bytes:
            queue, batch = self._new_batch(target, queue, size, key is None and partition is None)
        builder = batch.builder
        before = builder.size_bytes
        if timestamp_ms is None:
            timestamp_ms = time.time_ns() // 1_000_000
        index = builder.record_count
        builder.append(timestamp_ms, key, value, headers)
        self._free_bytes -= builder.size_bytes - before
        return Delivery(batch, index, timestamp_ms)

    async def flush(self) -> None:
        """Deliver everything buffered so far, without lingering, and wait until it is settled.

        Raises the error of the first record that failed and whose handle nobody awaited.
        """
        unsettled = self._sender.unsettled()
        for batch in unsettled:
            batch.urgent = True
        self._sender.wake()
        while unsettled:
            batch = unsettled.pop()
            if not batch.done:
                await batch.wait()
            unsettled.extend(batch.halves or ())
        await trio.lowlevel.checkpoint()
        failed, self._failed = self._failed, []
        for batch in failed:
            if batch.error is not None and not batch.watched:
                batch.watched = True
                raise type(batch.error)(batch.error.message)

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises like `send`."""
        if topic not in self._topics:
            await self._wait_topic(topic)
        self._refresh_topic(self._topics[topic])
        return len(self._topics[topic].queues)

    # Batches.

    def _new_batch(
        self, target: _Topic, queue: PartitionQueue, size: int, sticky: bool
    ) -> tuple[PartitionQueue, Batch]:
        if size > self.max_request_bytes:
            raise MessageTooLarge(f"a record of about {size} bytes exceeds max_request_bytes={self.max_request_bytes}")
        self._check_open()
        self._refresh_topic(target)
        if sticky:
            queue.close_open()
            queue = target.queues[target.sticky.move_on(target.available)]
        batch = queue.open
        if batch is not None and batch.builder.size_bytes + size <= self.batch_bytes:
            return queue, batch
        now = trio.current_time()
        batch = Batch(
            partition=queue.partition,
            builder=BatchBuilder(self.compression, self.compression_level),
            number=queue.next_number(),
            linger_until=now + self.linger_ms / 1000,
            deadline=now + self.delivery_timeout_ms / 1000,
            on_urgent=self._sender.wake,
        )
        self._sender.add(queue, batch)
        return queue, batch

    def _explicit(self, target: _Topic, partition: int) -> PartitionQueue:
        if partition >= len(target.queues):
            self._refresh_topic(target)
        if not 0 <= partition < len(target.queues):
            count = len(target.queues)
            raise UnknownTopicOrPartition(f"{target.name} has {count} partitions, numbered from 0; found {partition}")
        return target.queues[partition]

    def _refresh_topic(self, target: _Topic) -> None:
        """Follow the metadata: new partitions, and which have leaders."""
        info = self._cluster.info
        if target.info is info:
            return
        target.info = info
        topic = info.topics.get(target.name, TopicInfo(name=target.name))
        for index in range(len(target.queues), len(topic.partitions)):
            target.queues.append(self._sender.queue(TopicPartition(target.name, index)))
        led = [index for index, partition in topic.partitions.items() if partition.leader >= 0]
        target.available = led or target.available or list(range(len(target.queues)))

    def _on_settled(self, batch: Batch) -> None:
        self._free_bytes += batch.size_bytes - HEADER_BYTES
        for half in batch.halves or ():  # the offsets of a half are shorter, so its size must be counted anew
            self._free_bytes -= half.builder.size_bytes - HEADER_BYTES
        if batch.error is not None and not batch.watched and len(self._failed) < MAX_REMEMBERED_FAILURES:
            self._failed.append(batch)
        if self._free_bytes > 0 and self._room:
            self._room.unpark_all()

    # Waiting.

    async def _wait_room(self) -> None:
        self._waiting_for_room += 1
        self._sender.hurry = True
        self._sender.wake()
        try:
            with trio.move_on_after(self.max_block_ms / 1000):
                while self._free_bytes <= 0:
                    await self._room.park()
                return
        finally:
            self._waiting_for_room -= 1
            self._sender.hurry = self._waiting_for_room > 0
        raise RequestTimeout(
            f"the buffer of {self.buffer_bytes} bytes is still full after {self.max_block_ms:.0f} ms: "
            f"the brokers take less than is sent"
        )

    async def _wait_topic(self, name: str) -> None:
        self._check_open()
        reason: object = "the cluster has not answered"
        with trio.move_on_after(self.max_block_ms / 1000):
            self._cluster.watch([name])
            while True:
                info = self._cluster.info.topics.get(name)
                if info is not None and info.partitions and not info.error_code:
                    break
                if info is not None and info.error_code:
                    error = error_for(info.error_code, f"topic {name!r}")
                    if not error.code.retriable:
                        raise error
                    reason = error
                self._cluster.request_refresh()
                try:
                    await self._cluster.wait_refresh()
                except KafkaError as error:
                    reason = error
            if name not in self._topics:
                topic = _Topic(name, [])
                self._refresh_topic(topic)
                topic.sticky.move_on(topic.available)
                self._topics[name] = topic
            return
        raise RequestTimeout(f"topic {name!r} is not known after {self.max_block_ms:.0f} ms: {reason}")

    # Life.

    def _open(self) -> None:
        self._cluster.tasks.start(self._sender.run, name="producer")

    async def _close(self, error: BaseException | None) -> None:
        if error is None:
            await self.flush()
        elif isinstance(error, Exception):
            with trio.move_on_after(FAILED_EXIT_FLUSH_S), contextlib.suppress(KafkaError):
                await self.flush()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            self._sender.abandon(ClientClosed("the producer was closed before this was delivered"))
