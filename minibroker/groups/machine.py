"""All groups of a broker as one pure state machine: requests and time in, answers and records out.

Two kinds of state. The `image` is what the log says; it changes by `replay` alone. `live` holds the groups that have,
or are getting, members, with all that need not outlive the broker: held requests, sessions, who has joined in this
round. A decision works on a live group and returns the records that make it last. Whoever drives the machine appends
them, replays them, and answers once they are durable. If they cannot be appended it unloads the group and loads it
again: what the decision changed is gone then, and the members have to find out.

Between two decisions, image and live groups agree on every group's generation, and on the members of stable ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from minibroker.config.group_settings import GroupSettings
from minibroker.groups import joining, offsets, requests, rounds
from minibroker.groups.classic import ClassicGroup
from minibroker.groups.effects import Effects
from minibroker.groups.image import Image
from minibroker.groups.joining import NO_MEMBER_ID, Join
from minibroker.groups.member import Waiter
from minibroker.groups.records import GroupMetadata, GroupRecord, GroupsRecord, OffsetRecord
from minibroker.groups.requests import Caller
from minibroker.groups.states import Event, State
from minibroker.protocol.errors import (
    ErrorCode,
    GroupIdNotFound,
    GroupMaxSizeReached,
    IllegalGeneration,
    InvalidCommitOffsetSize,
    InvalidGroupId,
    InvalidRequest,
    InvalidSessionTimeout,
    KafkaError,
    NonEmptyGroup,
    UnknownMemberId,
)

MAX_NAME_CHARACTERS = 1_000
"""Of ids of groups and clients and of names of protocols: more than any has, and cheap to keep and to hash."""
MAX_PROTOCOLS = 100
"""Of a member; clients have one, and two while they change from one to another."""

GROUP_NOT_FOUND_FROM = 9
"""The version of OffsetCommit from which a member of no group hears so."""


@attrs.define(eq=False)
class GroupMachine:
    """See the module. Every method that takes `effects` may leave answers and records there, also when it raises."""

    settings: GroupSettings
    image: Image = attrs.Factory(Image)
    live: dict[str, ClassicGroup] = attrs.Factory(dict)
    _live_bytes: int = 0
    """The memory of live groups."""

    @property
    def size_bytes(self) -> int:
        """About how much memory all groups take."""
        return self._live_bytes + self.image.size_bytes

    # Members --------------------------------------------------------------------------------------------------------

    def join(self, group_id: str, request: Join, waiter: Waiter, now_ms: int, effects: Effects) -> None:
        """Decide on a JoinGroup. `waiter` is answered in `effects`, of this or of a later call.

        Raises InvalidGroupId, InvalidSessionTimeout, UnknownMemberId, InvalidRequest, GroupMaxSizeReached.
        """
        check_group_id(group_id)
        shortest, longest = self.settings.group_min_session_timeout_ms, self.settings.group_max_session_timeout_ms
        if not shortest <= request.session_timeout_ms <= longest:
            raise InvalidSessionTimeout(f"expected {shortest} to {longest} ms, found {request.session_timeout_ms}")
        if any(len(name) > MAX_NAME_CHARACTERS for name in request.texts):
            raise InvalidRequest(f"a name of more than {MAX_NAME_CHARACTERS} characters")
        if len(request.protocols) > MAX_PROTOCOLS:
            raise InvalidRequest(f"{len(request.protocols)} protocols, where {MAX_PROTOCOLS} may be")
        group = self._group(group_id, now_ms, effects)
        if group is None:
            if request.member_id != NO_MEMBER_ID:
                raise UnknownMemberId(f"there is no group {group_id}")
            group = ClassicGroup(group_id, self.settings)
        self._check_room(group, request.size_bytes - group.held_by(request.member_id, request.instance_id))
        joining.join(group, request, waiter, now_ms, effects)
        if not group.is_idle:
            self.live[group_id] = group
            self._count(group)
            if group_id not in self.image.groups and not effects.records:
                effects.records.append(GroupRecord(group_id, GroupMetadata()))

    def sync(
        self,
        group_id: str,
        caller: Caller,
        protocol: tuple[str | None, str | None],
        assignments: Mapping[str, bytes],
        waiter: Waiter,
        now_ms: int,
        effects: Effects,
    ) -> None:
        """Decide on a SyncGroup, as `join` does. `protocol` is the type and the name that the member believes in.

        Raises InvalidGroupId, UnknownMemberId, GroupMaxSizeReached and what `requests.sync` raises.
        """
        group = self._live(group_id)
        assigned_bytes = sum(len(member.assignment) for member in group.members.values())
        self._check_room(group, sum(map(len, assignments.values())) - assigned_bytes, assigned_bytes)
        requests.sync(group, caller, *protocol, assignments, waiter, now_ms, effects)

    def heartbeat(self, group_id: str, caller: Caller, now_ms: int) -> ErrorCode:
        """Decide on a Heartbeat. Raises InvalidGroupId, UnknownMemberId and what `requests.heartbeat` raises."""
        return requests.heartbeat(self._live(group_id), caller, now_ms)

    def leave(
        self, group_id: str, members: Iterable[tuple[str, str | None]], now_ms: int, effects: Effects
    ) -> list[ErrorCode]:
        """Let members leave, each named by member id and instance id; what each hears. Raises InvalidGroupId."""
        check_group_id(group_id)
        group = self.live.get(group_id)
        if group is None:
            return [ErrorCode.UNKNOWN_MEMBER_ID for _ in members]
        answers = []
        for member_id, instance_id in members:
            try:
                requests.leave(group, member_id, instance_id, effects)
                answers.append(ErrorCode.NONE)
            except KafkaError as error:
                answers.append(error.code)
        if ErrorCode.NONE in answers:
            requests.end_leave(group, now_ms, effects)
        self._let_rest(group)
        return answers

    def expire(self, group_id: str, now_ms: int, effects: Effects) -> None:
        """Work through the deadlines of a group that have come."""
        group = self.live.get(group_id)
        if group is not None:
            rounds.expire(group, now_ms, effects)
            self._let_rest(group)

    # Offsets --------------------------------------------------------------------------------------------------------

    def check_commit(self, group_id: str, caller: Caller, version: int, now_ms: int) -> None:
        """Raise unless `caller` may commit offsets by an OffsetCommit of `version`. The empty group id may be used.

        Raises InvalidGroupId, GroupIdNotFound, and what `requests.check_commit` raises.
        """
        if len(group_id) > MAX_NAME_CHARACTERS:
            raise InvalidGroupId(f"a group id of more than {MAX_NAME_CHARACTERS} characters")
        group = self.live.get(group_id)
        if group is not None:
            requests.check_commit(group, caller, now_ms)
        elif caller.generation >= 0:
            if group_id in self.image:
                raise UnknownMemberId(f"group {group_id} has no members")
            error = GroupIdNotFound if version >= GROUP_NOT_FOUND_FROM else IllegalGeneration
            raise error(f"there is no group {group_id}")

    def delete_group(self, group_id: str) -> Iterator[GroupsRecord]:
        """The records that delete a group, the one of its own last. Raises GroupIdNotFound, NonEmptyGroup."""
        self._check_exists(group_id)
        if self.state_of(group_id) is not State.EMPTY:
            raise NonEmptyGroup(f"group {group_id} has members")
        return offsets.group_tombstones(self.image, group_id)

    def check_offset_deletion(self, group_id: str) -> None:
        """Raise unless offsets of the group may be deleted: InvalidGroupId, GroupIdNotFound, NonEmptyGroup."""
        check_group_id(group_id)
        self._check_exists(group_id)
        group = self.live.get(group_id)
        if group is not None and group.state is not State.EMPTY and not group.uses_consumer_protocol:
            raise NonEmptyGroup(f"group {group_id} has members, and only they know what they read")

    def subscribed_bytes(self, group_id: str) -> int:
        """How much `topics_read` has to look through."""
        metadata = self.image.groups.get(group_id, GroupMetadata())
        return sum([len(member.subscription) for member in metadata.members])

    def topics_read(self, group_id: str) -> frozenset[str] | None:
        """The topics that members of the group read, None for any. Takes a while if there are many."""
        return offsets.topics_read(self.image, self.live.get(group_id), group_id)

    def delete_offsets(self, group_id: str, topic: str, partitions: Iterable[int]) -> Sequence[GroupsRecord]:
        """The records that delete offsets of a topic that is not read."""
        return offsets.offset_tombstones(self.image, group_id, topic, partitions)

    def expire_offsets(self, group_id: str, wall_ms: int) -> Sequence[GroupsRecord]:
        """The records that delete the offsets of a group that have expired, and the group if it is left with nothing."""
        if group_id not in self.image:
            return ()
        return offsets.expired_offsets(self.image, self.live.get(group_id), group_id, self.settings, wall_ms)

    # What is ---------------------------------------------------------------------------------------------------------

    def state_of(self, group_id: str) -> State:
        """Where a group stands; Dead if there is none."""
        group = self.live.get(group_id)
        if group is not None:
            return group.state
        return State.EMPTY if group_id in self.image else State.DEAD

    def protocol_type_of(self, group_id: str) -> str:
        """What kind of members a group has or had, empty if never any."""
        group = self.live.get(group_id)
        if group is not None:
            return group.protocol_type or ""
        return self.image.groups[group_id].protocol_type if group_id in self.image.groups else ""

    def group_ids(self) -> list[str]:
        """All groups there are."""
        return self.image.group_ids()

    # The log ---------------------------------------------------------------------------------------------------------

    def replay(self, record: GroupsRecord) -> None:
        """Let `record`, which is in the log, come true."""
        self.image.replay(record)
        if isinstance(record, GroupRecord):
            group = self.live.get(record.group_id)
            if group is not None and record.value is None:
                group.happens(Event.DELETED)
                self._live_bytes -= group.counted_bytes
                del self.live[record.group_id]
            elif group is not None:
                self._let_rest(group)

    def load(self, group_id: str, now_ms: int, effects: Effects) -> None:
        """Let the members of a group live on, after all records of it have been replayed."""
        metadata = self.image.groups.get(group_id)
        if metadata is not None and metadata.members:
            self.live[group_id] = group = rounds.restore(group_id, metadata, self.settings, now_ms, effects)
            self._count(group)

    def unload(self, group_id: str, error: ErrorCode, effects: Effects) -> None:
        """Let go of a group: all whose requests are held hear `error`."""
        group = self.live.pop(group_id, None)
        if group is not None:
            self._live_bytes -= group.counted_bytes
            rounds.unload(group, error, effects)

    def _group(self, group_id: str, now_ms: int, effects: Effects) -> ClassicGroup | None:
        group = self.live.get(group_id)
        if group is None and group_id in self.image:
            metadata = self.image.groups.get(group_id, GroupMetadata())
            group = rounds.restore(group_id, metadata, self.settings, now_ms, effects)
        return group

    def _live(self, group_id: str) -> ClassicGroup:
        check_group_id(group_id)
        group = self.live.get(group_id)
        if group is None:
            raise UnknownMemberId(f"group {group_id} has no members")
        return group

    def check_commits(self, records: Sequence[OffsetRecord]) -> None:
        """Raise InvalidCommitOffsetSize if there is no memory for offsets that were never committed, or say much more."""
        if self.size_bytes > self.settings.minibroker_groups_max_bytes and not all(
            map(self.image.has_room_for, records)
        ):
            raise InvalidCommitOffsetSize("minibroker.groups.max.bytes allows no more committed offsets")

    def _check_room(self, group: ClassicGroup, more_bytes: int, assigned_bytes: int = 0) -> None:
        """Raise GroupMaxSizeReached if there is no memory for what a group would take in addition."""
        if more_bytes > 0 and (
            group.size_bytes + assigned_bytes + more_bytes > self.settings.minibroker_group_max_bytes
            or self.size_bytes + more_bytes > self.settings.minibroker_groups_max_bytes
        ):
            raise GroupMaxSizeReached(f"group {group.group_id} wants {more_bytes} bytes more than it may have")

    def _count(self, group: ClassicGroup) -> None:
        self._live_bytes += group.size_bytes - group.counted_bytes
        group.counted_bytes = group.size_bytes

    def _check_exists(self, group_id: str) -> None:
        if group_id not in self.image:
            raise GroupIdNotFound(f"there is no group {group_id}")

    def _let_rest(self, group: ClassicGroup) -> None:
        """Forget a live group if the log, with the records that are about to be written, says everything of it."""
        self._count(group)
        if group.is_idle:
            self.live.pop(group.group_id, None)


def check_group_id(group_id: str) -> None:
    """Raise InvalidGroupId unless `group_id` can be joined."""
    if not group_id or len(group_id) > MAX_NAME_CHARACTERS:
        raise InvalidGroupId(f"expected a group id of 1 to {MAX_NAME_CHARACTERS} characters, found {len(group_id)}")
