"""The coordinator between requests, log, disk and time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from minibroker.coordinator import group_coordinator
from minibroker.coordinator.offsets_topic import decode_all
from minibroker.groups.image import Image
from minibroker.groups.machine import GroupMachine
from minibroker.groups.offsets import topic_tombstones
from minibroker.groups.records import GroupsRecord
from minibroker.protocol.errors import CoordinatorLoadInProgress, ErrorCode
from minibroker.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from minibroker.protocol.messages.delete_groups import DeleteGroupsRequest
from minibroker.protocol.messages.join_group import JoinGroupResponse
from minibroker.protocol.messages.list_groups import ListGroupsRequest
from minibroker.records.batch import HEADER_BYTES
from minibroker.storage.errors import LogOffline
from minibroker.topics.names import CONSUMER_OFFSETS
from minibroker.topics.partition import Partition
from tests.coordinator.rig import EPOCH_MS, Rig, committing, joining, open_rig, replayed
from tests.simulation.disk import SimulatedDisk, all_but_one, only_synced

WEEK_S = 7 * 24 * 3600


async def stable(rig: Rig, members: int = 2) -> list[JoinGroupResponse]:
    """A stable group, leader first."""
    joined: list[JoinGroupResponse] = []

    async def take_part() -> None:
        answer = await rig.join()
        await rig.sync(answer)
        joined.append(answer)

    async with trio.open_nursery() as nursery:
        for _ in range(members):
            nursery.start_soon(take_part)
    return sorted(joined, key=lambda answer: answer.member_id != answer.leader)


# Life of a group ----------------------------------------------------------------------------------------------------


async def test_members_share_and_commit(autojump_clock: MockClock) -> None:
    """Two members join, hear their assignments, commit, and read what they have committed."""
    async with open_rig() as rig:
        first, second = await stable(rig)
        assert first.generation_id == second.generation_id
        assert await rig.heartbeat(second) == ErrorCode.NONE
        member = {"member_id": second.member_id, "generation_id_or_member_epoch": second.generation_id}
        assert await rig.commit(7, 2, **member) == ErrorCode.NONE
        assert await rig.committed() == {("t", 2): 7}
        assert replayed(rig) == rig.coordinator.machine.image


async def test_a_silent_member_is_put_out_in_time(autojump_clock: MockClock) -> None:
    """The deadline task wakes for it although nobody asks."""
    async with open_rig() as rig:
        await stable(rig, 1)
        await trio.sleep(9.9)
        assert rig.coordinator.machine.state_of("g").value == "Stable"
        await trio.sleep(0.2)
        assert rig.coordinator.machine.state_of("g").value == "Empty"


async def test_heartbeats_keep_a_member_for_ever(autojump_clock: MockClock) -> None:
    """Each begins its session anew."""
    async with open_rig() as rig:
        (member,) = await stable(rig, 1)
        for _ in range(30):
            await trio.sleep(9)
            assert await rig.heartbeat(member) == ErrorCode.NONE


async def test_a_held_join_is_answered_when_the_round_ends(autojump_clock: MockClock) -> None:
    """By whatever ends it: here the others leave."""
    async with open_rig() as rig:
        first, second = await stable(rig)
        answers: list[JoinGroupResponse] = []

        async def join_again() -> None:
            answers.append(await rig.call(joining(first.member_id), 9))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join_again)
            await trio.testing.wait_all_tasks_blocked()
            assert answers == []
            assert await rig.leave(second.member_id) == [ErrorCode.NONE]
        assert answers[0].generation_id == first.generation_id + 1


# Durability ---------------------------------------------------------------------------------------------------------


async def test_no_answer_before_the_disk_has_it(autojump_clock: MockClock) -> None:
    """Commits, and reads that see them, wait for the flush; heartbeats of the group too."""
    async with open_rig() as rig:
        await rig.commit(1)
        rig.syncer.gate = trio.Event()
        with trio.move_on_after(60):
            await rig.commit(2)
            pytest.fail("a commit was answered before it was durable")
        with trio.move_on_after(60):
            await rig.committed()
            pytest.fail("a commit was shown before it was durable")
        rig.syncer.gate.set()
        assert await rig.committed() == {("t", 0): 2}


async def test_what_was_answered_survives_a_power_cut(autojump_clock: MockClock) -> None:
    """Generation, members, assignments and offsets: the disk that only has what was synced gives all of them back."""
    async with open_rig() as rig:
        first, second = await stable(rig)
        await rig.commit(5, member_id=first.member_id, generation_id_or_member_epoch=first.generation_id)
        survivor = only_synced(rig.disk)
        before = rig.coordinator.machine.image
    async with open_rig(survivor) as rig:
        assert rig.coordinator.machine.image == before
        assert await rig.heartbeat(first) == ErrorCode.NONE
        assert (await rig.sync(second)).assignment == second.member_id.encode()
        assert await rig.committed() == {("t", 0): 5}


@pytest.mark.parametrize("where", ["broker", "topic"])
async def test_no_setting_makes_a_commit_less_durable(autojump_clock: MockClock, where: str) -> None:
    """Neither a broker that flushes after ten thousand records, nor a topic that was altered to, or made without more."""
    async with open_rig(log_flush_interval_messages=10_000 if where == "broker" else 1) as rig:
        await rig.commit(1)
        if where == "topic":
            rig.services.catalog.alter_configs(CONSUMER_OFFSETS, {"flush.messages": "10000"})
        assert await rig.commit(2) == ErrorCode.NONE
        survivor = only_synced(rig.disk)
        rig.syncer.gate = trio.Event()
        rig.start(committing(3), 9)
        with trio.move_on_after(60):
            await rig.committed()
            pytest.fail("a commit was shown before it was durable")
    async with open_rig(survivor) as rig:
        assert await rig.committed() == {("t", 0): 2}


async def test_a_generation_that_was_told_survives_a_power_cut(autojump_clock: MockClock) -> None:
    """Even if the leader had not yet sent the assignments: the group goes on above it."""
    async with open_rig() as rig:
        (member,) = await stable(rig, 1)
        again = await rig.call(joining(member.member_id), 9)
        assert again.generation_id == 2
        survivor = only_synced(rig.disk)
    async with open_rig(survivor) as rig:
        assert await rig.heartbeat(again) == ErrorCode.REBALANCE_IN_PROGRESS
        assert (await rig.call(joining(member.member_id), 9)).generation_id == 3


async def test_sessions_begin_anew_after_a_restart(autojump_clock: MockClock) -> None:
    """Members have their whole session timeout to come back, and are out after it."""
    async with open_rig() as rig:
        (member,) = await stable(rig, 1)
        survivor = only_synced(rig.disk)
    await trio.sleep(3600)
    async with open_rig(survivor) as rig:
        await trio.sleep(9)
        assert await rig.heartbeat(member) == ErrorCode.NONE
        await trio.sleep(11)
        assert await rig.heartbeat(member) == ErrorCode.UNKNOWN_MEMBER_ID


async def test_groups_are_not_there_before_they_are_loaded(autojump_clock: MockClock) -> None:
    """Requests hear COORDINATOR_LOAD_IN_PROGRESS, heartbeats NONE; a new group's no less."""
    async with open_rig() as rig:
        (member,) = await stable(rig, 1)
        disk = rig.disk.restarted()
    async with open_rig(disk, run=False) as rig:
        loading = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        assert (await rig.call(joining(), 9)).error_code == loading
        assert (await rig.sync(member)).error_code == loading
        assert await rig.commit(1) == loading
        assert await rig.heartbeat(member) == ErrorCode.NONE
        with pytest.raises(CoordinatorLoadInProgress):
            rig.start(ListGroupsRequest(), 5)


