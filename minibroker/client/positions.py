"""Looks up where to begin: the committed offset of the group, the ends of a partition, a time (KIP-79)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import attrs
import trio

from minibroker.client.cluster import Cluster
from minibroker.client.errors import NoOffset
from minibroker.client.metadata import TopicPartition
from minibroker.client.offsets import EARLIEST, LATEST, Isolation, list_offsets
from minibroker.client.partition_state import PartitionState, Seek, Start
from minibroker.protocol.errors import KafkaError

Committed = Callable[[Iterable[TopicPartition]], Awaitable[dict[TopicPartition, int]]]
"""Reads committed offsets; partitions without one are left out. Raises KafkaError."""

TIMES = {Start.EARLIEST: EARLIEST, Start.LATEST: LATEST, Start.LAST: LATEST}


class PositionSettings(Protocol):
    """The part of a consumer's settings that finding positions needs."""

    start: Seek
    isolation_level: Isolation


@attrs.define(eq=False)
class PositionFinder:
    """Resolves the pending seeks of `states`."""

    cluster: Cluster
    states: Mapping[TopicPartition, PartitionState]
    committed: Committed
    settings: PositionSettings
    begin: Callable[[list[TopicPartition]], None]
    """Called with the partitions that have a position now, to be fetched from."""
    on_change: Callable[[], None]
    """Called when a position was found, or there is an error to hand out."""
    _wake: trio.Event = attrs.Factory(trio.Event)

    def wake(self) -> None:
        """There are seeks to resolve."""
        self._wake.set()

    def _on_found(self, partitions: list[TopicPartition]) -> None:
        self.begin(partitions)
        self.on_change()

    async def run(self) -> None:
        """Resolve seeks for as long as the consumer is open."""
        failures = 0
        while True:
            pending = {state: state.seek for state in self.states.values() if state.seek is not None}
            lost = [state for state in pending if self.cluster.info.leader(state.partition) < 0]
            if lost:  # it must not hold up the others, so it waits for metadata by itself
                self.cluster.watch({state.partition.topic for state in lost})
                self.cluster.request_refresh()
                for state in lost:
                    del pending[state]
            if not pending:
                await self._wake.wait()
                self._wake = trio.Event()
                continue
            try:
                await self._resolve(pending)
                failures = 0
            except KafkaError as error:
                failures += 1
                if not error.code.retriable:
                    for state, seek in pending.items():
                        if state.seek is seek:
                            state.seek, state.error = None, error
                    self._on_found([state.partition for state in pending])
                await trio.sleep(self.cluster.settings.retry_backoff.pause_s(failures))

    async def _resolve(self, pending: dict[PartitionState, Seek]) -> None:
        found: list[TopicPartition] = []
        by_commit = [state for state, seek in pending.items() if seek.start is Start.COMMITTED]
        if by_commit:
            committed = await self.committed([state.partition for state in by_commit])
            for state in by_commit:
                seek = pending.pop(state)
                if state.seek is not seek:
                    continue
                if state.partition in committed:
                    state.move_to_offset(committed[state.partition])
                    found.append(state.partition)
                else:
                    state.move_to(self.settings.start)
                    pending[state] = self.settings.start
        for state, seek in list(pending.items()):
            if seek.start is Start.OFFSET:
                state.move_to_offset(seek.value)
            elif seek.start is Start.ERROR:
                state.seek = None
                state.error = NoOffset(f"{state.partition} has no committed offset, and auto_offset_reset is 'error'")
            else:
                continue
            del pending[state]
            found.append(state.partition)
        if found:
            self._on_found(found)
        if pending:
            await self._look_up(pending)

    async def _look_up(self, pending: dict[PartitionState, Seek]) -> None:
        times = {state.partition: TIMES.get(seek.start, seek.value) for state, seek in pending.items()}
        offsets = await list_offsets(self.cluster, times, self.settings.isolation_level)
        last = {state.partition: EARLIEST for state, seek in pending.items() if seek.start is Start.LAST}
        starts = await list_offsets(self.cluster, last, self.settings.isolation_level) if last else {}
        late = {partition: LATEST for partition in times if offsets[partition].offset < 0}  # no record is that late
        ends = await list_offsets(self.cluster, late, self.settings.isolation_level) if late else {}
        for state, seek in pending.items():
            partition = state.partition
            offset = ends[partition].offset if partition in ends else offsets[partition].offset
            if seek.start is Start.LAST:
                offset = max(offset - seek.value, starts[partition].offset)
            if state.seek is seek:
                state.move_to_offset(offset)
        self._on_found([state.partition for state in pending])
