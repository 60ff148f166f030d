"""Looks up where to begin: the committed offset of the group, the ends of a partition, a time (KIP-79)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

import attrs
import trio

from minibroker.client.cluster import Cluster
from minibroker.client.consumer_settings import ConsumerSettings
from minibroker.client.errors import NoOffset
from minibroker.client.metadata import TopicPartition
from minibroker.client.offsets import EARLIEST, LATEST, list_offsets
from minibroker.client.partition_state import PartitionState, Seek, Start
from minibroker.protocol.errors import KafkaError

Committed = Callable[[Iterable[TopicPartition]], Awaitable[dict[TopicPartition, int]]]
"""Reads committed offsets; partitions without one are left out. Raises KafkaError."""

LAST = Start.LAST
TIMES = {Start.EARLIEST: EARLIEST, Start.LATEST: LATEST, Start.LAST: LATEST}


@attrs.define(eq=False)
class PositionFinder:
    """Resolves the pending seeks of `states`."""

    cluster: Cluster
    states: Mapping[TopicPartition, PartitionState]
    committed: Committed
    settings: ConsumerSettings
    begin: Callable[[list[TopicPartition]], None]
    """Called with the partitions that have a position now, to be fetched from."""
    on_change: Callable[[], None]
    """Called when a position was found, or there is an error to hand out."""
    _wake: trio.Event = attrs.Factory(trio.Event)

    def wake(self) -> None:
        """There are seeks to resolve."""
        self._wake.set()

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
                    self.on_change()
                await trio.sleep(self.cluster.settings.retry_backoff.pause_s(failures))

    async def _resolve(self, pending: dict[PartitionState, Seek]) -> None:
        """Resolve these seeks; a state that has another one by now is left alone."""
        asked = [state.partition for state, seek in pending.items() if seek.start is Start.COMMITTED]
        committed = await self.committed(asked) if asked else {}
        known: dict[PartitionState, int] = {}
        unknown: dict[PartitionState, Seek] = {}
        for state, wanted in pending.items():
            seek = wanted
            if seek.start is Start.COMMITTED:
                offset = committed.get(state.partition)
                seek = self.settings.start if offset is None else Seek(Start.OFFSET, offset)
            if seek.start is Start.OFFSET:
                known[state] = seek.value
            elif seek.start is not Start.ERROR:
                unknown[state] = seek
            elif state.seek is wanted:
                state.seek = None
                state.error = NoOffset(f"{state.partition} has no committed offset, and auto_offset_reset is 'error'")
        self._settle(pending, known)
        if unknown:
            self._settle(pending, await self._look_up(unknown))

    def _settle(self, pending: dict[PartitionState, Seek], offsets: dict[PartitionState, int]) -> None:
        for state, offset in offsets.items():
            if state.seek is pending[state]:
                state.move_to_offset(offset)
        self.begin([state.partition for state in offsets])
        self.on_change()

    async def _look_up(self, pending: dict[PartitionState, Seek]) -> dict[PartitionState, int]:
        times = {state.partition: TIMES.get(seek.start, seek.value) for state, seek in pending.items()}
        found = await self._list(times)
        starts = await self._list({state.partition: EARLIEST for state, seek in pending.items() if seek.start is LAST})
        ends = await self._list({partition: LATEST for partition in times if found[partition] < 0})  # no record so late
        offsets = {}
        for state, seek in pending.items():
            offset = ends.get(state.partition, found[state.partition])
            offsets[state] = max(offset - seek.value, starts[state.partition]) if seek.start is LAST else offset
        return offsets

    async def _list(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        if not times:
            return {}
        found = await list_offsets(self.cluster, times, self.settings.isolation_level)
        return {partition: answer.offset for partition, answer in found.items()}