async def test_a_partition_that_cannot_be_read_takes_no_other_along(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its groups are not available, and the log says why; the others are."""
    async with open_rig() as rig:
        for group_id in ("a", "b", "c", "d"):
            await rig.commit(1, group_id=group_id)
        damaged = rig.coordinator.topic.index_of("a")
        disk = only_synced(rig.disk)
        lengths = [partition.log.log_end_offset for partition in rig.coordinator.topic.partitions()]
    assert sum(lengths) == 4
    async with open_rig(disk, run=False) as rig:
        rig.coordinator.topic.partitions()[damaged].log.fail(LogOffline("broken"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.services.flusher.run)
            nursery.start_soon(rig.coordinator.run)
            await trio.testing.wait_all_tasks_blocked()
            for group_id in ("a", "b", "c", "d"):
                out = rig.coordinator.topic.index_of(group_id) == damaged
                expected = ErrorCode.COORDINATOR_NOT_AVAILABLE if out else ErrorCode.NONE
                assert await rig.commit(2, group_id=group_id) == expected
            nursery.cancel_scope.cancel()
    assert "are not available: broken" in caplog.text


async def test_what_a_damaged_partition_takes_to_go_on(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What the log says to do helps: its groups begin anew, and the others have what they had."""
    async with open_rig() as rig:
        for group_id in ("a", "b", "c"):
            await rig.commit(1, group_id=group_id)
        log = rig.coordinator.topic.partitions()[rig.coordinator.topic.index_of("a")].log
        rig.data.save_checkpoint()  # from here on it is damage, and no append that a crash has torn
        disk = only_synced(rig.disk)
    disk.open(f"{log.directory}/{0:020}.log").pwrite(b"\xff", HEADER_BYTES)
    async with open_rig(disk) as rig:
        assert await rig.commit(2, group_id="a") == ErrorCode.COORDINATOR_NOT_AVAILABLE
        disk = rig.disk.restarted()
    assert f"move {log.directory} out of the data directory" in caplog.text
    for name in disk.list_sizes(log.directory):
        disk.unlink(f"{log.directory}/{name}")
    disk.rmdir(log.directory)
    for offset in (2, 3):
        async with open_rig(disk) as rig:
            assert await rig.committed("a") == ({} if offset == 2 else {("t", 0): 2})
            assert await rig.committed("b") == await rig.committed("c") == {("t", 0): 1}
            assert await rig.commit(offset, group_id="a") == ErrorCode.NONE
            disk = only_synced(rig.disk)


async def test_what_cannot_be_written_did_not_happen(autojump_clock: MockClock) -> None:
    """The group goes back to what the log says, and everybody who waits is told to try again."""
    async with open_rig() as rig:
        first, second = await stable(rig)
        answers: list[JoinGroupResponse] = []

        async def join_again(member_id: str) -> None:
            answers.append(await rig.call(joining(member_id), 9))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join_again, first.member_id)
            await trio.testing.wait_all_tasks_blocked()
            rig.disk.free = 0
            nursery.start_soon(join_again, second.member_id)
        unavailable = ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert [answer.error_code for answer in answers] == [unavailable, unavailable]
        assert await rig.commit(1) == ErrorCode.UNKNOWN_MEMBER_ID
        member = {"member_id": first.member_id, "generation_id_or_member_epoch": first.generation_id}
        assert await rig.commit(1, **member) == unavailable
        rig.disk.free = None
        assert await rig.heartbeat(first) == ErrorCode.NONE
        assert await rig.commit(1, **member) == ErrorCode.NONE
        assert replayed(rig) == rig.coordinator.machine.image


