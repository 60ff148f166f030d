"""The deadlines of groups: what is kept of them, and who has a turn while they come."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from minibroker.coordinator.deadlines import DUE_AT_ONCE, SPARE_ENTRIES, Deadlines
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.delete_groups import DeleteGroupsRequest
from tests.coordinator.rig import joining, open_rig

MANY = 10 * SPARE_ENTRIES


async def test_nothing_is_kept_of_groups_that_are_gone(autojump_clock: MockClock) -> None:
    """Deleted, or left by all: their deadlines would have come in half an hour only."""
    long = {"session_timeout_ms": 1_800_000}
    async with open_rig() as rig:
        deadlines = rig.coordinator._deadlines
        for number in range(MANY):
            given = await rig.call(joining(group_id=f"{number}", **long), 9)
            assert given.error_code == ErrorCode.MEMBER_ID_REQUIRED
            if number % 2:
                assert await rig.leave(given.member_id, group_id=f"{number}") == [ErrorCode.NONE]
            else:
                await rig.call(DeleteGroupsRequest(groups_names=[f"{number}"]), 2)
        assert not deadlines._watched
        assert len(deadlines._heap) <= SPARE_ENTRIES


def test_a_deadline_that_comes_nearer_leaves_nothing_behind() -> None:
    """However often: the entries before are of no use. Those of other groups stay."""
    deadlines = Deadlines(lambda: 0, lambda group_id, now_ms: None)
    deadlines.watch("other", 7)
    for deadline_ms in reversed(range(MANY)):
        deadlines.watch("g", deadline_ms)
    assert len(deadlines._heap) <= SPARE_ENTRIES + 4
    assert {(7, "other"), (0, "g")} <= set(deadlines._heap)


async def test_others_have_their_turn_while_many_deadlines_come(autojump_clock: MockClock) -> None:
    """Of groups that all end in the same millisecond: each of them does, with no request waiting for all of them."""
    turns = 0
    expired: list[int] = []
    deadlines = Deadlines(lambda: trio.current_time() + 1, lambda group_id, now_ms: expired.append(turns))
    for number in range(5 * DUE_AT_ONCE):
        deadlines.watch(f"{number}", 500)

    async def others() -> None:
        nonlocal turns
        while len(expired) < 5 * DUE_AT_ONCE:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        await others()
        nursery.cancel_scope.cancel()
    assert max(map(expired.count, expired)) <= DUE_AT_ONCE
