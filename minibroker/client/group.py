"""What being in a group means to a consumer: its partitions come and go, and how far it has read is committed.

Never is an offset committed that lies beyond what the application is done with: what it was handed out counts as done
when it comes for more, or when the consumer is closed without an error.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import attrs
import trio

from minibroker.client.coordinator import CommittedOffset, GroupCoordinator, as_committed
from minibroker.client.gate import PollGate
from minibroker.client.membership import GroupSettings, Membership
from minibroker.client.metadata import TopicPartition
from minibroker.client.partition_state import PartitionState, Seek, Start
from minibroker.protocol.errors import KafkaError, UnknownMemberId

log = logging.getLogger(__name__)

Callback = Callable[[frozenset[TopicPartition]], Awaitable[None]]
"""An async function that is told of partitions."""

LEAVE_TIMEOUT_S = 3.0
"""How long closing may take to commit and to leave, also when the block is left by an exception or cancelled."""


class Reader(Protocol):
    """The consumer, as its group sees it."""

    states: dict[TopicPartition, PartitionState]
    gate: PollGate

    def note_done(self) -> None:
        """Bring every state's `done` up to date."""

    def assignment_changed(self, added: Iterable[TopicPartition]) -> None:
        """States were added or removed."""

    def fail(self, error: KafkaError) -> None:
        """Raise this to the application."""


@attrs.frozen(kw_only=True)
class Callbacks:
    """What the application wants to be told. All run while it waits for records, or before the first ones."""

    on_assigned: Callback | None = None
    on_revoked: Callback | None = None
    on_lost: Callback | None = None
    """Without it `on_revoked` is called, as in the Java client."""


@attrs.define(eq=False)
class ConsumerGroup:
    """The consumer's side of its group; it is the membership's assignee."""

    reader: Reader
    coordinator: GroupCoordinator
    settings: GroupSettings
    callbacks: Callbacks
    auto_commit_interval_ms: float | None = 5_000
    """None: only `commit` commits."""
    topics: frozenset[str] = frozenset()
    _committed: dict[TopicPartition, int] = attrs.Factory(dict)
    membership: Membership = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.membership = Membership(self.coordinator, self.settings, self)

    def subscribe(self, topics: Iterable[str]) -> None:
        """Want these topics from now on."""
        topics = frozenset(topics)
        if topics != self.topics:
            self.topics = topics
            self.membership.rejoin()

    async def run_auto_commit(self) -> None:
        """Commit now and then."""
        while self.auto_commit_interval_ms is not None:
            await trio.sleep(self.auto_commit_interval_ms / 1000)
            self.reader.note_done()
            await self._commit_done()

    async def close(self, *, clean: bool) -> None:
        """Commit what is done (if `clean`, all that was handed out) and leave the group."""
        self.reader.note_done()
        if clean:
            for state in self.reader.states.values():
                state.done = state.position
        with trio.move_on_after(LEAVE_TIMEOUT_S, shield=True):
            await self._commit_done()
            await self.membership.leave()

    # Committing.

    async def commit(self, offsets: Mapping[TopicPartition, int | CommittedOffset]) -> None:
        """Commit, and retry what may be retried. Raises KafkaError."""
        if not offsets:
            return
        values = as_committed(offsets)

        async def attempt() -> None:
            await self.membership.wait_synced()
            if self.topics and self.membership.generation < 0:
                # As an outsider it might be let in, if the group is empty, and set back whoever comes next.
                raise UnknownMemberId(f"this consumer is not in group {self.coordinator.group!r} at present")
            await self.coordinator.commit(values, self.membership.identity)

        await self.coordinator.cluster.retrying(attempt, f"committing for group {self.coordinator.group!r}")
        self._committed.update({partition: committed.offset for partition, committed in values.items()})

    async def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, CommittedOffset]:
        """Read what is committed. Raises KafkaError."""
        wanted = list(partitions)
        what = f"reading the offsets of group {self.coordinator.group!r}"
        return await self.coordinator.cluster.retrying(lambda: self.coordinator.fetch(wanted), what)

    async def committed_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """For the position finder."""
        return {partition: found.offset for partition, found in (await self.committed(partitions)).items()}

    async def _commit_done(self) -> None:
        if self.auto_commit_interval_ms is None or (self.topics and self.membership.generation < 0):
            return
        offsets = {
            partition: state.done
            for partition, state in self.reader.states.items()
            if state.done >= 0 and self._committed.get(partition) != state.done
        }
        try:
            await self.commit(offsets)
        except KafkaError as error:
            log.warning("group %s: automatic commit failed: %s", self.coordinator.group, error)

    # The membership's assignee.

    def subscribed(self) -> tuple[str, ...]:
        """The topics, in order."""
        return tuple(sorted(self.topics))

    def owned(self) -> frozenset[TopicPartition]:
        """The partitions at present."""
        return frozenset(self.reader.states)

    def overdue(self) -> bool:
        """Whether the application has not asked for records for too long."""
        gate = self.reader.gate
        return not gate.inside and trio.current_time() > gate.entered_at + self.settings.max_poll_interval_ms / 1000

    async def wait_active(self) -> None:
        """Wait until the application asks for records, if it is overdue."""
        if self.overdue():
            async with self.reader.gate.held():
                pass

    async def revoke(self, partitions: frozenset[TopicPartition]) -> None:
        """At the gate: commit, tell the application, forget the partitions."""
        async with self.reader.gate.held():
            self.reader.note_done()
            await self._commit_done()
            if self.callbacks.on_revoked is not None:
                await self.callbacks.on_revoked(partitions)
            self._remove(partitions)

    async def lose(self) -> None:
        """At the gate: tell the application, forget all partitions."""
        partitions = self.owned()
        async with self.reader.gate.held():
            callback = self.callbacks.on_lost or self.callbacks.on_revoked
            if callback is not None:
                await callback(partitions)
            self._remove(partitions)

    async def assign(self, partitions: frozenset[TopicPartition]) -> None:
        """Begin with new partitions where the group stopped, unless the callback moves them."""
        for partition in sorted(partitions):
            self.reader.states[partition] = PartitionState(partition, seek=Seek(Start.COMMITTED))
        if self.callbacks.on_assigned is not None:
            await self.callbacks.on_assigned(partitions)
        self.reader.assignment_changed(partitions)

    def fail(self, error: KafkaError) -> None:
        """Membership has ended."""
        self.reader.fail(error)

    def _remove(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self.reader.states.pop(partition, None)
            self._committed.pop(partition, None)
        self.reader.assignment_changed(())
