"""The queue of a partition: order, sequence numbers, and what an answer means."""

from __future__ import annotations

import pytest

from minibroker.client.batches import Batch
from minibroker.client.metadata import TopicPartition
from minibroker.client.partition_queue import MAX_EPOCH, PartitionQueue, ProducerIdentity, Verdict
from minibroker.protocol.errors import ErrorCode
from minibroker.records.batch import MAX_SEQUENCE
from minibroker.records.builder import BatchBuilder

ME = ProducerIdentity(7, 0)


def add(queue: PartitionQueue, count: int = 3) -> Batch:
    """A full batch of so many records."""
    builder = BatchBuilder()
    for _ in range(count):
        builder.append(0, None, b"")
    batch = Batch(queue.partition, builder, queue.next_number(), 10.0, 100.0, lambda: None)
    queue.add(batch)
    return batch


@pytest.fixture
def queue() -> PartitionQueue:
    return PartitionQueue(TopicPartition("t", 0))


def test_sequences_count_records(queue: PartitionQueue) -> None:
    """Each batch goes on where the one before ends, and after the largest number comes 0."""
    batches = [add(queue, count) for count in (3, 2, 4)]
    queue.take(1, ME)
    queue.acknowledged(batches[0])
    queue.take(1, ME)
    queue.next_sequence = MAX_SEQUENCE - 1
    queue.take(1, ME)
    assert [batch.sequence for batch in batches] == [0, 3, MAX_SEQUENCE - 1]
    assert queue.next_sequence == 2


def test_one_at_a_time_until_the_broker_knows_the_producer(queue: PartitionQueue) -> None:
    """Since it takes any first sequence; then several, but not to two brokers; and never without idempotence."""
    first, second, *_ = [add(queue) for _ in range(4)]
    queue.take(1, ME)
    assert queue.blocked(1)
    queue.acknowledged(first)
    queue.take(1, ME)
    assert not queue.blocked(1)
    assert queue.blocked(2)
    queue.acknowledged(second)
    assert not queue.blocked(2)
    plain = PartitionQueue(TopicPartition("t", 1))
    for _ in range(2):
        add(plain)
    plain.take(1, None)
    assert plain.blocked(1)


def test_what_comes_back_waits_at_its_place(queue: PartitionQueue) -> None:
    """In the order of creation, with the sequence it had, whichever comes back first."""
    batches = [add(queue) for _ in range(4)]
    queue.take(1, ME)
    queue.acknowledged(batches[0])
    for _ in range(2):
        queue.take(1, ME)
    queue.put_back(batches[2])
    queue.put_back(batches[1])
    assert list(queue.waiting) == batches[1:]
    assert [batch.sequence for batch in batches[1:]] == [3, 6, -1]


def test_a_restart_gives_new_sequences_once_the_old_ones_are_back(queue: PartitionQueue) -> None:
    """Nothing goes out in between, and then everything under the new epoch from 0 on."""
    batches = [add(queue) for _ in range(4)]
    queue.take(1, ME)
    queue.acknowledged(batches[0])
    for _ in range(2):
        queue.take(1, ME)
    queue.restart()
    queue.put_back(batches[1])
    assert queue.blocked(1)
    queue.put_back(batches[2])
    assert not queue.blocked(1)
    bumped = ME.bumped()
    queue.take(1, bumped)
    assert (batches[1].identity, batches[1].sequence) == (bumped, 0)


def test_epochs_end(queue: PartitionQueue) -> None:
    """After the last one a new producer id is needed."""
    assert ProducerIdentity(7, MAX_EPOCH - 1).bumped() == ProducerIdentity(7, MAX_EPOCH)
    assert ProducerIdentity(7, MAX_EPOCH).bumped() is None


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [
        (ErrorCode.NONE, Verdict.STORED, Verdict.STORED),
        (ErrorCode.DUPLICATE_SEQUENCE_NUMBER, Verdict.STORED, Verdict.STORED),
        (ErrorCode.NOT_LEADER_OR_FOLLOWER, Verdict.RETRY, Verdict.RETRY),
        (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, Verdict.RESTART, Verdict.RETRY),
        (ErrorCode.UNKNOWN_PRODUCER_ID, Verdict.RESTART, Verdict.RETRY),
        (ErrorCode.INVALID_PRODUCER_EPOCH, Verdict.RENEW, Verdict.RETRY),
        (ErrorCode.MESSAGE_TOO_LARGE, Verdict.SPLIT, Verdict.SPLIT),
        (ErrorCode.INVALID_RECORD, Verdict.FAIL, Verdict.FAIL),
        (ErrorCode.TOPIC_AUTHORIZATION_FAILED, Verdict.FAIL, Verdict.FAIL),
    ],
)
def test_an_answer_means(queue: PartitionQueue, code: ErrorCode, first: Verdict, second: Verdict) -> None:
    """For the oldest batch, and for one behind it: only the oldest can know that its predecessor will never come."""
    batches = [add(queue) for _ in range(3)]
    queue.take(1, ME)
    queue.acknowledged(batches[0])
    for _ in range(2):
        queue.take(1, ME)
    assert (queue.judge(batches[1], code), queue.judge(batches[2], code)) == (first, second)


def test_without_idempotence_sequence_errors_are_final(queue: PartitionQueue) -> None:
    """There is no sequence to restart."""
    batch = add(queue)
    queue.take(1, None)
    assert queue.judge(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER) is Verdict.FAIL


def test_a_batch_of_one_record_cannot_be_split(queue: PartitionQueue) -> None:
    """Too large is too large."""
    batch = add(queue, 1)
    queue.take(1, ME)
    assert queue.judge(batch, ErrorCode.MESSAGE_TOO_LARGE) is Verdict.FAIL


def test_when_a_batch_wants_to_go(queue: PartitionQueue) -> None:
    """At once if it is full, urgent, or in a hurry; after lingering; after its backoff, whatever the hurry."""
    batch = add(queue)
    assert queue.ready_at(hurry=False) == 10.0
    assert queue.ready_at(hurry=True) == float("-inf")
    batch.urgent = True
    assert queue.ready_at(hurry=False) == float("-inf")
    batch.attempts, batch.not_before = 1, 55.0
    assert queue.ready_at(hurry=True) == 55.0
