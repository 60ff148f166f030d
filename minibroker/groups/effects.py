"""What follows from something that happened to a group: answers to held requests, and records for the log."""

from __future__ import annotations

import attrs

from minibroker.groups.member import Waiter
from minibroker.groups.records import GroupsRecord
from minibroker.protocol.messages.join_group import JoinGroupResponse
from minibroker.protocol.messages.sync_group import SyncGroupResponse


@attrs.define(eq=False)
class Effects:
    """Collected while one event is worked through. The answers are true once the records are durable, not before."""

    answers: list[tuple[Waiter, JoinGroupResponse | SyncGroupResponse]] = attrs.Factory(list)
    records: list[GroupsRecord] = attrs.Factory(list)

    def answer(self, waiter: Waiter, response: JoinGroupResponse | SyncGroupResponse) -> None:
        """Let `waiter` hear `response`."""
        self.answers.append((waiter, response))
