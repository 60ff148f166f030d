"""Sends what a producer has buffered: which batches are due, to which broker, and what to do with the answers.

One task (`run`) sleeps until something is due. Requests are submitted with callbacks, so a request costs neither a task
nor, while the pipeline is full, a wake-up.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import attrs
import trio

from minibroker.client.batches import Batch
from minibroker.client.cluster import STALE, Cluster
from minibroker.client.connection import Connection
from minibroker.client.errors import DeliveryTimeout, NotSupportedByBroker
from minibroker.client.metadata import NO_ID, TopicPartition
from minibroker.client.partition_queue import PartitionQueue, ProducerIdentity, Verdict
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode, KafkaError, error_for
from minibroker.protocol.messages.init_producer_id import InitProducerIdRequest
from minibroker.protocol.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)

FIRST_VERSION_WITH_TOPIC_IDS = 13
NO_TRANSACTIONS = 2**31 - 1
INFINITY = float("inf")


class SenderSettings(Protocol):
    """The part of a producer's settings that the sender needs."""

    acks: int
    idempotent: bool
    max_in_flight: int
    max_request_bytes: int
    delivery_timeout_ms: float


@attrs.define(eq=False)
class Sender:
    """Owns the queues of all partitions."""

    cluster: Cluster
    settings: SenderSettings
    on_settled: Callable[[Batch], None]
    """Called when a batch has succeeded, failed or been split."""
    queues: dict[TopicPartition, PartitionQueue] = attrs.Factory(dict)
    hurry: bool = False
    """Nothing lingers: someone flushes, closes or waits for buffer memory."""
    _active: dict[PartitionQueue, None] = attrs.Factory(dict)
    _identity: ProducerIdentity | None = None
    _identity_wanted: bool = False
    _requests: dict[int, int] = attrs.Factory(dict)
    """Node id → requests in flight."""
    _fatal: KafkaError | None = None
    _wake: trio.Event = attrs.Factory(trio.Event)

    def wake(self) -> None:
        """Look again what is due."""
        self._wake.set()

    def queue(self, partition: TopicPartition) -> PartitionQueue:
        """The queue of a partition."""
        queue = self.queues.get(partition)
        if queue is None:
            queue = self.queues[partition] = PartitionQueue(partition)
        return queue

    def add(self, queue: PartitionQueue, batch: Batch) -> None:
        """Take a new batch, which goes on filling."""
        queue.add(batch)
        self._active[queue] = None
        self.wake()

    def unsettled(self) -> list[Batch]:
        """What has been added and not settled."""
        return [batch for queue in self._active for batch in (*queue.in_flight, *queue.waiting) if not batch.done]

    async def run(self) -> None:
        """Send what is due, for as long as the producer is open."""
        self.cluster.on_change.append(self.wake)
        while True:
            self._wake = trio.Event()
            if self._identity_wanted:
                await self._get_identity()
            due_at = self._send_due(trio.current_time())
            with trio.move_on_at(due_at):
                await self._wake.wait()

    def abandon(self, error: KafkaError) -> None:
        """Fail everything that is left."""
        for queue in list(self._active):
            for batch in [*queue.in_flight, *queue.waiting]:
                self._fail(queue, batch, error)
        self._active.clear()

    # Choosing what to send.

    def _send_due(self, now: float) -> float:
        """Send what can be sent; return when to look again, unless woken."""
        due_at = INFINITY
        by_node: dict[int, list[PartitionQueue]] = {}
        for queue in list(self._active):
            due_at = min(due_at, self._expire(queue, now))
            if not queue.waiting:
                if not queue.in_flight:
                    del self._active[queue]
                continue
            ready_at = queue.ready_at(self.hurry)
            if ready_at > now:
                due_at = min(due_at, ready_at)
                continue
            node_id = self.cluster.info.leader(queue.partition)
            if node_id < 0:
                self.cluster.request_refresh()
            elif not queue.blocked(node_id):
                by_node.setdefault(node_id, []).append(queue)
        for node_id, queues in by_node.items():
            self._send_to(node_id, queues, now)
        return due_at

    def _expire(self, queue: PartitionQueue, now: float) -> float:
        """Give up what has passed its deadline; return the next deadline."""
        while queue.waiting and queue.waiting[0].deadline <= now:
            batch = queue.waiting[0]
            queue.remove(batch)
            self._time_out(batch)
        deadlines = [queue.waiting[0].deadline] if queue.waiting else []
        for batch in queue.in_flight:
            if not batch.done and batch.deadline <= now:
                self._time_out(batch)  # but it keeps its place until its answer comes: it may yet have been stored
            elif not batch.done:
                deadlines.append(batch.deadline)
        return min(deadlines, default=INFINITY)

    def _time_out(self, batch: Batch) -> None:
        trouble = self.cluster.trouble(self.cluster.info.leader(batch.partition))
        reason = batch.last_error or trouble or "the broker has not answered"
        limit_ms = self.settings.delivery_timeout_ms
        self._settle(
            batch, -1, -1, DeliveryTimeout(f"not delivered to {batch.partition} in {limit_ms:.0f} ms: {reason}")
        )

    def _send_to(self, node_id: int, queues: list[PartitionQueue], now: float) -> None:
        connection = self.cluster.ready_connection(node_id)
        if connection is None:
            return
        if self._fatal is not None:
            self.abandon(self._fatal)
            return
        if self.settings.idempotent and self._identity is None:
            self._identity_wanted = True
            self.wake()
            return
        while queues and self._requests.get(node_id, 0) < self.settings.max_in_flight:
            batches = self._take(node_id, queues)
            try:
                self._submit(node_id, connection, batches)
            except KafkaError as error:
                self._on_failure(batches, error)
                self.wake()  # what is worth a retry has become due at a time that nobody has looked at yet
                return
            queues = [
                queue
                for queue in queues
                if queue.waiting and not queue.blocked(node_id) and queue.ready_at(self.hurry) <= now
            ]

    def _take(self, node_id: int, queues: list[PartitionQueue]) -> list[Batch]:
        """One batch of each queue, as far as they fit in one request; at least one."""
        batches: list[Batch] = []
        size_bytes = 0
        for queue in queues:
            size_bytes += queue.waiting[0].builder.size_bytes
            if batches and size_bytes > self.settings.max_request_bytes:
                break
            batches.append(queue.take(node_id, self._identity))
        for batch in batches:  # those that were left out come first in the next request
            queue = self.queues[batch.partition]
            self._active[queue] = self._active.pop(queue)
        return batches

    def _submit(self, node_id: int, connection: Connection, batches: list[Batch]) -> None:
        info = self.cluster.info
        ids_known = all(info.topic_id(batch.partition.topic) != NO_ID for batch in batches)
        version = connection.version_of(ApiKey.PRODUCE, None if ids_known else FIRST_VERSION_WITH_TOPIC_IDS - 1)
        topics: dict[str, TopicProduceData] = {}
        for batch in batches:
            name, index = batch.partition
            topic = topics.get(name)
            if topic is None:
                topic = topics[name] = TopicProduceData(name=name, topic_id=info.topic_id(name))
            topic.partition_data.append(PartitionProduceData(index=index, records=batch.encode()))
        timeout_ms = self.cluster.settings.request_timeout_ms
        request = ProduceRequest(acks=self.settings.acks, timeout_ms=int(timeout_ms), topic_data=list(topics.values()))
        on_response = partial(self._on_response, node_id, batches)
        self._requests[node_id] = self._requests.get(node_id, 0) + 1
        try:
            if self.settings.acks:
                connection.submit(request, version, timeout_ms / 1000, on_response)
            else:
                connection.submit_unanswered(request, version, on_response)
        except KafkaError:
            self._requests[node_id] -= 1
            raise

    # Answers.

    def _on_response(
        self, node_id: int, batches: list[Batch], response: ProduceResponse | None, error: KafkaError | None
    ) -> None:
        self._requests[node_id] -= 1
        if error is not None:
            self._on_failure(batches, error)
        elif response is None:  # acks=0
            for batch in batches:
                self._stored(self.queues[batch.partition], batch, -1, -1)
        else:
            self._on_answers(batches, response)
        if self._active:
            self.wake()

    def _on_answers(self, batches: list[Batch], response: ProduceResponse) -> None:
        topic_ids = {self.cluster.info.topic_id(batch.partition.topic): batch.partition.topic for batch in batches}
        answers: dict[tuple[str, int], PartitionProduceResponse] = {}
        for topic in response.responses:
            name = topic.name or topic_ids.get(topic.topic_id, "")
            answers.update({(name, answer.index): answer for answer in topic.partition_responses})
        for batch in batches:
            queue = self.queues[batch.partition]
            answer = answers.get(batch.partition)
            if answer is None:  # an id that changed under way: the topic was made anew
                self._on_error(queue, batch, error_for(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
            elif answer.error_code in (ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER):
                self._stored(queue, batch, answer.base_offset, answer.log_append_time_ms)
            else:
                for refused in answer.record_errors:
                    batch.record_errors[refused.batch_index] = refused.batch_index_error_message or ""
                self._on_error(queue, batch, error_for(answer.error_code, answer.error_message or ""))

    def _on_failure(self, batches: list[Batch], error: KafkaError) -> None:
        for batch in batches:
            self._on_error(self.queues[batch.partition], batch, error)

    def _stored(self, queue: PartitionQueue, batch: Batch, base_offset: int, log_append_time_ms: int) -> None:
        queue.acknowledged(batch)
        if not batch.done:
            self._settle(batch, base_offset, log_append_time_ms, None)

    def _on_error(self, queue: PartitionQueue, batch: Batch, error: KafkaError) -> None:
        verdict = queue.judge(batch, error.code)
        if batch.done:  # its delivery timeout has passed meanwhile
            queue.remove(batch)
        elif verdict is Verdict.FAIL:
            self._fail(queue, batch, error)
        elif verdict is Verdict.SPLIT:
            queue.remove(batch)
            for half in batch.split():
                queue.put_back(half)
            self.on_settled(batch)
        else:
            batch.attempts += 1
            batch.last_error = error
            batch.not_before = trio.current_time() + self.cluster.settings.retry_backoff.pause_s(batch.attempts)
            if verdict is not Verdict.RETRY:
                self._restart(queue, batch, verdict)
            queue.put_back(batch)
        if error.code in STALE:
            self.cluster.request_refresh()

    def _restart(self, queue: PartitionQueue, batch: Batch, verdict: Verdict) -> None:
        queue.restart()
        if batch.identity is self._identity and self._identity is not None:  # else another partition was the first
            self._identity = self._identity.bumped() if verdict is Verdict.RESTART else None

    def _fail(self, queue: PartitionQueue, batch: Batch, error: KafkaError) -> None:
        queue.remove(batch)
        if not batch.done:
            self._settle(batch, -1, -1, error)

    def _settle(self, batch: Batch, base_offset: int, log_append_time_ms: int, error: KafkaError | None) -> None:
        batch.complete(base_offset, log_append_time_ms, error)
        self.on_settled(batch)

    async def _get_identity(self) -> None:
        """Get a producer id. A final refusal fails every batch; what is worth a retry is tried again."""
        self._identity_wanted = False
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=NO_TRANSACTIONS)
        try:
            response = await self.cluster.request(request)
            if response.error_code:
                raise error_for(response.error_code)
        except KafkaError as error:
            if error.code.retriable:
                await trio.sleep(self.cluster.settings.retry_backoff.pause_s(1))
            else:
                advice = "; use idempotent=False with it" if isinstance(error, NotSupportedByBroker) else ""
                self._fatal = type(error)(error.message + advice)
            self.wake()
        else:
            self._identity = ProducerIdentity(response.producer_id, response.producer_epoch)
