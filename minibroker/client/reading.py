"""The inside of a consumer: its partitions, what was fetched of them, and what the application has in its hands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import trio

from minibroker.client.cluster import Cluster
from minibroker.client.fetcher import Fetcher, FetchSettings
from minibroker.client.gate import PollGate
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
    """Hands out records of the assigned partitions in turn."""

    cluster: Cluster
    settings: FetchSettings
    initial: Seek
    """Where to begin when nothing else says so."""
    committed: Committed = _nothing_committed
    states: dict[TopicPartition, PartitionState] = attrs.Factory(dict)
    gate: PollGate = attrs.field(init=False)
    fetcher: Fetcher = attrs.field(init=False)
    finder: PositionFinder = attrs.field(init=False)
    _error: KafkaError | None = None
    _changed: trio.Event = attrs.Factory(trio.Event)
    _positions_found: trio.Event = attrs.Factory(trio.Event)
    _handed_out: list[PartitionState] = attrs.Factory(list)
    """By the last poll: the application is at work on them."""
    _run: Sequence[Record] = ()
    """What iteration is going through, and of which partition."""
    _run_next: int = 0
    _run_state: PartitionState | None = None

    def __attrs_post_init__(self) -> None:
        self.gate = PollGate(self.cut_run, self.wake)
        self.fetcher = Fetcher(self.cluster, self.settings, self.states, self.wake, self._on_seek)
        self.finder = PositionFinder(
            self.cluster, self.states, self._find_committed, self.initial, self.settings.isolation, self._on_found
        )

    async def _find_committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return await self.committed(partitions)

    # Handing out.

    def wake(self) -> None:
        """There is data, an error, or the gate is open again."""
        self._changed.set()

    async def poll(self, max_records: int, timeout_s: float | None, *, one_batch: bool = False) -> list[RecordBatch]:
        """The next records; an empty list when the timeout is over. Raises errors of the partitions and the group."""
        self.gate.enter()
        try:
            self._come_back()
            await trio.lowlevel.checkpoint()
            with trio.CancelScope(deadline=trio.current_time() + (float("inf") if timeout_s is None else timeout_s)):
                while True:
                    self._changed = trio.Event()
                    # No await between taking records and leaving the gate: a rebalance could commit without them.
                    if not self.gate.shut and (batches := self._take(max_records, one_batch)):
                        return batches
                    await self._changed.wait()
            return []
        finally:
            self.gate.leave()

    def _take(self, max_records: int, one_batch: bool) -> list[RecordBatch]:
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
                max_records = 0 if one_batch else max_records - len(records)
                self._handed_out.append(state)
            refill = refill or state.buffered_bytes < self.settings.max_partition_bytes
            if max_records <= 0:
                self.states[partition] = self.states.pop(partition)  # the others come first next time
                break
        if batches and refill:
            self.fetcher.wake()
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
        self.cut_run()
        for state in self._handed_out:
            state.done = state.position
        self._handed_out.clear()

    # Iteration: one record at a time from a run, so that most steps cost no more than an index.

    def next_nowait(self) -> ConsumerRecord | None:
        """The next record of the run; None at its end."""
        index = self._run_next
        if index >= len(self._run) or self._run_state is None:
            return None
        self._run_next = index + 1
        return tuple.__new__(ConsumerRecord, (*self._run_state.partition, *self._run[index]))

    async def next(self, max_records: int) -> ConsumerRecord:
        """The next record, beginning a new run."""
        while True:
            for batch in await self.poll(max_records, None, one_batch=True):
                self._handed_out.clear()  # a run keeps account of itself
                self._run, self._run_next = batch.records, 0
                self._run_state = self.states[TopicPartition(batch.topic, batch.partition)]
                record = self.next_nowait()
                if record is not None:
                    return record

    def cut_run(self) -> None:
        """End the run: what it has not handed out goes back, and of the last record we cannot know if it is done."""
        state, left = self._run_state, self._run[self._run_next :]
        self.note_done()
        self._run, self._run_next, self._run_state = (), 0, None
        if state is not None and left:
            state.give_back(left)

    def note_done(self) -> None:
        """Of the run, the records before the last one handed out are done."""
        if self._run_state is not None and self._run_next > 0:
            self._run_state.done = self._run[self._run_next - 1].offset

    # Partitions.

    def add(self, partition: TopicPartition, seek: Seek) -> None:
        """Have this partition too; `assignment_changed` must follow."""
        self.states[partition] = PartitionState(partition, seek=seek)

    def assignment_changed(self, added: Iterable[TopicPartition]) -> None:
        """States were added or removed."""
        self.cluster.watch({partition.topic for partition in self.states})
        self.fetcher.interrupt(added)
        self.finder.wake()
        self.wake()

    def position_of(self, state: PartitionState) -> int:
        """The next offset to hand out, the run considered."""
        if state is self._run_state and self._run_next < len(self._run):
            return self._run[self._run_next].offset
        return state.position

    async def wait_position(self, partition: TopicPartition) -> int:
        """The position of a partition, once it is known. Raises KeyError, or the error of the partition."""
        while (state := self.states[partition]).position < 0:
            if state.error is not None:
                raise state.error
            await self._positions_found.wait()
        return self.position_of(state)

    def metadata_changed(self) -> None:
        """Leaders may have moved."""
        self.fetcher.update()
        self.finder.wake()

    def fail(self, error: KafkaError) -> None:
        """Raise this from every poll."""
        self._error = error
        self.wake()

    def move(self, states: Sequence[PartitionState], seek: Seek) -> None:
        """Have positions looked up."""
        self.cut_run()
        for state in states:
            if seek.start is Start.OFFSET:
                state.move_to_offset(seek.value)
            else:
                state.move_to(seek)
        self.assignment_changed([state.partition for state in states])

    def _on_seek(self) -> None:
        self.finder.wake()

    def _on_found(self, partitions: list[TopicPartition]) -> None:
        self.fetcher.interrupt(partitions)
        self.wake()
        self._positions_found.set()
        self._positions_found = trio.Event()
