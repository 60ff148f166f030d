"""What groups may cost: an attacker meets a limit, and who was there before does not notice."""

from __future__ import annotations

from typing import Any

import pytest
import trio.testing

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.delete_groups import DeleteGroupsRequest
from minibroker.protocol.messages.describe_groups import DescribeGroupsRequest
from minibroker.protocol.messages.heartbeat import HeartbeatRequest
from minibroker.protocol.messages.join_group import JoinGroupRequestProtocol
from minibroker.protocol.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup
from minibroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.coordinator.rig import Rig, joining, open_rig

FULL = ErrorCode.GROUP_MAX_SIZE_REACHED
NOBODY = {"generation_id_or_member_epoch": -1}
MUCH = 100_000


def saying(size: int, name: str = "range") -> list[JoinGroupRequestProtocol]:
    return [JoinGroupRequestProtocol(name=name, metadata=bytes(size))]


async def stable(rig: Rig, member_id: str = "", group_id: str = "g") -> Any:
    """An honest member, alone in its group, in a new round."""
    joined = await rig.join(member_id, group_id=group_id)
    assert joined.error_code == ErrorCode.NONE
    assert (await rig.sync(joined, group_id)).error_code == ErrorCode.NONE
    return joined


async def works(rig: Rig, joined: Any, offset: int) -> Any:
    """What an honest member does goes on: heartbeats, commits, and joining again."""
    assert await rig.heartbeat(joined) == ErrorCode.NONE
    member = {"generation_id_or_member_epoch": joined.generation_id, "member_id": joined.member_id}
    assert await rig.commit(offset, **member) == ErrorCode.NONE
    assert (await rig.committed())["t", 0] == offset
    return await stable(rig, joined.member_id)


