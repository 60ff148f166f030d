"""Drives a GroupMachine as a coordinator does: append, replay, answer, and expire, on a clock that the test moves."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import attrs

from minibroker.config.settings import BrokerSettings
from minibroker.groups import formats
from minibroker.groups.classic import ClassicGroup
from minibroker.groups.effects import Effects
from minibroker.groups.image import Image
from minibroker.groups.joining import Join
from minibroker.groups.machine import GroupMachine
from minibroker.groups.member import MEMBER_BYTES, size_bytes
from minibroker.groups.records import GroupRecord
from minibroker.groups.requests import Caller
from minibroker.protocol.errors import ErrorCode, KafkaError
from minibroker.protocol.messages.join_group import JoinGroupResponse
from minibroker.protocol.messages.sync_group import SyncGroupResponse

GROUP = "g"
NO_DELAY = BrokerSettings(group_initial_rebalance_delay_ms=0)


@attrs.define(eq=False)
class Driver:
    """One group machine with a log of bytes and a clock that the test moves."""

    settings: BrokerSettings = NO_DELAY
    now_ms: int = 1_000_000
    log: list[tuple[bytes, bytes | None]] = attrs.Factory(list)
    answers: dict[int, Any] = attrs.Factory(dict)
    machine: GroupMachine = attrs.field(
        default=attrs.Factory(lambda self: GroupMachine(self.settings), takes_self=True)
    )
    ids: Any = attrs.Factory(itertools.count)
    looked: int = 0
    """How often the machine was asked for deadlines that have come."""

    @property
    def group(self) -> ClassicGroup:
        return self.machine.live[GROUP]

    @property
    def state(self) -> str:
        return self.machine.state_of(GROUP).value

    def apply(self, effects: Effects) -> None:
        for record in effects.records:
            if isinstance(record, GroupRecord) and record.value is not None:
                record = GroupRecord(record.group_id, attrs.evolve(record.value, state_timestamp_ms=self.now_ms))
            self.log.append(formats.encode(record))
            self.machine.replay(record)
        for waiter, response in effects.answers:
            assert isinstance(waiter, int)
            assert waiter not in self.answers, "a request is answered once"
            self.answers[waiter] = response
        self.check_sizes()

    def check_sizes(self) -> None:
        """What is reckoned with is what is there."""
        for group in self.machine.live.values():
            members = sum(
                size_bytes(member.client_id, member.instance_id, member.protocols) for member in group.members.values()
            )
            assert group.size_bytes == members + sum(MEMBER_BYTES + len(member_id) for member_id in group.expected)
        live_bytes = sum(group.size_bytes for group in self.machine.live.values())
        assert self.machine.size_bytes == live_bytes + self.replayed().size_bytes

    def join(self, member_id: str = "", group_id: str = GROUP, **changes: Any) -> int:
        waiter = next(self.ids)
        fields: dict[str, Any] = {
            "version": 9,
            "client_id": "c",
            "client_host": "/127.0.0.1",
            "member_id": member_id,
            "instance_id": None,
            "protocol_type": "consumer",
            "protocols": (("range", b"r"),),
            "session_timeout_ms": 10_000,
            "rebalance_timeout_ms": 60_000,
            "new_id": str(waiter),
        }
        effects = Effects()
        try:
            self.machine.join(group_id, Join(**{**fields, **changes}), waiter, self.now_ms, effects)
        except KafkaError as error:
            effects.answer(waiter, JoinGroupResponse(error_code=error.code, member_id=member_id))
        self.apply(effects)
        return waiter

    def new_id(self, **changes: Any) -> str:
        """Take the first of the two steps of a new dynamic member."""
        answer = self.answers[self.join(**changes)]
        assert answer.error_code == ErrorCode.MEMBER_ID_REQUIRED
        return str(answer.member_id)

    def sync(self, member_id: str, generation: int, assignments: Mapping[str, bytes] = {}, **changes: Any) -> int:
        waiter = next(self.ids)
        instance_id = changes.pop("instance_id", None)
        protocol = (changes.pop("protocol_type", None), changes.pop("protocol", None))
        caller = Caller(member_id=member_id, instance_id=instance_id, generation=generation)
        effects = Effects()
        try:
            self.machine.sync(GROUP, caller, protocol, assignments, waiter, self.now_ms, effects)
        except KafkaError as error:
            effects.answer(waiter, SyncGroupResponse(error_code=error.code))
        self.apply(effects)
        return waiter

    def heartbeat(self, member_id: str, generation: int, instance_id: str | None = None) -> ErrorCode:
        try:
            caller = Caller(member_id=member_id, instance_id=instance_id, generation=generation)
            return self.machine.heartbeat(GROUP, caller, self.now_ms)
        except KafkaError as error:
            return error.code

    def commit(self, member_id: str, generation: int, version: int = 8, instance_id: str | None = None) -> ErrorCode:
        try:
            caller = Caller(member_id=member_id, instance_id=instance_id, generation=generation)
            self.machine.check_commit(GROUP, caller, version, self.now_ms)
        except KafkaError as error:
            return error.code
        return ErrorCode.NONE

    def leave(self, *members: str | tuple[str, str | None]) -> list[ErrorCode]:
        effects = Effects()
        named = [(member, None) if isinstance(member, str) else member for member in members]
        codes = self.machine.leave(GROUP, named, self.now_ms, effects)
        self.apply(effects)
        return codes

    def advance(self, milliseconds: int) -> None:
        """Let time pass, with every deadline at its moment."""
        end_ms = self.now_ms + milliseconds
        while True:
            due = [
                group for group in self.machine.live.values() if group.wake_ms is not None and group.wake_ms <= end_ms
            ]
            if not due:
                break
            group = min(due, key=lambda group: group.wake_ms or 0)
            assert group.wake_ms is not None
            self.now_ms = max(self.now_ms, group.wake_ms)
            effects = Effects()
            self.looked += 1
            self.machine.expire(group.group_id, self.now_ms, effects)
            self.apply(effects)
        self.now_ms = end_ms

    def restart(self) -> None:
        """Lose everything but the log, and load it."""
        self.machine = GroupMachine(self.settings)
        self.machine.image = self.replayed()
        effects = Effects()
        for group_id in self.machine.group_ids():
            self.machine.load(group_id, self.now_ms, effects)
        self.apply(effects)

    def replayed(self) -> Image:
        """What a restart would make of the log."""
        image = Image()
        for key, value in self.log:
            record = formats.decode(key, value)
            assert record is not None
            image.replay(record)
        return image

    def stable(self, members: int = 1, **changes: Any) -> list[str]:
        """A stable group of so many dynamic members, leader first; each is assigned its own member id."""
        ids = [self.new_id(**changes) for _ in range(members)]
        waiters = [self.join(member_id, **changes) for member_id in ids]
        self.advance(2 * self.settings.group_initial_rebalance_delay_ms)
        answers = [self.answers[waiter] for waiter in waiters]
        leader = answers[0].leader
        ids.sort(key=lambda member_id: member_id != leader)
        for member_id in ids:
            self.sync(member_id, answers[0].generation_id, {one: one.encode() for one in ids})
        assert self.state == "Stable"
        return ids
