"""JoinGroup: who may come in, and what that starts.

A new dynamic member comes twice: without a member id, to be given one and asked to come again with it
(MEMBER_ID_REQUIRED, KIP-394, from version 4 on), so that a client which times out in between leaves nothing behind. A
static member (KIP-345) that comes without a member id takes the place of the one with its instance id, who is fenced;
in a stable group this does not start a round unless the choice of protocol changes by it.

Source: Apache Kafka, GroupMetadataManager.classicGroupJoinToClassicGroup and what it calls.
"""

from __future__ import annotations

from typing import Final

import attrs

from minibroker.groups import rounds
from minibroker.groups.classic import ClassicGroup
from minibroker.groups.effects import Effects
from minibroker.groups.member import Member, Protocols, Waiter, size_bytes
from minibroker.groups.records import GroupRecord
from minibroker.groups.states import State
from minibroker.protocol.errors import ErrorCode, KafkaError
from minibroker.protocol.messages.join_group import JoinGroupResponse

NO_MEMBER_ID: Final = ""
NEW_MEMBER_TIMEOUT_MS: Final = 300_000
"""How long a member may stay that has not seen a generation: it sends no heartbeats, and its connection may be dead."""

MEMBER_ID_REQUIRED_FROM: Final = 4
SKIP_ASSIGNMENT_FROM: Final = 9
"""From this version on a leader can be told to lead without assigning (KIP-814)."""


@attrs.frozen(kw_only=True)
class Join:
    """A JoinGroup request, its bytes copied out of the receive buffer."""

    version: int
    client_id: str
    client_host: str
    member_id: str
    instance_id: str | None
    protocol_type: str
    protocols: Protocols
    session_timeout_ms: int
    rebalance_timeout_ms: int
    new_id: str
    """Unique text to make a member id of, should one be needed."""

    @property
    def names(self) -> list[str]:
        """The names of the protocols."""
        return [name for name, _ in self.protocols]

    @property
    def texts(self) -> list[str]:
        """All that a client may make as long as it likes."""
        return [self.client_id, self.instance_id or "", self.protocol_type, *self.names]

    @property
    def size_bytes(self) -> int:
        """About how much memory its member would take."""
        return size_bytes(self.client_id, self.instance_id, self.protocols)

    def new_member_id(self) -> str:
        """The id of the member that this request brings."""
        return f"{self.client_id if self.instance_id is None else self.instance_id}-{self.new_id}"


def join(group: ClassicGroup, request: Join, waiter: Waiter, now_ms: int, effects: Effects) -> None:
    """Decide on `request`. `waiter` is answered in `effects` now or when the round ends."""
    if not _has_room_for(group, request.member_id):
        group.remove(request.member_id)
        effects.answer(waiter, _refusal(ErrorCode.GROUP_MAX_SIZE_REACHED))
        # Those who are in need not wait for the one that is turned away.
        rounds.maybe_complete_join(group, now_ms, effects)
    elif not group.supports(request.protocol_type, request.names):
        effects.answer(waiter, _refusal(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, request.member_id))
    elif request.member_id == NO_MEMBER_ID:
        _join_new(group, request, waiter, now_ms, effects)
    elif request.member_id in group.expected and request.instance_id is None:
        _add(group, request, request.member_id, waiter, now_ms, effects)
    else:
        try:
            member = group.check_member(request.member_id, request.instance_id)
        except KafkaError as error:
            effects.answer(waiter, _refusal(error.code, request.member_id))
        else:
            _join_again(group, member, request, waiter, now_ms, effects)


def _has_room_for(group: ClassicGroup, member_id: str) -> bool:
    limit = group.settings.group_max_size
    if group.state is State.EMPTY:
        return True
    member = group.members.get(member_id)
    if group.state is State.PREPARING_REBALANCE:
        # Counted are those who have joined: a group that is too large by a new limit loses the ones that come last.
        return (member is not None and member.held_join is not None) or group.joins_held < limit
    return member is not None or len(group.members) < limit


def _join_new(group: ClassicGroup, request: Join, waiter: Waiter, now_ms: int, effects: Effects) -> None:
    member_id = request.new_member_id()
    if request.instance_id is not None and request.instance_id in group.static_ids:
        _replace_static(group, request, member_id, waiter, now_ms, effects)
    elif request.instance_id is None and request.version >= MEMBER_ID_REQUIRED_FROM:
        group.expect(member_id, now_ms + request.session_timeout_ms)
        effects.answer(waiter, _refusal(ErrorCode.MEMBER_ID_REQUIRED, member_id))
    else:
        _add(group, request, member_id, waiter, now_ms, effects)


def _add(group: ClassicGroup, request: Join, member_id: str, waiter: Waiter, now_ms: int, effects: Effects) -> None:
    member = Member(
        member_id=member_id,
        instance_id=request.instance_id,
        client_id=request.client_id,
        client_host=request.client_host,
        rebalance_timeout_ms=request.rebalance_timeout_ms,
        session_timeout_ms=request.session_timeout_ms,
        protocols=request.protocols,
        held_join=waiter,
        is_new=True,
    )
    group.joined_in_delay = True  # of no consequence outside the initial delay, and reset when one begins
    group.add(member, request.protocol_type)
    group.extend_session(member, now_ms, NEW_MEMBER_TIMEOUT_MS)
    rounds.membership_changed(group, now_ms, effects)


def _join_again(
    group: ClassicGroup, member: Member, request: Join, waiter: Waiter, now_ms: int, effects: Effects
) -> None:
    unchanged = member.protocols == request.protocols
    leads = member.member_id == group.leader_id
    if group.state is State.COMPLETING_REBALANCE and unchanged:
        # It may have missed the answer to the JoinGroup it sent before.
        effects.answer(waiter, group.generation_for(member))
    elif group.state is State.STABLE and unchanged and not leads:
        effects.answer(waiter, group.generation_for(member))
    else:
        # A leader that joins a stable group again wants to assign anew: it has seen something, such as new partitions.
        _update(group, member, request, waiter, effects)
        rounds.membership_changed(group, now_ms, effects)


def _update(group: ClassicGroup, member: Member, request: Join, waiter: Waiter, effects: Effects) -> None:
    group.change_protocols(member, request.protocols)
    member.rebalance_timeout_ms = request.rebalance_timeout_ms
    member.session_timeout_ms = request.session_timeout_ms
    group.hold_join(member, waiter, effects)


def _replace_static(
    group: ClassicGroup, request: Join, new_id: str, waiter: Waiter, now_ms: int, effects: Effects
) -> None:
    assert request.instance_id is not None
    old_leader_id = group.leader_id
    member = group.rename(request.instance_id, new_id, effects)
    member.client_id, member.client_host = request.client_id, request.client_host
    _update(group, member, request, waiter, effects)
    group.extend_session(member, now_ms)
    if group.state is not State.STABLE or group.select_protocol() != group.protocol:
        # While the leader assigns, it assigns to the old member id: that round is void.
        rounds.membership_changed(group, now_ms, effects)
        return
    effects.records.append(GroupRecord(group.group_id, group.to_metadata(synced=True)))
    answer = group.generation_for(member)
    if request.version >= SKIP_ASSIGNMENT_FROM:
        answer.skip_assignment = new_id == group.leader_id
    else:
        # A client that cannot skip the assignment must not take itself for the leader: nobody would wait for its word.
        answer.leader, answer.members = old_leader_id or "", []
    group.answer_join(member, answer, effects)


def _refusal(error: ErrorCode, member_id: str = NO_MEMBER_ID) -> JoinGroupResponse:
    return JoinGroupResponse(error_code=error, member_id=member_id)