# Suspension ---------------------------------------------------------------------------------------------------------


async def test_a_suspended_broker_expires_nobody_for_it(autojump_clock: MockClock) -> None:
    """An hour in which the broker stood still counts as nobody's silence; afterwards sessions run on."""
    late = 0.0
    async with open_rig() as rig:
        coordinator = rig.coordinator
        coordinator._deadlines.now = lambda: trio.current_time() + late
        (member,) = await stable(rig, 1)
        await trio.sleep(8)
        late = 3600.0
        await trio.sleep(1.5)
        assert await rig.heartbeat(member) == ErrorCode.NONE
        await trio.sleep(9.5)
        assert await rig.heartbeat(member) == ErrorCode.NONE
        await trio.sleep(11)
        assert await rig.heartbeat(member) == ErrorCode.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("fraction_s", [0.0, 0.0001, 0.0005, 0.0009])
async def test_a_session_lasts_to_its_last_moment(autojump_clock: MockClock, fraction_s: float) -> None:
    """Times are whole milliseconds; what that leaves out is not taken from a session."""
    async with open_rig() as rig:
        (member,) = await stable(rig, 1)
        await trio.sleep_until(math.ceil(trio.current_time()) + fraction_s)
        for _ in range(2):
            assert await rig.heartbeat(member) == ErrorCode.NONE
            await trio.sleep(9.99995)
        await trio.sleep(0.01)
        assert await rig.heartbeat(member) == ErrorCode.UNKNOWN_MEMBER_ID


