"""What being in a group means to a consumer: its partitions come and go, and how far it has read is committed.

Never is an offset committed that lies beyond what the application is done with: what it was handed out counts as done
when it comes for more, or when the consumer is closed without an error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import attrs
import trio

from minibroker.client.consumer_settings import Callback, ConsumerSettings
from minibroker.client.coordinator import CommittedOffset, GroupCoordinator, as_committed
from minibroker.client.metadata import TopicPartition
from minibroker.client.partition_state import Seek, Start
from minibroker.client.reading import Reading
from minibroker.protocol.errors import KafkaError, UnknownMemberId

log = logging.getLogger(__name__)


@attrs.define(eq=False)
class ConsumerGroup:
    """The partitions a consumer has by its group, and the offsets it keeps there."""

    reading: Reading
    coordinator: GroupCoordinator
    settings: ConsumerSettings
    topics: frozenset[str] = frozenset()
    """Those it wants; empty while it only keeps offsets in the group."""
    _committed: dict[TopicPartition, int] = attrs.Factory(dict)
    _synced: trio.Event | None = None

    # Committing.

    async def run_auto_commit(self) -> None:
        """Commit now and then."""
        while True:
            await trio.sleep(self.settings.auto_commit_interval_ms / 1000)
            await self._commit_done()

    async def commit_last(self, *, clean: bool) -> None:
        """Commit what is done; if `clean`, that is all that was handed out."""
        self.reading.end_iteration()
        if clean:
            for state in self.reading.states.values():
                state.done = state.position
        await self._commit_done()

    async def commit(self, offsets: Mapping[TopicPartition, int | CommittedOffset]) -> None:
        """Commit, and retry what may be retried. Raises KafkaError."""
        if not offsets:
            return
        values = as_committed(offsets)

        async def attempt() -> None:
            while self._synced is not None:
                await self._synced.wait()
            if self._outside():
                # As an outsider it might be let in, if the group is empty, and set back whoever comes next.
                raise UnknownMemberId(f"this consumer is not in group {self.coordinator.group!r} at present")
            await self.coordinator.commit(values)

        await self.coordinator.retrying(attempt, f"committing for group {self.coordinator.group!r}")
        self._committed.update({partition: committed.offset for partition, committed in values.items()})

    async def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, CommittedOffset]:
        """Read what is committed. Raises KafkaError."""
        wanted = list(partitions)
        what = f"reading the offsets of group {self.coordinator.group!r}"
        return await self.coordinator.retrying(lambda: self.coordinator.fetch(wanted), what)

    async def committed_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """For the position finder."""
        return {partition: found.offset for partition, found in (await self.committed(partitions)).items()}

    @contextmanager
    def unsynced(self) -> Iterator[None]:
        """Let commits wait meanwhile: the broker refuses them while the new generation has no assignment yet."""
        self._synced = synced = trio.Event()
        try:
            yield
        finally:
            self._synced = None
            synced.set()

    def _outside(self) -> bool:
        return bool(self.topics) and self.coordinator.generation < 0

    async def _commit_done(self) -> None:
        self.reading.note_done()
        if not self.settings.auto_commit or self._outside():
            return
        offsets = {
            partition: state.done
            for partition, state in self.reading.states.items()
            if state.done >= 0 and self._committed.get(partition) != state.done
        }
        try:
            await self.commit(offsets)
        except KafkaError as error:
            log.warning("group %s: automatic commit failed: %s", self.coordinator.group, error)

    # Partitions.

    def owned(self) -> frozenset[TopicPartition]:
        """The partitions at present."""
        return frozenset(self.reading.states)

    def overdue(self) -> bool:
        """Whether the application has not asked for records for longer than `max_poll_interval_ms`."""
        return self.reading.seconds_away() > self.settings.max_poll_interval_ms / 1000

    async def revoke(self, partitions: frozenset[TopicPartition]) -> None:
        """While the application waits for records: commit, tell it, and give up these partitions."""
        async with self.reading.held():
            await self._commit_done()
            await self._give_up(partitions, self.settings.on_revoked)

    async def lose(self) -> None:
        """Give up all partitions without a commit: others may have them already."""
        async with self.reading.held():
            await self._give_up(self.owned(), self.settings.on_lost or self.settings.on_revoked)

    async def _give_up(self, partitions: frozenset[TopicPartition], callback: Callback | None) -> None:
        if callback is not None:
            await callback(partitions)
        for partition in partitions:
            self.reading.states.pop(partition, None)
            self._committed.pop(partition, None)
        self.reading.assignment_changed(())

    async def assign(self, partitions: frozenset[TopicPartition]) -> None:
        """Begin with new partitions where the group stopped, unless the callback moves them."""
        for partition in sorted(partitions):
            self.reading.add(partition, Seek(Start.COMMITTED))
        if self.settings.on_assigned is not None:
            await self.settings.on_assigned(partitions)
        self.reading.assignment_changed(partitions)
