"""What a producer has been given and not yet delivered: batches, and the handles by which a caller follows a record."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import trio

from minibroker.client.metadata import TopicPartition
from minibroker.protocol.errors import KafkaError
from minibroker.records.builder import BatchBuilder
from minibroker.records.record import Record, read_records

if TYPE_CHECKING:
    from minibroker.client.partition_queue import ProducerIdentity


@attrs.frozen(kw_only=True)
class RecordMetadata:
    """Where a record has been stored."""

    topic: str
    partition: int
    offset: int
    """-1 if the broker did not say: with acks=0, or when it had the batch already and forgot where."""
    timestamp_ms: int
    """The record's own time, or the broker's for topics with `message.timestamp.type=LogAppendTime`."""


@attrs.define(eq=False)
class Batch:
    """Records for one partition that are sent, and succeed or fail, together."""

    partition: TopicPartition
    builder: BatchBuilder
    number: float
    """Counts up in each partition: the order in which batches must be stored."""
    linger_until: float
    deadline: float
    """When the delivery timeout ends. Both are times of `trio.current_time`."""
    on_urgent: Callable[[], None]
    span: float = 1.0
    """To the next batch's number: what the halves of a split batch share."""
    closed: bool = False
    """Takes no more records."""
    urgent: bool = False
    """Somebody waits for it: it does not linger."""
    attempts: int = 0
    not_before: float = 0.0
    identity: ProducerIdentity | None = None
    """Under which producer id and epoch its sequence was given; None before it is first sent."""
    sequence: int = -1
    payload: bytearray | None = None
    """The encoded batch, kept for a retry."""
    done: bool = False
    base_offset: int = -1
    log_append_time_ms: int = -1
    error: KafkaError | None = None
    last_error: KafkaError | None = None
    """The last error that was worth a retry."""
    record_errors: dict[int, str] = attrs.Factory(dict)
    """Index in the batch → why the broker refused that record."""
    halves: tuple[Batch, Batch] | None = None
    """What it was split into, when it was too large for the broker."""
    watched: bool = False
    """Somebody waited for it, and has learnt of its error."""
    record_count: int = 0
    size_bytes: int = 0
    """Both are set when it is settled: then the builder is dropped, for handles may live long."""
    _done_event: trio.Event | None = None

    def encode(self) -> bytearray:
        """The bytes to send, under the present identity and sequence."""
        if self.payload is None:
            builder = self.builder
            if self.identity is not None:
                builder.producer_id, builder.producer_epoch = self.identity.producer_id, self.identity.epoch
                builder.base_sequence = self.sequence
            self.payload = builder.build()
        return self.payload

    def assign(self, identity: ProducerIdentity | None, sequence: int) -> None:
        """Give it its place in the producer's sequence; what was encoded before is void."""
        self.identity, self.sequence, self.payload = identity, sequence, None

    def complete(self, base_offset: int, log_append_time_ms: int, error: KafkaError | None = None) -> None:
        """Settle all of its records."""
        self.base_offset, self.log_append_time_ms, self.error = base_offset, log_append_time_ms, error
        self._settle()

    def split(self) -> tuple[Batch, Batch]:
        """Divide the records over two new batches, for a broker that finds this one too large."""
        records = read_records(self.encode(), max_bytes=1 << 31)
        middle = len(records) // 2
        span = self.span / 2
        self.halves = (
            self._part(records[:middle], self.number, span),
            self._part(records[middle:], self.number + span, span),
        )
        self._settle()
        return self.halves

    def _part(self, records: list[Record], number: float, span: float) -> Batch:
        builder = BatchBuilder(self.builder.codec, self.builder.level)
        for record in records:
            builder.append(record.timestamp_ms, record.key, record.value, record.headers)
        return Batch(
            partition=self.partition,
            builder=builder,
            number=number,
            span=span,
            linger_until=self.linger_until,
            deadline=self.deadline,
            on_urgent=self.on_urgent,
            closed=True,
        )

    def _settle(self) -> None:
        self.done = True
        self.record_count, self.size_bytes = self.builder.record_count, self.builder.size_bytes
        self.builder, self.payload = SPENT, None
        if self._done_event is not None:
            self._done_event.set()

    async def wait(self) -> None:
        """Wait until it is settled, and let it linger no longer."""
        if not self.urgent:
            self.urgent = True
            self.on_urgent()
        if self._done_event is None:
            self._done_event = trio.Event()
        await self._done_event.wait()


SPENT = BatchBuilder()


@attrs.define(eq=False)
class Delivery:
    """One record on its way."""

    _batch: Batch
    _index: int
    _timestamp_ms: int

    @property
    def done(self) -> bool:
        """Whether it was stored or given up."""
        return self._locate()[0].done

    async def wait(self) -> RecordMetadata:
        """Wait until the record is acknowledged as `acks` demands; its batch then lingers no longer.

        Raises KafkaError: the broker's final refusal, or DeliveryTimeout. Cancelling the wait does not stop the record.
        """
        batch, index = self._locate()
        if batch.done:
            await trio.lowlevel.checkpoint()
        while not batch.done:
            batch.watched = True
            await batch.wait()
            batch, index = self._locate()
        return self._result(batch, index)

    def result_nowait(self) -> RecordMetadata:
        """What `wait` would return, or raise, once `done`; before that raises trio.WouldBlock."""
        batch, index = self._locate()
        if not batch.done:
            raise trio.WouldBlock
        return self._result(batch, index)

    @property
    def error(self) -> KafkaError | None:
        """Why it was given up; None while it is under way and once it is stored."""
        batch, index = self._locate()
        if batch.error is None:
            return None
        return type(batch.error)(batch.record_errors.get(index) or batch.error.message)

    def _locate(self) -> tuple[Batch, int]:
        batch, index = self._batch, self._index
        while batch.halves is not None:
            first, second = batch.halves
            count = first.record_count or first.builder.record_count
            batch, index = (first, index) if index < count else (second, index - count)
        return batch, index

    def _result(self, batch: Batch, index: int) -> RecordMetadata:
        batch.watched = True
        if batch.error is not None:
            raise type(batch.error)(batch.record_errors.get(index) or batch.error.message)
        stamped = batch.log_append_time_ms
        return RecordMetadata(
            topic=batch.partition.topic,
            partition=batch.partition.partition,
            offset=batch.base_offset + index if batch.base_offset >= 0 else -1,
            timestamp_ms=stamped if stamped >= 0 else self._timestamp_ms,
        )
