"""The inside of a consumer: its partitions, what was fetched of them, and what the application has in its hands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from minibroker.client.cluster import Cluster
from minibroker.client.consumer_settings import ConsumerSettings
from minibroker.client.fetcher import Fetcher
from minibroker.client.metadata import TopicPartition
from minibroker.client.partition_state import ConsumerRecord, PartitionState, Seek, Start
from minibroker.client.positions import Committed, PositionFinder
from minibroker.protocol.errors import KafkaError
from minibroker.records.record import Record


@attrs.frozen
class RecordBatch:
    """Consecutive records of one partition."""

    topic: str
    partition: int
    records: Sequence[Record]


async def _nothing_committed(_: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    return {}


@attrs.define(eq=False)
class Reading:
    """Hands out records of the assigned partitions in turn.

    In a group, partitions are only taken from an application while it asks for more records, or those it is working on
    would be neither finished nor committed. As in the Java client, where rebalances happen inside `poll`, whoever asks
    for more is done with what it had. So `poll` is a gate, which a rebalance can hold shut.
    """

    cluster: Cluster
    settings: ConsumerSettings
    committed: Committed = _nothing_committed
    states: dict[TopicPartition, PartitionState] = attrs.Factory(dict)
    _fetcher: Fetcher = attrs.field(init=False)
    _finder: PositionFinder = attrs.field(init=False)
    _error: KafkaError | None = None
    _changed: trio.Event = attrs.Factory(trio.Event)
    """Set, and replaced, whenever there may be something for those who wait."""
    _inside: bool = False
    """The application is asking for records."""
    _moved_at: float = 0.0
    """When it last came or left; a time of the Trio clock."""
    _holders: int = 0
    """Rebalances that want no records handed out."""
    _handed_out: list[PartitionState] = attrs.Factory(list)
    """By the last poll: the application is at work on them."""
    _iterated: PartitionState | None = None
    """The partition whose batch iteration is going through."""

    def __attrs_post_init__(self) -> None:
        self._fetcher = Fetcher(self.cluster, self.settings, self.states, self._on_change)
        self._finder = PositionFinder(
            self.cluster, self.states, self._find_committed, self.settings, self._fetcher.interrupt, self._on_change
        )

    async def run(self) -> None:
        """Look up positions for as long as the consumer is open."""
        await self._finder.run()

    async def _find_committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return await self.committed(partitions)

    def _on_change(self) -> None:
        """There is data, an error, a position or a seek; or the gate was opened or shut."""
        self._finder.wake()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # Handing out.

    async def poll(self, max_records: int, timeout_s: float | None) -> list[RecordBatch]:
        """The next records; an empty list when the timeout is over. Raises errors of the partitions and the group."""
        if self._inside:
            raise trio.BusyResourceError("another task is polling this consumer")
        self._pass_gate(inside=True)
        try:
            self._come_back()
            await trio.lowlevel.checkpoint()
            with trio.move_on_after(float("inf") if timeout_s is None else timeout_s):
                while True:
                    # No await between taking records and leaving the gate: a rebalance could commit without them.
                    if not self._holders and (batches := self._take(max_records)):
                        return batches
                    await self._changed.wait()
            return []
        finally:
            self._pass_gate(inside=False)

    def _pass_gate(self, *, inside: bool) -> None:
        self._inside = inside
        self._moved_at = trio.current_time()
        if self._holders:
            self._wake()

    def seconds_away(self) -> float:
        """How long the application has not asked for records."""
        return 0.0 if self._inside else trio.current_time() - self._moved_at

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Wait for the application to ask for records, and keep it waiting."""
        self._holders += 1
        try:
            self.end_iteration()
            while not self._inside:
                await self._changed.wait()
            yield
        finally:
            self._holders -= 1
            self._wake()

    def _take(self, max_records: int) -> list[RecordBatch]:
        if self._error is not None:
            raise self._error
        batches: list[RecordBatch] = []
        refill = False
        for partition, state in list(self.states.items()):
            if state.paused:
                continue
            if state.error is not None:
                if batches:
                    break  # first what is good; the error comes with the next poll
                error, state.error = state.error, None
                raise error
            while max_records > 0 and (records := self._take_from(state, max_records, batches)):
                batches.append(RecordBatch(partition.topic, partition.partition, records))
                max_records -= len(records)
                self._handed_out.append(state)
            refill = refill or state.buffered_bytes < self.settings.max_partition_fetch_bytes
            if max_records <= 0:
                self.states[partition] = self.states.pop(partition)  # the others come first next time
                break
        if batches and refill:
            self._fetcher.wake()
        return batches

    def _take_from(self, state: PartitionState, max_records: int, taken: list[RecordBatch]) -> Sequence[Record]:
        try:
            return state.take(max_records)
        except KafkaError as error:
            state.clear()
            if not taken:
                raise
            state.error = error
            return ()

    def _come_back(self) -> None:
        """The application asks for more, so it is done with what it had."""
        self.end_iteration()
        for state in self._handed_out:
            state.done = state.position
        self._handed_out.clear()

    # Iteration: a poll for one record, and then the rest of its batch at the cost of an index each.

    def next_nowait(self) -> ConsumerRecord | None:
        """The next record of the batch; None at its end."""
        state = self._iterated
        if state is None or state.next >= len(state.records):
            return None
        state.next += 1
        return tuple.__new__(ConsumerRecord, (*state.partition, *state.records[state.next - 1]))

    async def next(self) -> ConsumerRecord:
        """The next record, of another batch."""
        (batch,) = await self.poll(1, None)
        self._iterated = self.states[TopicPartition(batch.topic, batch.partition)]
        return ConsumerRecord(batch.topic, batch.partition, *batch.records[0])

    def end_iteration(self) -> None:
        """Hand out nothing without a poll."""
        self.note_done()
        self._iterated = None

    def note_done(self) -> None:
        """With iteration, the records before the last one handed out are done; of that we cannot know."""
        state = self._iterated
        if state is not None and 0 < state.next <= len(state.records):
            state.done = state.records[state.next - 1].offset

    # Partitions.

    def add(self, partition: TopicPartition, seek: Seek) -> None:
        """Have this partition too; `assignment_changed` must follow."""
        self.states[partition] = PartitionState(partition, seek=seek)

    def assignment_changed(self, added: Iterable[TopicPartition]) -> None:
        """States were added or removed."""
        self.cluster.watch({partition.topic for partition in self.states})
        self._fetcher.interrupt(added)
        self._finder.wake()
        self._wake()

    async def wait_position(self, partition: TopicPartition) -> int:
        """The position of a partition, once it is known. Raises KeyError, or the error of the partition."""
        while (state := self.states[partition]).position < 0:
            if state.error is not None:
                raise state.error
            await self._changed.wait()
        return state.position

    def metadata_changed(self) -> None:
        """Leaders may have moved."""
        self._fetcher.update()
        self._finder.wake()

    def fail(self, error: KafkaError) -> None:
        """Raise this from every poll."""
        self._error = error
        self._wake()

    def move(self, states: Sequence[PartitionState], seek: Seek) -> None:
        """Have positions looked up."""
        self.end_iteration()
        for state in states:
            if seek.start is Start.OFFSET:
                state.move_to_offset(seek.value)
            else:
                state.move_to(seek)
        self.assignment_changed([state.partition for state in states])
