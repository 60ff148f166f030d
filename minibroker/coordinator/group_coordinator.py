"""The coordinator: groups and their committed offsets between the requests, the log and the clock.

Every decision is one synchronous step of the Trio thread: the machine decides, the records are appended, the same records
are replayed, whoever has to hear of it is answered. Nothing awaits in between, so nothing needs a lock. Every answer
carries the flush round after which the log is durable up to what the decision saw, reads included: nobody is told what a
power cut could take back.

If the records cannot be appended, the group is let go of and taken up again as the log has it: whoever was concerned
hears COORDINATOR_NOT_AVAILABLE and tries again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import attrs
import trio

from minibroker.config.settings import BrokerSettings
from minibroker.coordinator.deadlines import Deadlines
from minibroker.coordinator.held import Held
from minibroker.coordinator.offsets_topic import RECORDS_PER_TURN, OffsetsTopic, decode_all, read_latest
from minibroker.groups.effects import Effects
from minibroker.groups.image import TopicOffsets
from minibroker.groups.joining import Join
from minibroker.groups.machine import GroupMachine
from minibroker.groups.offsets import topic_tombstones
from minibroker.groups.records import CommittedOffset, GroupRecord, GroupsRecord, OffsetRecord
from minibroker.groups.requests import Caller
from minibroker.protocol.errors import CoordinatorLoadInProgress, CoordinatorNotAvailable, ErrorCode, KafkaError
from minibroker.storage.errors import StorageError
from minibroker.topics.catalog import Catalog, Topic
from minibroker.topics.clock import Clock
from minibroker.topics.flusher import Flusher
from minibroker.topics.partition import Partition

logger = logging.getLogger(__name__)

STEPS_PER_RECORD: Final = 2
"""What deleting an offset costs."""

Deletion = tuple[str, Callable[[], None]]
"""The name of a topic, and what is to be called when nothing of it is left."""
Deletions = tuple[trio.MemorySendChannel[Deletion], trio.MemoryReceiveChannel[Deletion]]


@attrs.define(eq=False, kw_only=True)
class GroupCoordinator:
    """See the module. Until `run` has loaded a partition, its groups raise CoordinatorLoadInProgress."""

    catalog: Catalog
    flusher: Flusher
    settings: BrokerSettings
    clock: Clock
    machine: GroupMachine = attrs.field(init=False)
    topic: OffsetsTopic = attrs.field(init=False)
    _deadlines: Deadlines = attrs.field(init=False)
    _not_loaded: dict[int, type[KafkaError]] = attrs.field(init=False)
    """What the groups of a partition raise that is not, or cannot be, loaded."""
    _undeleted: bool = attrs.field(default=False, init=False)
    """Whether there are offsets of deleted topics whose tombstones could not be written."""
    _deletions: Deletions = attrs.field(factory=lambda: trio.open_memory_channel[Deletion](math.inf), init=False)
    """Of topics with offsets: one after the other, with turns for others between."""
    _closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.machine = GroupMachine(self.settings)
        self.topic = OffsetsTopic(self.catalog, self.settings, self.clock)
        self._deadlines = Deadlines(self.clock.now, self._expire)
        self._not_loaded = dict.fromkeys(range(len(self.topic.partitions())), CoordinatorLoadInProgress)
        self.catalog.on_topic_deleted(self._delete_offsets_of)

    # Requests of members --------------------------------------------------------------------------------------------

    def join(self, group_id: str, request: Join) -> Held:
        """Decide on a JoinGroup. Raises what `GroupMachine.join` and `check_available` raise."""
        self.check_available(group_id)
        held, effects = Held(), Effects()
        self.machine.join(group_id, request, held, self._deadlines.now_ms(), effects)
        self._carry_out(group_id, effects)
        return held

    def sync(
        self,
        group_id: str,
        caller: Caller,
        protocol: tuple[str | None, str | None],
        assignments: Mapping[str, bytes],
    ) -> Held:
        """Decide on a SyncGroup. Raises what `GroupMachine.sync` and `check_available` raise."""
        self.check_available(group_id)
        held, effects = Held(), Effects()
        self.machine.sync(group_id, caller, protocol, assignments, held, self._deadlines.now_ms(), effects)
        self._carry_out(group_id, effects)
        return held

    def heartbeat(self, group_id: str, caller: Caller) -> ErrorCode:
        """Decide on a Heartbeat. Raises what `GroupMachine.heartbeat` and `check_available` raise."""
        self.check_available(group_id)
        return self.machine.heartbeat(group_id, caller, self._deadlines.now_ms())

    def leave(self, group_id: str, members: Sequence[tuple[str, str | None]]) -> list[ErrorCode]:
        """Decide on a LeaveGroup: what each member hears. Raises InvalidGroupId and what `check_available` raises."""
        self.check_available(group_id)
        effects = Effects()
        answers = self.machine.leave(group_id, members, self._deadlines.now_ms(), effects)
        if not self._carry_out(group_id, effects):
            raise CoordinatorNotAvailable
        return answers

    # Offsets --------------------------------------------------------------------------------------------------------

    def check_commit(self, group_id: str, caller: Caller, version: int) -> None:
        """Raise unless `caller` may commit: what `GroupMachine.check_commit` and `check_available` raise."""
        self.check_available(group_id)
        self.machine.check_commit(group_id, caller, version, self._deadlines.now_ms())

    def commit(self, records: Sequence[OffsetRecord]) -> None:
        """Write committed offsets. Raises InvalidCommitOffsetSize if there are too many, and what `append` raises."""
        self.machine.check_commits(records)
        self.append(records)

    def offsets_of(self, group_id: str) -> TopicOffsets:
        """What a group has committed for topics that are there. Raises what `check_available` raises."""
        self.check_available(group_id)
        offsets = self.machine.image.offsets_of(group_id)
        if not self._undeleted and offsets.keys().isdisjoint(self.catalog.leaving):
            return offsets
        return {topic: valid for topic in offsets if (valid := self._valid(topic, offsets[topic]))}

    def append(self, records: Sequence[GroupsRecord]) -> None:
        """Write records of one group that the machine's state allows, and let them come true.

        Raises CoordinatorNotAvailable.
        """
        if records:
            self.topic.append(records)
            for record in records:
                self.machine.replay(record)

    def deleting_group(self, group_id: str) -> Iterator[int]:
        """Delete a group and its offsets, in steps of which the last one deletes the group; before each, say its cost.

        Raises GroupIdNotFound, NonEmptyGroup and what `check_available` raises, also when others had their turn: a member
        that joins between two steps finds what the steps before have left, as if single offsets had been deleted.
        """
        count = sum(map(len, self.machine.image.offsets_of(group_id).values()))
        # The last step takes all there is, or whoever goes on committing would keep it from ending.
        for at_most in [*[RECORDS_PER_TURN] * (count // RECORDS_PER_TURN), None]:
            yield STEPS_PER_RECORD * (1 + min(count, RECORDS_PER_TURN))
            self.check_available(group_id)
            self.append(list(islice(self.machine.delete_group(group_id), at_most)))
            self._watch(group_id)
            if group_id not in self.machine.image:  # it never had members, and no offsets are left
                return

    # What is there --------------------------------------------------------------------------------------------------

    def check_available(self, group_id: str) -> None:
        """Raise CoordinatorLoadInProgress or CoordinatorNotAvailable if the group cannot be told about, or changed."""
        if self._closed:
            raise CoordinatorNotAvailable
        if self._not_loaded:
            error = self._not_loaded.get(self.topic.index_of(group_id))
            if error is not None:
                raise error

    def check_all_available(self) -> None:
        """Raise CoordinatorLoadInProgress as long as some groups are still being loaded."""
        if CoordinatorLoadInProgress in self._not_loaded.values():
            raise CoordinatorLoadInProgress

    def ticket(self, group_id: str) -> int:
        """The flush round after which all that is known of a group is durable; 0 if it is."""
        return self.topic.ticket(group_id)

    def create_topic(self) -> int:
        """See that `__consumer_offsets` exists; the ticket after which it does. Raises CoordinatorNotAvailable."""
        self.topic.create()
        return self.catalog.flush_ticket()

    # Life -----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Load all groups, and keep their deadlines for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deadlines.run)
            nursery.start_soon(self._run_deletions)
            for index in list(self._not_loaded):
                await self._load(index, self.topic.partitions()[index])
            await self._run_expiry()  # not before: of a group that is half loaded the members may be missing

    def close(self) -> None:
        """Let go of all groups before the broker ends: held requests are answered, and no new ones taken."""
        self._closed = True
        effects = Effects()
        for group_id in list(self.machine.live):
            self.machine.unload(group_id, ErrorCode.NOT_COORDINATOR, effects)
        self._answer(effects, 0)

    async def _load(self, index: int, partition: Partition) -> None:
        try:
            latest = await read_latest(partition)
        except (StorageError, KafkaError) as error:
            self._not_loaded[index] = CoordinatorNotAvailable
            logger.error(
                "the groups of %s are not available: %s. To go on without what was committed there, stop the broker, move "
                "%s out of the data directory, and start it again",
                partition,
                error,
                partition.log.directory,
            )
            return
        group_ids = set()
        for count, record in enumerate(decode_all(partition, latest), 1):
            self.machine.replay(record)
            group_ids.add(record.group_id)
            if count % RECORDS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
        del self._not_loaded[index]
        effects, now_ms = Effects(), self._deadlines.now_ms()
        for group_id in group_ids:
            self.machine.load(group_id, now_ms, effects)
            self._watch(group_id)
        self._forget_deleted_topics(group_ids)

    def _valid(self, topic: str, offsets: Mapping[int, CommittedOffset]) -> dict[int, CommittedOffset]:
        """Those that were committed for the topic that is there, and not for a deleted one of that name."""
        present = self.catalog.topics.get(topic)
        ids = () if present is None else (None, present.id)
        return {partition: committed for partition, committed in offsets.items() if committed.topic_id in ids}

    def _forget_deleted_topics(self, group_ids: Iterable[str]) -> None:
        """Delete the offsets of topics that were deleted when the broker could not do it any more, or not yet.

        Those of a topic that a power cut may bring back stay until `_delete_offsets_of`.
        """
        all_written = self._append_or_log(
            [
                OffsetRecord(group_id, topic, partition, None)
                for group_id in group_ids
                for topic, offsets in self.machine.image.offsets_of(group_id).items()
                if topic not in self.catalog.leaving
                for partition in offsets.keys() - self._valid(topic, offsets).keys()
            ]
        )
        self._undeleted |= not all_written

    async def _run_expiry(self) -> None:
        while True:
            await trio.sleep(self.settings.offsets_retention_check_interval_ms / 1000)
            await self._expire_offsets(self.clock.retention_now_ms())

    async def _expire_offsets(self, wall_ms: int) -> None:
        """Look at all groups, with a turn for others after so many offsets."""
        looked_at = 0
        tombstones: list[GroupsRecord] = []
        for group_id in self.machine.group_ids():
            tombstones += self.machine.expire_offsets(group_id, wall_ms)
            looked_at += 1 + sum(map(len, self.machine.image.offsets_of(group_id).values()))
            if looked_at >= RECORDS_PER_TURN:
                self._append_or_log(tombstones)
                looked_at, tombstones = 0, []
                await trio.lowlevel.checkpoint()
        self._append_or_log(tombstones)

    def _delete_offsets_of(self, topic: Topic, release: Callable[[], None]) -> None:
        """See that they are deleted. Until `release` they are hidden, and there is no namesake to commit others."""
        if topic.name in self.machine.image.committers:
            self._deletions[0].send_nowait((topic.name, release))
        else:
            release()

    async def _run_deletions(self) -> None:
        async for name, release in self._deletions[1]:
            while tombstones := list(islice(topic_tombstones(self.machine.image, name), RECORDS_PER_TURN)):
                if not self._append_or_log(tombstones):
                    self._undeleted = True
                    break
                await trio.lowlevel.checkpoint()
            release()

    def _append_or_log(self, records: Iterable[GroupsRecord]) -> bool:
        """Write what may be of any groups, and whether all was: one partition that cannot be written holds up no other."""
        all_written = True
        for share in self.topic.by_partition(records):
            try:
                self.append(share)
            except KafkaError as error:
                all_written = False
                logger.error("%d committed offsets stay that should be deleted: %s", len(share), error)
        return all_written

    # Decisions ------------------------------------------------------------------------------------------------------

    def _expire(self, group_id: str, now_ms: int) -> None:
        effects = Effects()
        self.machine.expire(group_id, now_ms, effects)
        self._carry_out(group_id, effects)

    def _carry_out(self, group_id: str, effects: Effects) -> bool:
        """Write, replay and answer what was decided for a group. False if it could not be written, and is undone."""
        wall_ms = self.clock.now_ms()
        try:
            self.append([_dated(record, wall_ms) for record in effects.records])
        except CoordinatorNotAvailable as error:
            logger.error("group %s goes back to what the log says: %s", group_id, error)
            self._go_back(group_id, effects)
            return False
        self._answer(effects, self.ticket(group_id))
        self._watch(group_id)
        return True

    def _go_back(self, group_id: str, effects: Effects) -> None:
        code = ErrorCode.COORDINATOR_NOT_AVAILABLE
        undone = Effects([(waiter, type(response)(error_code=code)) for waiter, response in effects.answers])
        self.machine.unload(group_id, code, undone)
        self._answer(undone, 0)
        self.machine.load(group_id, self._deadlines.now_ms(), Effects())
        self._watch(group_id)

    def _answer(self, effects: Effects, ticket: int) -> None:
        for held, response in effects.answers:
            assert isinstance(held, Held)
            held.answer(response, ticket)

    def _watch(self, group_id: str) -> None:
        group = self.machine.live.get(group_id)
        if group is None or group.wake_ms is None:
            self._deadlines.forget(group_id)
        else:
            self._deadlines.watch(group_id, group.wake_ms)


def _dated(record: GroupsRecord, wall_ms: int) -> Any:
    """`record` with the date on which the group came to its state."""
    if isinstance(record, GroupRecord) and record.value is not None:
        return GroupRecord(record.group_id, attrs.evolve(record.value, state_timestamp_ms=wall_ms))
    return record
