"""The consumer: reads partitions by position, or as a member of a group.

async with Consumer("127.0.0.1:9092", topics=["orders"], group="billing") as consumer:
    async for record in consumer:
        print(record.partition, record.offset, record.value)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs
import trio

from minibroker.client.base import Client
from minibroker.client.cluster import Cluster
from minibroker.client.consumer_settings import ConsumerSettings, as_seek
from minibroker.client.metadata import TopicPartition
from minibroker.client.offsets import EARLIEST, LATEST, Isolation, list_offsets
from minibroker.client.partition_state import ConsumerRecord, Seek, Start
from minibroker.client.reading import Reading, RecordBatch

if TYPE_CHECKING:
    from minibroker.client.coordinator import CommittedOffset
    from minibroker.client.group import ConsumerGroup
    from minibroker.client.membership import Membership


@attrs.define(eq=False, kw_only=True, on_setattr=attrs.setters.NO_OP)
class Consumer(Client, ConsumerSettings):
    """Reads records. Use it in `async with`, and poll it from one task at a time.

    What it reads: `topics` or a `pattern` of their names, all partitions of them, or with a `group` its share of them;
    or just `partitions`. Its settings, which have Kafka's names and meanings, are those of `ConsumerSettings`.
    """

    _cluster: Cluster = attrs.field(init=False, default=attrs.Factory(Cluster, takes_self=True))
    _reading: Reading = attrs.field(init=False)
    _group: ConsumerGroup | None = attrs.field(init=False, default=None)
    _membership: Membership | None = attrs.field(init=False, default=None)
    _following: frozenset[str] = attrs.field(init=False, default=frozenset())
    """Without a group: the topics all of whose partitions are read."""
    _matching: re.Pattern[str] | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._reading = Reading(self._cluster, self)
        if self.group is not None:
            # Imported here: a consumer without a group need not pay for a dozen modules at its start.
            from minibroker.client.assignors import assignors_named
            from minibroker.client.coordinator import GroupCoordinator
            from minibroker.client.group import ConsumerGroup
            from minibroker.client.membership import Membership

            coordinator = GroupCoordinator(self._cluster, self.group, self.group_instance_id)
            self._group = ConsumerGroup(self._reading, coordinator, self)
            self._membership = Membership(self._group, assignors_named(self.assignors))
            self._reading.committed = self._group.committed_offsets

    # Life.

    def _open(self) -> None:
        self._cluster.on_change.append(self._on_metadata)
        self._cluster.tasks.start(self._reading.run, name="positions")
        if self._group is not None and self.auto_commit:
            self._cluster.tasks.start(self._group.run_auto_commit, name="automatic commit")
        if self.partitions:
            self.assign(self.partitions)
        elif self.topics or self.pattern is not None:
            self.subscribe(self.topics, pattern=self.pattern)

    async def _close(self, error: BaseException | None) -> None:
        if self._membership is not None:
            await self._membership.close(clean=error is None)
        self._reading.fail(self._closed())  # to another task that is still waiting for records

    # What to read.

    def subscribe(self, topics: Iterable[str] = (), *, pattern: str | None = None) -> None:
        """Read these topics, or those whose whole name matches; in a group, take part in sharing them.

        Takes effect in the background; replaces an earlier subscription. Topics that appear later are followed.
        """
        self._check_open()
        self._following = frozenset([topics] if isinstance(topics, str) else topics)
        self._matching = None if pattern is None else re.compile(pattern)
        if self._matching is not None:
            self._cluster.watch_all()
        else:
            self._cluster.watch_only(self._following)
        self._follow()

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read exactly these partitions, without sharing them with a group (which may still keep the offsets)."""
        self._check_open()
        reading, wanted = self._reading, [TopicPartition(*partition) for partition in partitions]
        reading.end_iteration()
        for partition in set(reading.states) - set(wanted):
            del reading.states[partition]
        added = [partition for partition in wanted if partition not in reading.states]
        for partition in added:
            reading.add(partition, self.start if self._group is None else Seek(Start.COMMITTED))
        reading.assignment_changed(added)

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions read at present."""
        return frozenset(self._reading.states)

    def _on_metadata(self) -> None:
        self._follow()
        if self._membership is not None:
            self._membership.metadata_changed()
        self._reading.metadata_changed()

    def _follow(self) -> None:
        """Bring the subscription up to date with the metadata."""
        info = self._cluster.info
        names = self._following
        if self._matching is not None:
            names = frozenset(
                name for name, topic in info.topics.items() if self._matching.fullmatch(name) and not topic.internal
            )
        if names and self._group is not None and self._membership is not None:
            if not self._group.topics:
                self._cluster.tasks.start(self._membership.run, name=f"member of {self.group}")
            self._membership.subscribe(names)
        elif names:
            self._follow_all_partitions(names)

    def _follow_all_partitions(self, names: frozenset[str]) -> None:
        states = self._reading.states
        known = {partition.topic for partition in states}
        added = []
        for topic, count in self._cluster.info.partitions_of(names).items():
            for index in range(count):
                partition = TopicPartition(topic, index)
                if partition not in states:
                    # A partition that a topic gets later is new from its first record on.
                    self._reading.add(partition, Seek(Start.EARLIEST) if topic in known else self.start)
                    added.append(partition)
        if added:
            self._reading.assignment_changed(added)

    # Records.

    async def poll(self, max_records: int = 500, timeout_ms: float | None = None) -> list[ConsumerRecord]:
        """The next records, at least one and at most `max_records`; none if the timeout (None: never) is over first.

        Calling it again says that those of the last call are done with. Raises KafkaError: NoOffset, CorruptMessage
        and other errors of a partition (polling again goes on, and may meet it again), errors of the group.
        """
        new = tuple.__new__
        records: list[ConsumerRecord] = []
        for batch in await self.poll_batches(max_records, timeout_ms):
            where = batch.topic, batch.partition
            records += [new(ConsumerRecord, where + record) for record in batch.records]
        return records

    async def poll_batches(self, max_records: int = 5000, timeout_ms: float | None = None) -> list[RecordBatch]:
        """Like `poll`, but records come grouped by partition, which is the fastest way to read."""
        self._check_open()
        return await self._reading.poll(max_records, None if timeout_ms is None else timeout_ms / 1000)

    def __aiter__(self) -> Consumer:
        return self

    async def __anext__(self) -> ConsumerRecord:
        record = self._reading.next_nowait()
        if record is None:
            self._check_open()
            record = await self._reading.next()
        return record

    # Positions.

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on at an offset. Raises KeyError for a partition that is not assigned."""
        self._reading.move([self._reading.states[partition]], Seek(Start.OFFSET, offset))

    def seek_to(self, seek: str | Start | Seek, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Go on at "earliest", "latest", `Seek(Start.TIME, ms)`, `Seek(Start.LAST, count)`; by default everywhere."""
        states = self._reading.states
        chosen = list(states.values()) if partitions is None else [states[partition] for partition in partitions]
        self._reading.move(chosen, as_seek(seek))

    async def position(self, partition: TopicPartition) -> int:
        """The offset of the next record to hand out, once it is known. Raises KeyError."""
        self._check_open()
        await trio.lowlevel.checkpoint()
        return await self._reading.wait_position(partition)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Hand out, and fetch, nothing of these until `resume`."""
        self._reading.end_iteration()
        for partition in partitions:
            self._reading.states[partition].paused = True

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Go on with these."""
        resumed = [self._reading.states[partition] for partition in partitions]
        for state in resumed:
            state.paused = False
        self._reading.assignment_changed([state.partition for state in resumed])

    @property
    def paused(self) -> frozenset[TopicPartition]:
        """What is paused."""
        return frozenset(partition for partition, state in self._reading.states.items() if state.paused)

    def lag(self, partition: TopicPartition) -> int | None:
        """How many offsets the position is behind the end, as of the last fetch; None before the first. KeyError."""
        state = self._reading.states[partition]
        committed = self.isolation_level is Isolation.READ_COMMITTED
        end = state.last_stable_offset if committed else state.high_watermark
        return None if end < 0 or state.position < 0 else max(end - state.position, 0)

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where partitions begin. Raises KafkaError."""
        return await self._offsets(dict.fromkeys(partitions, EARLIEST))

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where they end: the next offset, or with read_committed the last stable one. Raises KafkaError."""
        return await self._offsets(dict.fromkeys(partitions, LATEST))

    async def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """The first offset at or after a time in ms; -1 where there is none. Raises KafkaError."""
        return await self._offsets(times)

    async def _offsets(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        self._check_open()
        found = await list_offsets(self._cluster, times, self.isolation_level)
        return {partition: offset.offset for partition, offset in found.items()}

    # Committing.

    async def commit(self, offsets: Mapping[TopicPartition, int | CommittedOffset] | None = None) -> None:
        """Commit these offsets (the next ones to read), or everything handed out so far.

        Raises KafkaError: UnknownMemberId and IllegalGeneration when the partitions are somebody else's by now.
        """
        group = self._need_group()
        if offsets is None:
            positions = {partition: state.position for partition, state in self._reading.states.items()}
            offsets = {partition: position for partition, position in positions.items() if position >= 0}
        await group.commit(offsets)

    async def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, CommittedOffset]:
        """What the group has committed; partitions without are left out. Raises KafkaError."""
        return await self._need_group().committed(partitions)

    def _need_group(self) -> ConsumerGroup:
        self._check_open()
        if self._group is None:
            raise ValueError("only a consumer with a group can commit")
        return self._group
