"""SyncGroup, Heartbeat, LeaveGroup, and who may commit: the requests of members that know their generation.

Source: Apache Kafka, GroupMetadataManager.classicGroupSync, classicGroupHeartbeat, classicGroupLeave and
ClassicGroup.validateOffsetCommit; KIP-559 (protocol type and name in SyncGroup), KIP-345 (several members in one
LeaveGroup).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from minibroker.groups import rounds
from minibroker.groups.classic import ClassicGroup
from minibroker.groups.effects import Effects
from minibroker.groups.joining import NO_MEMBER_ID
from minibroker.groups.member import Member, Waiter
from minibroker.groups.states import COMMIT_ANSWERS, HEARTBEAT_ANSWERS, State
from minibroker.protocol.errors import (
    ErrorCode,
    IllegalGeneration,
    InconsistentGroupProtocol,
    RebalanceInProgress,
    UnknownMemberId,
    error_for,
)


@attrs.frozen(kw_only=True)
class Caller:
    """Who a member says it is."""

    member_id: str
    instance_id: str | None
    generation: int


def sync(
    group: ClassicGroup,
    caller: Caller,
    protocol_type: str | None,
    protocol: str | None,
    assignments: Mapping[str, bytes],
    waiter: Waiter,
    now_ms: int,
    effects: Effects,
) -> None:
    """Give `waiter` the caller's assignment, now or once the leader has sent it. The leader brings all of them.

    Raises UnknownMemberId, FencedInstanceId, IllegalGeneration, InconsistentGroupProtocol, RebalanceInProgress.
    """
    member = _check(group, caller)
    if _contradicts(protocol_type, group.protocol_type) or _contradicts(protocol, group.protocol):
        raise InconsistentGroupProtocol(f"group {group.group_id} uses {group.protocol_type}/{group.protocol}")
    if group.state is State.PREPARING_REBALANCE:
        raise RebalanceInProgress
    group.not_synced.discard(member.member_id)
    if group.state is State.STABLE:
        effects.answer(waiter, group.assignment_of(member))
        return
    group.answer_sync(member, ErrorCode.REBALANCE_IN_PROGRESS, effects)  # one held before belongs to a lost connection
    member.held_sync = waiter
    if member.member_id == group.leader_id:
        rounds.receive_assignments(group, assignments, now_ms, effects)


def heartbeat(group: ClassicGroup, caller: Caller, now_ms: int) -> ErrorCode:
    """The caller is alive; the answer tells it whether to join again.

    Raises UnknownMemberId, FencedInstanceId, IllegalGeneration.
    """
    group.extend_session(_check(group, caller), now_ms)
    return HEARTBEAT_ANSWERS[group.state]


def leave(group: ClassicGroup, member_id: str, instance_id: str | None, effects: Effects) -> None:
    """Take one member out, named by its member id or, by an administrator, by its instance id alone.

    Raises UnknownMemberId, FencedInstanceId. Call `end_leave` when all members of the request have left.
    """
    if member_id in group.expected:
        group.remove(member_id)
        return
    if member_id == NO_MEMBER_ID:
        member_id = group.static_ids.get(instance_id or "", NO_MEMBER_ID)
    rounds.remove_member(group, group.check_member(member_id, instance_id).member_id, effects)


def end_leave(group: ClassicGroup, now_ms: int, effects: Effects) -> None:
    """At least one member has left."""
    if group.state is not State.EMPTY:
        rounds.membership_changed(group, now_ms, effects)


def check_commit(group: ClassicGroup, caller: Caller, now_ms: int) -> None:
    """Raise unless the caller may commit offsets. A member's commit proves it alive, as a heartbeat does.

    Raises UnknownMemberId, FencedInstanceId, IllegalGeneration, RebalanceInProgress.
    """
    if group.state is State.EMPTY and caller.generation < 0:
        return  # a tool, or a consumer that assigns partitions to itself
    if caller.generation < 0 and caller.member_id == NO_MEMBER_ID and caller.instance_id is None:
        raise UnknownMemberId(f"group {group.group_id} has members, and this is none of them")
    member = _check(group, caller)
    if error := COMMIT_ANSWERS[group.state]:
        raise error_for(error)
    group.extend_session(member, now_ms)


def _check(group: ClassicGroup, caller: Caller) -> Member:
    member = group.check_member(caller.member_id, caller.instance_id)
    if caller.generation != group.generation:
        raise IllegalGeneration(f"group {group.group_id} is at generation {group.generation}")
    return member


def _contradicts(said: str | None, agreed: str | None) -> bool:
    return said is not None and agreed is not None and said != agreed
