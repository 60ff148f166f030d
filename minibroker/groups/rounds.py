"""The rounds of a group: how a change of its members leads, over joining and syncing, to the next stable generation.

1. `membership_changed` opens a joining round. An empty group waits the initial delay for more members, again and again
   while they come, up to the rebalance timeout (KIP-134); any other group waits for its members to join again.
2. `complete_join` closes it: dynamic members that did not come are out, static ones stay until their session ends
   (KIP-345). The generation rises, the protocol is chosen, everybody hears it, the leader hears who is there.
3. `receive_assignments` takes the leader's word, and the group is stable. Who does not ask for its assignment within
   the rebalance timeout is out (KAFKA-12890): nobody would read what it was given.

The generation is written to the log when the joining round closes, before anybody hears of it, and again with the
assignments. (Kafka writes only the second, and can give the same generation out twice when it is killed in between.)
The first of the two carries no leader, by which a restart knows that the round was not finished: `restore` then has
everybody join again, under the member ids they have.

Source: Apache Kafka, GroupMetadataManager.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from minibroker.config.group_settings import GroupSettings
from minibroker.groups.classic import ClassicGroup
from minibroker.groups.effects import Effects
from minibroker.groups.member import NO_ASSIGNMENT, Member
from minibroker.groups.records import GroupMetadata, GroupRecord
from minibroker.groups.states import Event, State
from minibroker.protocol.errors import ErrorCode


def restore(
    group_id: str, metadata: GroupMetadata, settings: GroupSettings, now_ms: int, effects: Effects
) -> ClassicGroup:
    """The group as a restart finds it in the log, every session beginning anew.

    If it has outgrown group.max.size meanwhile, a round begins in which the members that come late are turned away.
    """
    group = ClassicGroup(group_id, settings, generation=metadata.generation, protocol=metadata.protocol)
    group.protocol_type = metadata.protocol_type or None
    for member in metadata.members:
        group.add(Member.from_metadata(member, metadata.protocol), group.protocol_type)
    for restored in group.members.values():
        group.extend_session(restored, now_ms)
    if not metadata.members:
        return group
    if metadata.leader is None:
        group.state = State.PREPARING_REBALANCE
        group.join_deadline_ms = group.schedule(now_ms + group.rebalance_timeout_ms)
        return group
    group.state, group.leader_id = State.STABLE, metadata.leader
    if len(group.members) > settings.group_max_size:
        membership_changed(group, now_ms, effects)
    return group


def membership_changed(group: ClassicGroup, now_ms: int, effects: Effects) -> None:
    """Begin a joining round, or see whether this completes the one that is under way."""
    before = group.state
    group.happens(Event.MEMBERSHIP_CHANGED)
    if before is State.PREPARING_REBALANCE:
        if group.join_deadline_ms is None:
            group.join_deadline_ms = group.schedule(now_ms + group.rebalance_timeout_ms)
        maybe_complete_join(group, now_ms, effects)
        return
    if before is State.COMPLETING_REBALANCE:
        for member in group.members.values():
            member.assignment = NO_ASSIGNMENT
            if group.answer_sync(member, ErrorCode.REBALANCE_IN_PROGRESS, effects):
                group.extend_session(member, now_ms)
    group.sync_deadline_ms = None
    if before is State.EMPTY:
        delay_ms = group.settings.group_initial_rebalance_delay_ms
        group.joined_in_delay = False
        _delay_join(group, now_ms, delay_ms, max(group.rebalance_timeout_ms - delay_ms, 0))
    elif group.all_have_joined:
        complete_join(group, now_ms, effects)
    else:
        group.join_deadline_ms = group.schedule(now_ms + group.rebalance_timeout_ms)


def maybe_complete_join(group: ClassicGroup, now_ms: int, effects: Effects) -> None:
    """Close the joining round if nobody is missing. One that begins with the initial delay always waits for its end."""
    if group.state is State.PREPARING_REBALANCE and group.initial_delay_ms is None and group.all_have_joined:
        complete_join(group, now_ms, effects)


def complete_join(group: ClassicGroup, now_ms: int, effects: Effects) -> None:
    """Close the joining round with those who are there."""
    group.initial_delay_ms = group.join_deadline_ms = None
    for member in [member for member in group.members.values() if member.held_join is None and not member.is_static]:
        group.remove(member.member_id)
    if not _elect_leader(group) and group.members:
        # Only static members that did not come: the round stays open until one does, or until their sessions end.
        return
    group.generation += 1
    if not group.members:
        group.protocol = None
        group.happens(Event.JOINED_BY_NOBODY)
    else:
        group.protocol = group.select_protocol()
        group.happens(Event.JOINED)
        _announce_generation(group, now_ms, effects)
    effects.records.append(GroupRecord(group.group_id, group.to_metadata(synced=False)))


def receive_assignments(group: ClassicGroup, assignments: Mapping[str, bytes], now_ms: int, effects: Effects) -> None:
    """The leader has spoken: everybody who waits hears its own part, an empty one if the leader left it out."""
    group.happens(Event.LEADER_SYNCED)
    for member in group.members.values():
        member.assignment = assignments.get(member.member_id, NO_ASSIGNMENT)
        if group.answer_sync(member, ErrorCode.NONE, effects):
            group.extend_session(member, now_ms)
    effects.records.append(GroupRecord(group.group_id, group.to_metadata(synced=True)))


def unload(group: ClassicGroup, error: ErrorCode, effects: Effects) -> None:
    """Let go of the group: all who wait hear `error` and look for the coordinator again."""
    group.happens(Event.UNLOADED)
    for member in group.members.values():
        group.answer_join(member, error, effects, member_id=member.member_id)
        group.answer_sync(member, error, effects)
    group.wake_ms = None


def expire(group: ClassicGroup, now_ms: int, effects: Effects) -> None:
    """Work through the deadlines that have come, earliest first, and set `wake_ms` anew."""
    due = sorted((at, member_id) for at, member_id in _session_deadlines(group) if at <= now_ms)
    for at, member_id in due:
        if _session_deadline(group, member_id) == at:  # else what came before has removed it, or begun its session anew
            expire_session(group, member_id, now_ms, effects)
    if group.join_deadline_ms is not None and group.join_deadline_ms <= now_ms:
        _end_join_time(group, now_ms, effects)
    if group.sync_deadline_ms is not None and group.sync_deadline_ms <= now_ms:
        _end_sync_time(group, now_ms, effects)
    deadlines = [deadline_ms for deadline_ms, _ in _session_deadlines(group)]
    deadlines += [at for at in (group.join_deadline_ms, group.sync_deadline_ms) if at is not None]
    group.wake_ms = min(deadlines, default=None)


def remove_member(group: ClassicGroup, member_id: str, effects: Effects) -> None:
    """Take a member out; a JoinGroup that is held for it hears that it is unknown, and may be sent again."""
    group.answer_join(group.members[member_id], ErrorCode.UNKNOWN_MEMBER_ID, effects)
    group.answer_sync(group.members[member_id], ErrorCode.UNKNOWN_MEMBER_ID, effects)
    group.remove(member_id)


def expire_session(group: ClassicGroup, member_id: str, now_ms: int, effects: Effects) -> None:
    """The session of a member is over, or the time in which a new member id should have been used."""
    if member_id in group.expected:
        group.remove(member_id)
        maybe_complete_join(group, now_ms, effects)
        return
    member = group.members[member_id]
    member.session_deadline_ms = None
    if not member.is_excused:
        remove_member(group, member_id, effects)
        membership_changed(group, now_ms, effects)


def _session_deadlines(group: ClassicGroup) -> Iterator[tuple[int, str]]:
    for member in group.members.values():
        if member.session_deadline_ms is not None:
            yield member.session_deadline_ms, member.member_id
    for member_id, deadline_ms in group.expected.items():
        yield deadline_ms, member_id


def _session_deadline(group: ClassicGroup, member_id: str) -> int | None:
    member = group.members.get(member_id)
    return group.expected.get(member_id) if member is None else member.session_deadline_ms


def _delay_join(group: ClassicGroup, now_ms: int, delay_ms: int, remaining_ms: int) -> None:
    group.initial_delay_ms, group.initial_remaining_ms = delay_ms, remaining_ms
    group.join_deadline_ms = group.schedule(now_ms + delay_ms)


def _end_join_time(group: ClassicGroup, now_ms: int, effects: Effects) -> None:
    delay_ms, remaining_ms = group.initial_delay_ms, group.initial_remaining_ms
    if delay_ms is None or not group.joined_in_delay or remaining_ms == 0:
        complete_join(group, now_ms, effects)
        return
    group.joined_in_delay = False
    next_ms = min(group.settings.group_initial_rebalance_delay_ms, remaining_ms)
    _delay_join(group, now_ms, next_ms, max(remaining_ms - delay_ms, 0))


def _end_sync_time(group: ClassicGroup, now_ms: int, effects: Effects) -> None:
    group.sync_deadline_ms = None
    if not group.not_synced:
        return
    for member_id in list(group.not_synced):
        group.remove(member_id)
    membership_changed(group, now_ms, effects)


def _elect_leader(group: ClassicGroup) -> bool:
    """See that the leader is one of those who have joined in this round. False if there is nobody."""
    if group.leader_id is None:
        return False
    if group.members[group.leader_id].held_join is None:
        joined = (member.member_id for member in group.members.values() if member.held_join is not None)
        new_leader = next(joined, None)
        if new_leader is None:
            return False
        group.leader_id = new_leader
    return True


def _announce_generation(group: ClassicGroup, now_ms: int, effects: Effects) -> None:
    for member in group.members.values():
        group.answer_join(member, group.generation_for(member), effects)
        group.extend_session(member, now_ms)
        member.is_new = False
        group.not_synced.add(member.member_id)
    group.sync_deadline_ms = group.schedule(now_ms + group.rebalance_timeout_ms)