async def test_a_heartbeat_that_has_arrived_counts(autojump_clock: MockClock) -> None:
    """Who is ready to run when a session ends, is heard first."""
    async with open_rig() as rig:
        (member,) = await stable(rig, 1)
        heard = []

        async def last_moment() -> None:
            await trio.sleep_until(trio.current_time() + 10.0)
            heard.append(await rig.heartbeat(member))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(last_moment)
        assert heard == [ErrorCode.NONE]


# Expiry and deletion ------------------------------------------------------------------------------------------------


async def test_offsets_expire_by_themselves(autojump_clock: MockClock) -> None:
    """A week after the commit of a consumer without a group they are deleted, in the log as in memory."""
    async with open_rig() as rig:
        await rig.commit(1)
        await trio.sleep(WEEK_S - 1)
        assert await rig.committed() == {("t", 0): 1}
        await trio.sleep(601)
        assert await rig.committed() == {}
        assert replayed(rig) == rig.coordinator.machine.image == Image()


async def test_others_have_their_turn_while_offsets_expire(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many offsets, whosever they are; a group that is deleted meanwhile is not deleted again."""
    monkeypatch.setattr(group_coordinator, "RECORDS_PER_TURN", 4)
    async with open_rig() as rig, trio.open_nursery() as nursery:
        for group_id in "abcdefgh":
            await rig.commit(1, group_id=group_id)
        looked: list[str] = []
        before: list[list[str]] = []
        expire_offsets = GroupMachine.expire_offsets

        async def delete_the_last() -> None:
            before.append(list(looked))
            await rig.call(DeleteGroupsRequest(groups_names=["h"]), 2)

        def watched(machine: GroupMachine, group_id: str, wall_ms: int) -> Sequence[GroupsRecord]:
            if not looked:
                nursery.start_soon(delete_the_last)
            looked.append(group_id)
            tombstones = expire_offsets(machine, group_id, wall_ms)
            assert bool(tombstones) == (group_id != "h")
            return tombstones

        await trio.sleep(WEEK_S - 300)
        monkeypatch.setattr(GroupMachine, "expire_offsets", watched)
        await trio.sleep(600)
        assert before in ([list("ab")], [list("abcd")])  # Trio lets tasks that are ready have their turn in any order
        assert looked == list("abcdefgh")
        assert replayed(rig) == rig.coordinator.machine.image == Image()


async def test_tombstones_that_were_written_hold_whatever_becomes_of_the_others(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Of groups of several partitions, one of which cannot be written: a restart changes nothing."""
    async with open_rig() as rig:
        for group_id in ("a", "b", "c", "d"):
            await rig.commit(1, group_id=group_id)
        partitions = rig.coordinator.topic.partitions()
        assert all(partition.log_end_offset for partition in partitions)
        broken = rig.coordinator.topic.index_of("b")
        partitions[broken].log.fail(LogOffline("broken"))
        await trio.sleep(WEEK_S + 600)
        assert list(rig.coordinator.machine.image.offsets) == ["b"]
        assert replayed(rig) == rig.coordinator.machine.image
    assert "committed offsets stay" in caplog.text


async def test_a_step_of_the_wall_clock_expires_nothing(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """A clock set ten years ahead is not believed at once."""
    async with open_rig() as rig:
        await rig.commit(1)
        monkeypatch.setattr("tests.coordinator.rig.EPOCH_MS", EPOCH_MS + 10 * 365 * 24 * 3600 * 1000)
        await trio.sleep(3600)
        assert await rig.committed() == {("t", 0): 1}


async def test_a_deleted_topic_takes_its_offsets_along(autojump_clock: MockClock) -> None:
    """At once, and the group stays if it has others."""
    async with open_rig() as rig:
        rig.services.catalog.create_topic("u", 1)
        await rig.commit(1)
        await rig.commit(2, topic="u")
        rig.services.catalog.delete_topic("u")
        assert await rig.committed() == {("t", 0): 1}
        assert replayed(rig) == rig.coordinator.machine.image


async def commit_much(rig: Rig, groups: int = 3) -> None:
    """Offsets of a topic `u`, more of them than are deleted in two turns, and one of `t`."""
    rig.services.catalog.create_topic("u", 100)
    for number in range(groups):
        request = committing(1, topic="u", group_id=f"g{number}", generation_id_or_member_epoch=-1)
        (named,) = request.topics[0].partitions
        request.topics[0].partitions = [attrs.evolve(named, partition_index=index) for index in range(100)]
        await rig.call(request, 9)
    await rig.commit(1, group_id="g0")


async def test_others_have_their_turn_while_the_offsets_of_a_topic_are_deleted(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told of those that are left, and a namesake is not made before all are gone; whoever wants one waits."""
    monkeypatch.setattr(group_coordinator, "RECORDS_PER_TURN", 40)
    async with open_rig() as rig, trio.open_nursery() as nursery:
        await commit_much(rig)
        catalog, image = rig.services.catalog, rig.coordinator.machine.image
        left: list[int] = []

        async def create() -> None:
            answer = await rig.call(
                CreateTopicsRequest(topics=[CreatableTopic(name="u", num_partitions=1, replication_factor=1)]), 7
            )
            assert answer.topics[0].error_code == ErrorCode.NONE
            assert not image.committers.get("u")

        catalog.delete_topic("u")
        nursery.start_soon(create)
        while "u" not in catalog.topics:
            assert rig.coordinator.offsets_of("g0").keys() == {"t"}
            left.append(sum(1 for _ in topic_tombstones(image, "u")))
            await trio.lowlevel.checkpoint()
        assert max(before - after for before, after in pairwise([*left, 0])) <= 40 * 2
        assert replayed(rig) == image
        assert await rig.committed("g0") == {("t", 0): 1}


async def test_a_topic_can_be_made_again_where_its_offsets_cannot_be_deleted(autojump_clock: MockClock) -> None:
    """Many of them, on a full disk: they are not told, and whoever waits for the name gets it."""
    async with open_rig() as rig:
        await commit_much(rig)
        for partition in rig.coordinator.topic.partitions():
            partition.log.fail(LogOffline("full"))
        rig.services.catalog.delete_topic("u")
        answer = await rig.call(
            CreateTopicsRequest(topics=[CreatableTopic(name="u", num_partitions=1, replication_factor=1)]), 7
        )
        assert answer.topics[0].error_code == ErrorCode.NONE
        assert await rig.committed("g0") == {("t", 0): 1}
        assert replayed(rig) == rig.coordinator.machine.image


async def test_offsets_of_a_topic_that_is_gone_are_deleted_at_start(autojump_clock: MockClock) -> None:
    """Should the broker have been killed between the deletion of a topic and that of its offsets."""
    async with open_rig() as rig:
        rig.services.catalog.create_topic("u", 1)
        await rig.commit(2, topic="u")
        rig.services.catalog.on_topic_deleted(lambda topic, release: None)
        rig.services.catalog.delete_topic("u")
        await rig.services.flusher.wait_durable(rig.services.catalog.flush_ticket())
        disk = only_synced(rig.disk)
    async with open_rig(disk) as rig:
        assert await rig.committed() == {}
        assert replayed(rig) == rig.coordinator.machine.image


async def committed_for_two(of_t: int, of_u: int) -> SimulatedDisk:
    """What a kill leaves of a broker with a topic `u` beside `t`, and an offset committed for each."""
    async with open_rig() as rig:
        rig.services.catalog.create_topic("u", 1)
        await rig.commit(of_t)
        await rig.commit(of_u, topic="u")
        return rig.disk.restarted()


async def load_groups(rig: Rig) -> None:
    """What a coordinator that runs does first."""
    for index, partition in enumerate(rig.coordinator.topic.partitions()):
        await rig.coordinator._load(index, partition)


@pytest.mark.parametrize("loaded", [False, True])
async def test_a_deletion_that_is_lost_takes_no_offsets(autojump_clock: MockClock, loaded: bool) -> None:
    """Of a topic that a power cut brings back; that they are gone is told only once they are."""
    disk = await committed_for_two(1, 2)
    async with open_rig(disk, run=loaded) as rig:
        rig.syncer.gate = trio.Event()
        rig.services.catalog.delete_topic("u")
        if not loaded:
            await load_groups(rig)
        with trio.move_on_after(60):
            await rig.committed()
            pytest.fail("offsets were told to be gone before that was durable")
        cuts = [all_but_one(rig.disk, missing) for missing in range(10)]
    kept = 0
    for disk in cuts:
        async with open_rig(disk) as rig:
            is_there = "u" in rig.services.catalog.topics
            kept += is_there
            assert await rig.committed() == {("t", 0): 1, **({("u", 0): 2} if is_there else {})}
    assert 0 < kept < len(cuts)


@pytest.mark.parametrize("killed", [False, True])
async def test_offsets_do_not_hold_for_a_namesake(autojump_clock: MockClock, killed: bool) -> None:
    """Of a topic that is deleted and made again while groups are loaded, also if the broker is killed before they are."""
    disk = await committed_for_two(1, 100)
    async with open_rig(disk, run=False) as rig:
        rig.services.catalog.delete_topic("u")
        await rig.services.flusher.drain()
        rig.services.catalog.create_topic("u", 1)
        await rig.services.flusher.drain()
        if not killed:
            await load_groups(rig)
            assert rig.coordinator.machine.image.offsets_of("g").keys() == {"t"}
        disk = rig.disk.restarted()
    for committed in ({("t", 0): 1}, {("t", 0): 1, ("u", 0): 2}):
        async with open_rig(disk) as rig:
            assert await rig.committed() == committed
            assert replayed(rig) == rig.coordinator.machine.image
            await rig.commit(2, topic="u")
            disk = only_synced(rig.disk)


async def test_offsets_that_could_not_be_deleted_are_not_told(autojump_clock: MockClock) -> None:
    """When a topic was deleted on a full disk: not for a namesake either, and a restart deletes them."""
    async with open_rig() as rig:
        rig.services.catalog.create_topic("u", 1)
        await rig.commit(1)
        await rig.commit(100, topic="u")
        partition = rig.coordinator.topic.partitions()[rig.coordinator.topic.index_of("g")]
        partition.log.fail(LogOffline("full"))
        rig.services.catalog.delete_topic("u")
        await rig.services.catalog.wait_left(["u"])
        assert await rig.committed() == {("t", 0): 1}
        rig.services.catalog.create_topic("u", 1)
        assert await rig.committed() == {("t", 0): 1}
        assert replayed(rig) == rig.coordinator.machine.image
        disk = rig.disk.restarted()
    async with open_rig(disk) as rig:
        assert await rig.committed() == {("t", 0): 1}
        assert replayed(rig) == rig.coordinator.machine.image
        assert rig.coordinator.machine.image.offsets_of("g").keys() == {"t"}


async def test_nothing_expires_before_all_is_loaded(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a group that is half loaded it would look as if it had no members."""

    def slowly(partition: Partition, latest: Mapping[bytes, bytes | None]) -> Iterator[GroupsRecord]:
        for record in decode_all(partition, latest):
            yield record
            autojump_clock.jump(3600)

    monkeypatch.setattr(group_coordinator, "RECORDS_PER_TURN", 1)
    monkeypatch.setattr(group_coordinator, "decode_all", slowly)
    async with open_rig() as rig:
        (member,) = await stable(rig, 1)
        alive = {"member_id": member.member_id, "generation_id_or_member_epoch": member.generation_id}
        for partition in range(4):
            await rig.commit(1, partition, **alive)
        disk = rig.disk.restarted()
    await trio.sleep(WEEK_S)
    async with open_rig(disk) as rig:
        assert await rig.heartbeat(member) == ErrorCode.NONE
        assert len(await rig.committed()) == 4


async def test_a_deleted_group_stays_deleted(autojump_clock: MockClock) -> None:
    """Its tombstones are durable before the answer."""
    async with open_rig() as rig:
        await rig.commit(1)
        (result,) = (await rig.call(DeleteGroupsRequest(groups_names=["g", "g"]), 2)).results
        assert result.error_code == ErrorCode.NONE
        disk = only_synced(rig.disk)
    async with open_rig(disk) as rig:
        assert await rig.committed() == {}
        assert rig.coordinator.machine.group_ids() == []


async def test_others_have_their_turn_while_a_group_is_deleted(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its offsets go some at a time; a member that joins meanwhile stays, and is told of."""
    monkeypatch.setattr(group_coordinator, "RECORDS_PER_TURN", 25)
    monkeypatch.setattr(group_coordinator, "STEPS_PER_RECORD", 50)
    async with open_rig() as rig:
        await commit_much(rig, groups=3)
        image = rig.coordinator.machine.image
        first, second = (rig.start(DeleteGroupsRequest(groups_names=[name]), 2) for name in ("g0", "g1"))
        left = [len(image.offsets_of("g0")["u"])]
        answers = []

        async def finish() -> None:
            answers.append(await rig.finish(first, 2))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish)
            while not answers:
                left.append(len(image.offsets_of("g0").get("u", ())))
                await trio.lowlevel.checkpoint()
        assert max(before - after for before, after in pairwise(left)) <= 25 * 2
        assert answers[0].results[0].error_code == ErrorCode.NONE
        await rig.join(group_id="g1")
        assert (await rig.finish(second, 2)).results[0].error_code == ErrorCode.NON_EMPTY_GROUP
        third = await rig.call(DeleteGroupsRequest(groups_names=["g2"]), 2)  # nothing is left for the last step
        assert third.results[0].error_code == ErrorCode.NONE
        assert "g0" not in image
        assert "g2" not in image
        assert "g1" in image
        assert replayed(rig) == image


# The topic ----------------------------------------------------------------------------------------------------------


async def test_the_topic_is_made_when_it_is_needed(autojump_clock: MockClock) -> None:
    """With the settings' partitions, compacted; records are found in the partition Java's hash names."""
    async with open_rig(offsets_topic_num_partitions=50) as rig:
        assert CONSUMER_OFFSETS not in rig.services.catalog.topics
        await rig.commit(1, group_id="billing")
        topic = rig.services.catalog.topics[CONSUMER_OFFSETS]
        assert len(topic.partitions) == 50
        assert topic.configs["cleanup.policy"] == "compact"
        ends = [partition.log_end_offset for partition in topic.partitions]
        assert ends.index(1) == -109829509 * -1 % 50  # "billing".hashCode() is -109829509


async def test_shutdown_answers_whoever_waits(autojump_clock: MockClock) -> None:
    """Held requests hear NOT_COORDINATOR, and new ones are not taken."""
    async with open_rig() as rig:
        first, _ = await stable(rig)
        answers = []

        async def join_again() -> None:
            answers.append(await rig.call(joining(first.member_id), 9))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join_again)
            await trio.testing.wait_all_tasks_blocked()
            rig.coordinator.close()
        assert answers[0].error_code == ErrorCode.NOT_COORDINATOR
        assert await rig.commit(1) == ErrorCode.COORDINATOR_NOT_AVAILABLE


async def test_live_state_is_replayed_state_at_any_instant(autojump_clock: MockClock) -> None:
    """Through a life of a group with everything in it, the log says what the coordinator goes by."""
    async with open_rig() as rig:

        def check() -> None:
            assert replayed(rig) == rig.coordinator.machine.image
            for group in rig.coordinator.machine.live.values():
                assert rig.coordinator.machine.image.groups[group.group_id].generation == group.generation

        first, second = await stable(rig)
        check()
        await rig.commit(1, member_id=first.member_id, generation_id_or_member_epoch=1)
        check()
        rig.start(joining(first.member_id), 9).close()
        check()
        await rig.leave(second.member_id)
        check()
        await trio.sleep(5)
        check()
        await trio.sleep(20)
        check()
        assert rig.coordinator.machine.state_of("g").value == "Empty"
        await rig.call(DeleteGroupsRequest(groups_names=["g"]), 2)
        check()
        assert rig.coordinator.machine.image == Image()


async def test_a_commit_in_flight_is_not_shown_after_a_power_cut(autojump_clock: MockClock) -> None:
    """What was not answered may be lost, and nothing else is."""
    async with open_rig() as rig:
        await rig.commit(1)
        rig.syncer.gate = trio.Event()
        rig.start(committing(2), 9)
        disk: SimulatedDisk = only_synced(rig.disk)
    async with open_rig(disk) as rig:
        assert await rig.committed() == {("t", 0): 1}
