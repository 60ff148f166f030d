"""A group of the classic protocol: its members, its generation, what they agreed on.

Here is what a group knows of itself; `rounds` moves it from state to state, `joining` and `requests` decide what
single requests may do. Together they are a state machine that reads no clock and waits for nothing: `now_ms` is an
argument, of any clock that never goes back; deadlines are numbers, and whoever drives the group calls `rounds.expire`
once `wake_ms` has come; requests that are held are opaque `Waiter`s, which come back with their answers in `Effects`.

Source: Apache Kafka, ClassicGroup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from minibroker.config.group_settings import GroupSettings
from minibroker.groups.effects import Effects
from minibroker.groups.member import MEMBER_BYTES, Member, Protocols, Waiter, size_bytes
from minibroker.groups.records import GroupMetadata, text_bytes
from minibroker.groups.states import TRANSITIONS, Event, State
from minibroker.groups.subscriptions import CONSUMER
from minibroker.protocol.errors import ErrorCode, FencedInstanceId, UnknownMemberId
from minibroker.protocol.messages.join_group import JoinGroupResponse, JoinGroupResponseMember
from minibroker.protocol.messages.sync_group import SyncGroupResponse


@attrs.define(eq=False)
class ClassicGroup:
    """One group that has, or is getting, members."""

    group_id: str
    settings: GroupSettings
    state: State = State.EMPTY
    generation: int = 0
    protocol_type: str | None = None
    protocol: str | None = None
    """The protocol that this generation has agreed on."""
    leader_id: str | None = None
    members: dict[str, Member] = attrs.Factory(dict)
    static_ids: dict[str, str] = attrs.Factory(dict)
    """From instance ids to the member ids that stand for them now."""
    expected: dict[str, int] = attrs.Factory(dict)
    """Member ids that were given out (KIP-394) and have not joined yet, with the deadline of each."""
    not_synced: set[str] = attrs.Factory(set)
    """Members of this generation that have not asked for their assignment yet."""
    join_deadline_ms: int | None = None
    sync_deadline_ms: int | None = None
    wake_ms: int | None = None
    """When `rounds.expire` is to be called: never later than the first deadline, often earlier."""
    initial_delay_ms: int | None = None
    """The running part of the initial delay (KIP-134); None in a round that goes on from an earlier generation."""
    initial_remaining_ms: int = 0
    joined_in_delay: bool = False
    _supporters: Counter[str] = attrs.Factory(Counter)
    """How many members support each protocol."""
    size_bytes: int = 0
    """About how much memory the group takes for its members, assignments not included."""
    counted_bytes: int = 0
    """How much of it whoever bounds the memory of all groups has taken note of."""

    @property
    def rebalance_timeout_ms(self) -> int:
        """The longest that any member asks for."""
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    @property
    def uses_consumer_protocol(self) -> bool:
        """Whether the members are Kafka consumers, whose subscriptions the broker understands."""
        return self.protocol_type == CONSUMER

    @property
    def joins_held(self) -> int:
        """How many members have (re)joined in this round."""
        return sum(member.held_join is not None for member in self.members.values())

    @property
    def all_have_joined(self) -> bool:
        """Whether nobody is missing any more in this round."""
        return not self.expected and all(member.held_join is not None for member in self.members.values())

    @property
    def is_idle(self) -> bool:
        """Whether the log says all there is to say about this group."""
        return self.state is State.EMPTY and not self.expected

    def supports(self, protocol_type: str, protocols: Iterable[str]) -> bool:
        """Whether a member with these protocols could take part."""
        if self.state is State.EMPTY:
            return bool(protocol_type) and any(True for _ in protocols)
        size = len(self.members)
        return self.protocol_type == protocol_type and any(self._supporters[name] == size for name in protocols)

    def select_protocol(self) -> str:
        """The protocol that most members prefer, out of those that all support."""
        size = len(self.members)
        candidates = {name for name, count in self._supporters.items() if count == size}
        votes = Counter(member.vote(candidates) for member in self.members.values())
        return votes.most_common(1)[0][0]

    def check_member(self, member_id: str, instance_id: str | None) -> Member:
        """The member that these ids name. Raises UnknownMemberId, or FencedInstanceId if another took its place."""
        if instance_id is not None:
            current_id = self.static_ids.get(instance_id)
            if current_id is None:
                raise UnknownMemberId(f"group {self.group_id} has no member {instance_id}")
            if current_id != member_id:
                raise FencedInstanceId(f"{instance_id} has joined group {self.group_id} again, as {current_id}")
        member = self.members.get(member_id)
        if member is None:
            raise UnknownMemberId(f"group {self.group_id} has no member {member_id}")
        return member

    def happens(self, event: Event) -> None:
        """Go where `event` leads. A KeyError here is a bug of ours."""
        self.state = TRANSITIONS[self.state, event]

    # Members --------------------------------------------------------------------------------------------------------

    def expect(self, member_id: str, deadline_ms: int) -> None:
        """Give a member id out (KIP-394), with which somebody is expected to join before the deadline."""
        self.expected[member_id] = self.schedule(deadline_ms)
        self.size_bytes += MEMBER_BYTES + text_bytes(member_id)

    def _end_expecting(self, member_id: str) -> None:
        if self.expected.pop(member_id, None) is not None:
            self.size_bytes -= MEMBER_BYTES + text_bytes(member_id)

    def add(self, member: Member, protocol_type: str | None) -> None:
        """Take `member` in; the first one decides on the protocol type, and leads."""
        if not self.members:
            self.protocol_type = protocol_type
        self._end_expecting(member.member_id)
        self.members[member.member_id] = member
        self._take_in(member)
        if member.instance_id is not None:
            self.static_ids[member.instance_id] = member.member_id
        self.leader_id = self.leader_id or member.member_id

    def remove(self, member_id: str) -> None:
        """Forget a member, or a member id that was expected to join. The next member leads if the leader is gone."""
        self._end_expecting(member_id)
        self.not_synced.discard(member_id)
        member = self.members.pop(member_id, None)
        if member is None:
            return
        self._let_go(member)
        if member.instance_id is not None:
            del self.static_ids[member.instance_id]
        if self.leader_id == member_id:
            self.leader_id = next(iter(self.members), None)

    def rename(self, instance_id: str, new_id: str, effects: Effects) -> Member:
        """Let `new_id` stand for `instance_id` from now on, and fence whoever still waits under the old member id."""
        old_id = self.static_ids[instance_id]
        member = self.members.pop(old_id)
        self.answer_join(member, ErrorCode.FENCED_INSTANCE_ID, effects, member_id=old_id)
        self.answer_sync(member, ErrorCode.FENCED_INSTANCE_ID, effects)
        member.member_id = new_id
        self.members[new_id] = member
        self.static_ids[instance_id] = new_id
        if old_id in self.not_synced:
            self.not_synced.remove(old_id)
            self.not_synced.add(new_id)
        if self.leader_id == old_id:
            self.leader_id = new_id
        return member

    def change_protocols(self, member: Member, protocols: Protocols) -> None:
        """Let `member` support `protocols` instead of what it supported."""
        self._let_go(member)
        member.protocols = protocols
        self._take_in(member)

    def _take_in(self, member: Member) -> None:
        self._supporters.update(name for name, _ in member.protocols)
        member.counted_bytes = size_bytes(member.client_id, member.instance_id, member.protocols)
        self.size_bytes += member.counted_bytes

    def _let_go(self, member: Member) -> None:
        self.size_bytes -= member.counted_bytes
        for name, _ in member.protocols:
            self._supporters[name] -= 1
            if not self._supporters[name]:
                del self._supporters[name]

    def held_by(self, member_id: str, instance_id: str | None) -> int:
        """How much of the memory the member takes that these ids name; 0 if there is none."""
        member = self.members.get(member_id or self.static_ids.get(instance_id or "", ""))
        if member is not None:
            return member.counted_bytes
        return MEMBER_BYTES + text_bytes(member_id) if member_id in self.expected else 0

    # Held requests and deadlines ------------------------------------------------------------------------------------

    def hold_join(self, member: Member, waiter: Waiter, effects: Effects) -> None:
        """Keep a JoinGroup of `member` until its round ends. One that was held before belongs to a lost connection."""
        self.answer_join(member, ErrorCode.REBALANCE_IN_PROGRESS, effects)
        member.held_join = waiter

    def answer_join(
        self, member: Member, answer: JoinGroupResponse | ErrorCode, effects: Effects, member_id: str = ""
    ) -> None:
        """Answer the JoinGroup that is held for `member`, if any. An error is told to `member_id`."""
        if member.held_join is None:
            return
        if isinstance(answer, ErrorCode):
            answer = JoinGroupResponse(error_code=answer, member_id=member_id)
        effects.answer(member.held_join, answer)
        member.held_join = None

    def answer_sync(self, member: Member, error: ErrorCode, effects: Effects) -> bool:
        """Answer the SyncGroup that is held for `member`, if any: its assignment, or `error`."""
        if member.held_sync is None:
            return False
        answer = SyncGroupResponse(error_code=error) if error else self.assignment_of(member)
        effects.answer(member.held_sync, answer)
        member.held_sync = None
        return True

    def assignment_of(self, member: Member) -> SyncGroupResponse:
        """What `member` hears when it asks for its assignment."""
        return SyncGroupResponse(
            protocol_type=self.protocol_type, protocol_name=self.protocol, assignment=member.assignment
        )

    def generation_for(self, member: Member) -> JoinGroupResponse:
        """What `member` hears of this generation; the leader also who the others are and what they said."""
        everybody = [
            JoinGroupResponseMember(
                member_id=other.member_id,
                group_instance_id=other.instance_id,
                metadata=other.metadata_for(self.protocol),
            )
            for other in (self.members.values() if member.member_id == self.leader_id else ())
        ]
        return JoinGroupResponse(
            generation_id=self.generation,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol,
            leader=self.leader_id or "",
            member_id=member.member_id,
            members=everybody,
        )

    def schedule(self, deadline_ms: int) -> int:
        """See that `wake_ms` is not later than `deadline_ms`, and return it."""
        if self.wake_ms is None or deadline_ms < self.wake_ms:
            self.wake_ms = deadline_ms
        return deadline_ms

    def extend_session(self, member: Member, now_ms: int, timeout_ms: int | None = None) -> None:
        """Expect to hear of `member` within its session timeout, or within `timeout_ms`."""
        timeout_ms = member.session_timeout_ms if timeout_ms is None else timeout_ms
        member.session_deadline_ms = self.schedule(now_ms + timeout_ms)

    def to_metadata(self, *, synced: bool) -> GroupMetadata:
        """The group as it is written to the log; `synced` says that the members carry this generation's assignments."""
        return GroupMetadata(
            protocol_type=self.protocol_type or "",
            generation=self.generation,
            protocol=self.protocol,
            leader=self.leader_id if synced else None,
            members=tuple(member.to_metadata(self.protocol) for member in self.members.values()),
        )
