"""Fetches ahead of the application: one long poll per broker at a time, into bounded buffers.

A broker answers a connection in order, and a long poll waits for news of the partitions it names. So a partition that
becomes fetchable meanwhile would wait as well. Two rules keep it from that: while a buffer is full, the others are
fetched without waiting; and a partition that was just assigned, moved or resumed breaks off the poll (the connection is
closed, since Kafka's protocol knows no other way to take a request back).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs
import trio

from minibroker.client.cluster import STALE, Cluster
from minibroker.client.consumer_settings import ConsumerSettings
from minibroker.client.errors import NoOffset
from minibroker.client.metadata import NO_ID, TopicPartition
from minibroker.client.offsets import Isolation
from minibroker.client.partition_state import PartitionState, Seek, Start
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import CorruptMessage, ErrorCode, KafkaError, error_for
from minibroker.protocol.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData

FIRST_VERSION_WITH_TOPIC_IDS = 13
IDLE_PAUSE_S = 0.05
"""How long to wait after an empty answer that did not wait itself."""


@attrs.define(eq=False)
class _Node:
    """The fetching from one broker."""

    wake: trio.Event = attrs.Factory(trio.Event)
    scope: trio.CancelScope | None = None
    """Cancels the request under way."""


@attrs.define(eq=False)
class Fetcher:
    """Fills the buffers of `states`."""

    cluster: Cluster
    settings: ConsumerSettings
    states: Mapping[TopicPartition, PartitionState]
    on_change: Callable[[], None]
    """Called when there is data, or an error, to hand out, or a position to be looked up."""
    _nodes: dict[int, _Node] = attrs.Factory(dict)

    def update(self) -> None:
        """Partitions or metadata changed: follow topics that were made anew, and wake who has something to fetch."""
        info = self.cluster.info
        for partition, state in self.states.items():
            topic_id = info.topic_id(partition.topic)
            if topic_id not in (NO_ID, state.topic_id):
                if state.topic_id != NO_ID:
                    self._made_anew(state)
                state.topic_id = topic_id
            node_id = info.leader(partition)
            if node_id < 0:
                self.cluster.request_refresh()
            elif node_id not in self._nodes:
                node = self._nodes[node_id] = _Node()
                self.cluster.tasks.start(self._run, node_id, node, name=f"fetching from broker {node_id}")
        self.wake()

    def wake(self) -> None:
        """Buffers have room again."""
        for node in self._nodes.values():
            node.wake.set()

    def interrupt(self, partitions: Iterable[TopicPartition]) -> None:
        """These partitions were assigned, moved or resumed: break off the polls that wait without them."""
        self.update()
        by_node = {self.cluster.info.leader(partition) for partition in partitions}
        for node_id, node in self._nodes.items():
            if node_id in by_node and node.scope is not None:
                node.scope.cancel()

    def _made_anew(self, state: PartitionState) -> None:
        """The topic was deleted and created again: all of it is news, and the old position means nothing."""
        self._seek(state, Start.EARLIEST, "was deleted and made anew")

    def _seek(self, state: PartitionState, start: Start, reason: str) -> None:
        """Have another position looked up, if the application wants that done for it."""
        if self.settings.auto_offset_reset is Start.ERROR:
            state.error = NoOffset(f"{state.partition} {reason}, and auto_offset_reset is 'error'")
        else:
            state.move_to(Seek(start))
        self.on_change()

    async def _run(self, node_id: int, node: _Node) -> None:
        failures = 0
        while True:
            node.wake = trio.Event()
            chosen, all_included, retry_at = self._choose(node_id)
            if not chosen:
                await self._wait(node, retry_at)
                continue
            got_data = True
            try:
                with trio.CancelScope() as node.scope:
                    got_data = await self._fetch(
                        node_id, chosen, self.settings.fetch_max_wait_ms if all_included else 0
                    )
                    failures = 0
            except KafkaError:
                failures += 1
                self.cluster.request_refresh()
                await trio.sleep(self.cluster.settings.retry_backoff.pause_s(failures))
                continue
            finally:
                node.scope = None
            if not all_included and not got_data:
                await self._wait(node, trio.current_time() + IDLE_PAUSE_S)

    async def _wait(self, node: _Node, until: float) -> None:
        with trio.move_on_at(until):
            await node.wake.wait()

    def _choose(self, node_id: int) -> tuple[list[PartitionState], bool, float]:
        """What to fetch from a broker, whether that is all it could be asked for, and when there may be more."""
        now = trio.current_time()
        free_bytes = self.settings.buffer_bytes - sum(state.buffered_bytes for state in self.states.values())
        chosen: list[PartitionState] = []
        all_included = True
        retry_at = float("inf")
        for partition, state in self.states.items():
            if state.paused or state.position < 0 or state.error or self.cluster.info.leader(partition) != node_id:
                continue
            if state.retry_at > now:
                retry_at = min(retry_at, state.retry_at)
            elif state.buffered_bytes >= self.settings.max_partition_fetch_bytes or free_bytes <= 0:
                all_included = False
            else:
                chosen.append(state)
        return chosen, all_included, retry_at

    async def _fetch(self, node_id: int, chosen: list[PartitionState], max_wait_ms: int) -> bool:
        connection = await self.cluster.connection(node_id, "fetch")
        ids_known = all(self.cluster.info.topic_id(state.partition.topic) != NO_ID for state in chosen)
        highest = None if ids_known else FIRST_VERSION_WITH_TOPIC_IDS - 1
        connection.version_of(ApiKey.FETCH, highest)
        request = self._request(chosen, max_wait_ms)
        epochs = [(state, state.epoch, state.fetch_offset) for state in chosen]
        timeout_s = max_wait_ms / 1000 + self.cluster.settings.request_timeout_s
        try:
            response = await connection.request(request, highest=highest, timeout_s=timeout_s)
        except trio.Cancelled:
            connection.close("closed to break off a long poll")
            raise
        if response.error_code:
            raise error_for(response.error_code)
        return self._take(response, epochs)

    def _request(self, chosen: list[PartitionState], max_wait_ms: int) -> FetchRequest:
        info = self.cluster.info
        topics: dict[str, FetchTopic] = {}
        for state in chosen:
            name, index = state.partition
            topic = topics.get(name)
            if topic is None:
                topic = topics[name] = FetchTopic(topic=name, topic_id=info.topic_id(name))
            topic.partitions.append(
                FetchPartition(
                    partition=index,
                    current_leader_epoch=info.leader_epoch(state.partition),
                    fetch_offset=state.fetch_offset,
                    partition_max_bytes=self.settings.max_partition_fetch_bytes,
                )
            )
        return FetchRequest(
            max_wait_ms=max_wait_ms,
            min_bytes=self.settings.fetch_min_bytes if max_wait_ms else 0,
            max_bytes=self.settings.fetch_max_bytes,
            isolation_level=self.settings.isolation_level,
            topics=list(topics.values()),
        )

    def _take(self, response: FetchResponse, epochs: list[tuple[PartitionState, int, int]]) -> bool:
        names = {self.cluster.info.topic_id(state.partition.topic): state.partition.topic for state, _, _ in epochs}
        answers: dict[tuple[str, int], PartitionData] = {}
        for topic in response.responses:
            name = topic.topic or names.get(topic.topic_id, "")
            answers.update({(name, answer.partition_index): answer for answer in topic.partitions})
        got_data = False
        for state, epoch, offset in epochs:
            answer = answers.get(state.partition)
            if answer is None or state.epoch != epoch or state.fetch_offset != offset:
                continue
            if answer.error_code:
                self._on_error(state, answer)
            else:
                got_data = self._on_data(state, answer) or got_data
        if got_data:
            self.on_change()
        return got_data

    def _on_data(self, state: PartitionState, answer: PartitionData) -> bool:
        state.high_watermark = answer.high_watermark
        state.last_stable_offset = answer.last_stable_offset
        state.log_start_offset = answer.log_start_offset
        if not answer.records:
            return False
        committed_only = self.settings.isolation_level is Isolation.READ_COMMITTED
        aborted = answer.aborted_transactions or () if committed_only else ()
        before = state.fetch_offset
        try:
            state.add(answer.records, [(entry.first_offset, entry.producer_id) for entry in aborted])
            if state.fetch_offset == before:
                raise CorruptMessage(f"the broker sent {len(answer.records)} bytes that hold no batch to read")
        except CorruptMessage as error:
            state.error = CorruptMessage(f"{state.partition} at offset {state.fetch_offset}: {error.message}")
        return True

    def _on_error(self, state: PartitionState, answer: PartitionData) -> None:
        error = error_for(answer.error_code, str(state.partition))
        if error.code is ErrorCode.OFFSET_OUT_OF_RANGE:
            missing = f"has no offset {state.fetch_offset} (any more)"
            self._seek(state, self.settings.auto_offset_reset, missing)
        elif error.code.retriable or error.code in STALE:
            state.retry_at = trio.current_time() + self.cluster.settings.retry_backoff.pause_s(1)
            self.cluster.request_refresh()
        else:
            state.error = error
            self.on_change()