async def test_who_says_too_much_is_turned_away(autojump_clock: trio.testing.MockClock) -> None:
    """`minibroker.group.max.bytes`: what members say of themselves when they join."""
    async with open_rig(minibroker_group_max_bytes=MUCH) as rig:
        honest = await stable(rig)
        for protocols in (saying(MUCH), [one for n in range(11) for one in saying(MUCH // 10, f"p{n}")]):
            assert (await rig.join(protocols=saying(1) + protocols)).error_code == FULL
            assert (await rig.join(group_id="other", protocols=protocols)).error_code == FULL
        await works(rig, honest, 1)


async def test_who_names_too_many_protocols_is_turned_away(autojump_clock: trio.testing.MockClock) -> None:
    """However short they are: clients name one or two."""
    async with open_rig() as rig:
        protocols = [one for n in range(101) for one in saying(0, f"{n}")]
        assert (await rig.call(joining(protocols=protocols), 9)).error_code == ErrorCode.INVALID_REQUEST
        assert (await rig.join(protocols=protocols[:100])).error_code == ErrorCode.NONE


async def test_member_ids_are_not_given_out_without_end(autojump_clock: trio.testing.MockClock) -> None:
    """To one who asks for them and never joins; when they have expired, there is room again."""
    async with open_rig(minibroker_group_max_bytes=MUCH) as rig:
        honest = await stable(rig)
        given = 0
        while (answer := await rig.call(joining(), 9)).error_code == ErrorCode.MEMBER_ID_REQUIRED:
            given += 1
        assert answer.error_code == FULL
        assert 10 < given < 100
        assert (await rig.join(group_id="other")).error_code == ErrorCode.NONE
        await works(rig, honest, 1)  # its round waits until the ids that nobody uses have expired
        assert (await rig.call(joining(), 9)).error_code == ErrorCode.MEMBER_ID_REQUIRED


async def test_a_leader_assigns_a_bounded_amount(autojump_clock: trio.testing.MockClock) -> None:
    """It hears that the group is too large, also if it comes to that step by step; it may try again with less."""
    async with open_rig(minibroker_group_max_bytes=MUCH) as rig:
        joined = await rig.join()
        assert await assign(rig, joined, MUCH) == FULL
        for part in (0.4, 0.9):
            assert await assign(rig, joined, int(part * MUCH)) == ErrorCode.NONE
            joined = await rig.join(joined.member_id)
        assert await assign(rig, joined, int(1.3 * MUCH)) == FULL
        assert await assign(rig, joined, int(0.9 * MUCH)) == ErrorCode.NONE
        await works(rig, joined, 1)


async def assign(rig: Rig, joined: Any, size: int) -> int:
    request = SyncGroupRequest(
        group_id="g",
        generation_id=joined.generation_id,
        member_id=joined.member_id,
        protocol_type=joined.protocol_type,
        protocol_name=joined.protocol_name,
        assignments=[SyncGroupRequestAssignment(member_id=joined.member_id, assignment=bytes(size))],
    )
    return int((await rig.call(request, 5)).error_code)


async def test_groups_and_offsets_are_limited_in_all(autojump_clock: trio.testing.MockClock) -> None:
    """`minibroker.groups.max.bytes`: no new group, member or offset beyond it; those that are there go on, also after a
    restart, and when others go there is room again.
    """
    settings = {"minibroker_groups_max_bytes": MUCH, "offsets_retention_check_interval_ms": 2**40}
    async with open_rig(**settings) as rig:
        honest = await works(rig, await stable(rig), 1)
        committing = joining_groups = 0
        while (code := await rig.commit(1, group_id=f"c{committing}", **NOBODY)) == ErrorCode.NONE:
            committing += 1
        assert code == ErrorCode.INVALID_COMMIT_OFFSET_SIZE
        while (answer := await rig.join(group_id=f"j{joining_groups}")).error_code == ErrorCode.NONE:
            joining_groups += 1
        assert answer.error_code == FULL
        assert committing < 200
        assert await rig.commit(2, group_id="c0", **NOBODY) == ErrorCode.NONE
        assert await rig.commit(2, group_id="c0", metadata="x" * 100, **NOBODY) == ErrorCode.NONE
        much_more = await rig.commit(2, group_id="c0", metadata="x" * 4_000, **NOBODY)
        assert much_more == ErrorCode.INVALID_COMMIT_OFFSET_SIZE
        await works(rig, honest, 3)
        before = rig.coordinator.machine.size_bytes
        assert MUCH < before < 1.1 * MUCH
    async with open_rig(rig.disk.restarted(), **settings) as rig:
        assert rig.coordinator.machine.image.size_bytes > MUCH // 2
        assert await rig.commit(4, group_id="c0", **NOBODY) == ErrorCode.NONE
        assert await rig.commit(1, group_id="new", **NOBODY) == ErrorCode.INVALID_COMMIT_OFFSET_SIZE
        names = [f"c{number}" for number in range(committing // 2)]
        await rig.call(DeleteGroupsRequest(groups_names=names), 2)
        assert await rig.commit(1, group_id="new", **NOBODY) == ErrorCode.NONE


async def test_groups_leave_the_last_of_a_disk_alone(autojump_clock: trio.testing.MockClock) -> None:
    """However much one of them writes at once. Heartbeats go on, and what makes room does."""
    async with open_rig() as rig:
        honest = await works(rig, await stable(rig), 1)
        await rig.commit(1, group_id="old", **NOBODY)
        partitions = rig.coordinator.topic.partitions()
        written = sum(partition.log.size_bytes for partition in partitions)
        rig.data.catalog.room_bytes = 10_000
        refused = ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert await rig.commit(1, metadata="x" * 4_000, group_id="a", **NOBODY) == ErrorCode.NONE
        assert await rig.commit(1, metadata="x" * 4_000, group_id="a", **NOBODY) == ErrorCode.NONE
        assert await rig.commit(1, metadata="x" * 4_000, group_id="a", **NOBODY) == refused
        count = 0
        while (code := await rig.commit(1, group_id="a", **NOBODY)) == ErrorCode.NONE:
            count += 1
        assert code == refused
        assert 0 < count < 50
        assert sum(partition.log.size_bytes for partition in partitions) - written <= 10_000
        assert (await rig.call(joining(group_id="new"), 9)).error_code == refused
        assert await rig.heartbeat(honest) == ErrorCode.NONE
        await rig.call(DeleteGroupsRequest(groups_names=["old"]), 2)
        assert "old" not in rig.coordinator.machine.image


async def test_no_limit_to_unpacking_makes_commits_unreadable(autojump_clock: trio.testing.MockClock) -> None:
    """Batches of the broker's own are not compressed, and a restart reads them however large they are."""
    settings = {"minibroker_batch_decompressed_max_bytes": 1024}
    async with open_rig(**settings) as rig:
        assert await rig.commit(7, metadata="x" * 2_000, **NOBODY) == ErrorCode.NONE
        disk = rig.disk.restarted()
    async with open_rig(disk, **settings) as rig:
        assert await rig.committed() == {("t", 0): 7}


async def test_a_long_group_id_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asks for it: to hash and to remember ten thousand of them would cost everybody."""
    hashed: list[int] = []

    def watched(text: str) -> int:
        hashed.append(len(text))
        return 0

    monkeypatch.setattr("minibroker.coordinator.offsets_topic.java_hash", watched)
    async with open_rig() as rig:
        await rig.commit(1, **NOBODY)
        long = "g" * 32_000
        assert (await rig.call(joining(group_id=long), 9)).error_code == ErrorCode.INVALID_GROUP_ID
        assert await rig.commit(1, group_id=long, **NOBODY) == ErrorCode.INVALID_GROUP_ID
        request = HeartbeatRequest(group_id=long, member_id="m", generation_id=1)
        assert (await rig.call(request, 4)).error_code == ErrorCode.INVALID_GROUP_ID
        assert max(hashed) <= 1_000


@pytest.mark.parametrize(
    ("request_", "version"),
    [
        (DescribeGroupsRequest(groups=[f"g{n}" for n in range(50)]), 5),
        (DeleteGroupsRequest(groups_names=[f"g{n}" for n in range(50)]), 2),
        (OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=f"g{n}", topics=None) for n in range(50)]), 8),
    ],
)
async def test_groups_that_are_not_there_cost_no_hash(
    monkeypatch: pytest.MonkeyPatch, request_: Any, version: int
) -> None:
    """A request may name ten thousand, and a hash takes a step for each character."""
    async with open_rig() as rig:
        await rig.commit(1, **NOBODY)
        hashed: list[str] = []
        monkeypatch.setattr("minibroker.coordinator.offsets_topic.java_hash", lambda text: hashed.append(text) or 0)
        await rig.call(request_, version)
        assert hashed == []
