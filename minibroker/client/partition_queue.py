"""The batches of one partition between buffer and broker: their order, and their sequence numbers (KIP-98, KIP-360).

Order is kept whatever fails. With idempotence several batches may be in flight, because the broker refuses one whose
predecessor is missing (OUT_OF_ORDER_SEQUENCE_NUMBER) and it is then sent again behind it. There is only one at a time
without idempotence, and until the broker, which takes any first sequence, has acknowledged a first batch.

A refused batch that has no predecessor left waits for something that will never come (a predecessor failed for good, or
the broker lost its memory of the producer). Then the producer's epoch is bumped and the partition starts again at
sequence 0; nothing behind that batch can have been stored either, so nothing is doubled.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

import attrs

from minibroker.client.batches import Batch
from minibroker.client.metadata import TopicPartition
from minibroker.protocol.errors import ErrorCode
from minibroker.records.batch import MAX_SEQUENCE

MAX_EPOCH = 2**15 - 1


@attrs.frozen
class ProducerIdentity:
    """Who the broker takes this producer for."""

    producer_id: int
    epoch: int

    def bumped(self) -> ProducerIdentity | None:
        """The next epoch, which an idempotent producer may choose by itself; None when there is none left."""
        return ProducerIdentity(self.producer_id, self.epoch + 1) if self.epoch < MAX_EPOCH else None


class Verdict(Enum):
    """What to do about a batch after the broker's answer."""

    STORED = auto()
    RETRY = auto()
    RESTART = auto()
    """Retry, under a new epoch and from sequence 0."""
    RENEW = auto()
    """Retry, under a new producer id."""
    SPLIT = auto()
    FAIL = auto()


SEQUENCE_ERRORS = frozenset({ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode.UNKNOWN_PRODUCER_ID})
IDENTITY_ERRORS = frozenset({ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.INVALID_PRODUCER_ID_MAPPING})
SIZE_ERRORS = frozenset({ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.RECORD_LIST_TOO_LARGE})


@attrs.define(eq=False)
class PartitionQueue:
    """What one partition still has to deliver, in order."""

    partition: TopicPartition
    open: Batch | None = None
    """Takes new records; the last of `waiting`."""
    waiting: deque[Batch] = attrs.Factory(deque)
    in_flight: list[Batch] = attrs.Factory(list)
    node_id: int = -1
    """Where those in flight were sent."""
    identity: ProducerIdentity | None = None
    next_sequence: int = 0
    _established: bool = False
    _batches: int = 0

    def next_number(self) -> int:
        """The place of the next batch."""
        self._batches += 1
        return self._batches

    def add(self, batch: Batch) -> None:
        """Take a new batch, which becomes the open one."""
        self.close_open()
        self.open = batch
        self.waiting.append(batch)

    def close_open(self) -> None:
        """The open batch takes no more records."""
        if self.open is not None:
            self.open.closed = True
            self.open = None

    def ready_at(self, hurry: bool) -> float:
        """When the first waiting batch wants to be sent; -inf for at once."""
        head = self.waiting[0]
        if head.attempts:
            return head.not_before
        return float("-inf") if hurry or head.closed or head.urgent else head.linger_until

    def blocked(self, node_id: int) -> bool:
        """Whether nothing may be sent to that broker until an answer comes."""
        if not self.in_flight:
            return False
        if self.identity is None or not self._established or node_id != self.node_id:
            return True
        return any(batch.identity is not self.identity for batch in self.in_flight)

    def take(self, node_id: int, identity: ProducerIdentity | None) -> Batch:
        """The next batch to send; it is in flight from now on. `identity` is the producer's present one."""
        head = self.waiting[0]
        if identity is not self.identity and not self.in_flight and head.identity is None:
            self.identity, self.next_sequence, self._established = identity, 0, False
        self.waiting.popleft()
        if head is self.open:
            self.close_open()
        if self.identity is not None and head.identity is None:
            head.assign(self.identity, self.next_sequence)
            self.next_sequence = (self.next_sequence + head.builder.record_count) & MAX_SEQUENCE
        self.in_flight.append(head)
        self.node_id = node_id
        return head

    def acknowledged(self, batch: Batch) -> None:
        """The broker has stored it."""
        self.in_flight.remove(batch)
        if batch.identity is self.identity:
            self._established = True

    def remove(self, batch: Batch) -> None:
        """It is given up, or replaced."""
        if batch in self.in_flight:
            self.in_flight.remove(batch)
        else:
            self.waiting.remove(batch)
            if batch is self.open:
                self.close_open()

    def put_back(self, batch: Batch) -> None:
        """Let it wait again, at its place in the order."""
        if batch in self.in_flight:
            self.in_flight.remove(batch)
        if batch.identity is not None and batch.identity is not self.identity:
            batch.assign(None, -1)  # the partition has started again since it was sent
        place = sum(other.number < batch.number for other in self.waiting)
        self.waiting.insert(place, batch)

    def restart(self) -> None:
        """Forget the sequence: what waits, and what comes back, gets new numbers under the next identity."""
        self.identity = None
        for batch in self.waiting:
            batch.assign(None, -1)

    def is_oldest(self, batch: Batch) -> bool:
        """Whether no earlier batch is undecided."""
        return not any(other.number < batch.number for other in (*self.in_flight, *self.waiting))

    def judge(self, batch: Batch, code: ErrorCode) -> Verdict:
        """What to do about the broker's answer to a batch that is in flight."""
        if code in (ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER):
            return Verdict.STORED
        if batch.identity is not None and code in SEQUENCE_ERRORS | IDENTITY_ERRORS:
            if batch.identity is not self.identity or not self.is_oldest(batch):
                return Verdict.RETRY
            return Verdict.RESTART if code in SEQUENCE_ERRORS else Verdict.RENEW
        if code in SIZE_ERRORS and batch.builder.record_count > 1:
            return Verdict.SPLIT
        return Verdict.RETRY if code.retriable else Verdict.FAIL
