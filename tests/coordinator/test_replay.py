"""Lives of groups by chance: whatever happens, the coordinator goes by what its log says."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any
from uuid import UUID

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from minibroker.groups.states import State
from minibroker.protocol.errors import ErrorCode, KafkaError
from minibroker.protocol.messages.delete_groups import DeleteGroupsRequest
from minibroker.protocol.messages.join_group import JoinGroupRequestProtocol, JoinGroupResponse
from minibroker.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from tests.coordinator.rig import Rig, committing, open_rig, replayed
from tests.simulation.disk import SimulatedDisk, only_synced
from tests.simulation.isolation import seeded_members, seeded_schedule

STEPS_A_LIFE = 200
LIVES = 4
SETTINGS = {"offsets_retention_minutes": 60, "offsets_retention_check_interval_ms": 60_000, "group_max_size": 4}
GROUPS = ("g", "h", "i", "j", "k")
NOBODY = {"generation_id_or_member_epoch": -1}


def check(rig: Rig) -> None:
    """The image is what the log says, to the byte; live groups agree with it on all that outlives the broker."""
    machine, image = rig.coordinator.machine, replayed(rig)
    assert machine.image == image
    assert machine.size_bytes == image.size_bytes + sum(group.size_bytes for group in machine.live.values())
    for group_id, group in machine.live.items():
        written = image.groups[group_id]
        assert group.generation == written.generation
        if group.state in (State.STABLE, State.COMPLETING_REBALANCE):
            lives = group.to_metadata(synced=group.state is State.STABLE)
            assert attrs.evolve(lives, state_timestamp_ms=written.state_timestamp_ms) == written


@attrs.define(eq=False)
class Chance:
    """Does to a rig what clients, administrators, time and a disk can do, one thing a step."""

    rng: random.Random
    rig: Rig
    nursery: trio.Nursery
    joined: list[tuple[str, str | None, JoinGroupResponse]] = attrs.field(factory=list)
    """Group, instance id and answer of everybody who was ever in: some are out, fenced or a generation behind."""
    refusals: set[int] = attrs.field(factory=set)

    async def step(self) -> None:
        kinds = (self.join, self.join_again, self.sync, self.sync, self.leave, self.commit, self.commit_as_member)
        rare = (self.delete_group, self.delete_offsets, self.change_topics, self.pass_time, self.fill_disk)
        await self.rng.choice(kinds if self.rng.random() < 0.8 else rare)()
        await trio.testing.wait_all_tasks_blocked()
        self.rig.disk.free = None

    async def join(self) -> None:
        instance_id = self.rng.choice([None, None, "one", "two"])
        self.nursery.start_soon(self._join, self.rng.choice(GROUPS), "", instance_id)

    async def join_again(self) -> None:
        if self.joined:
            group_id, instance_id, answer = self.rng.choice(self.joined)
            self.nursery.start_soon(self._join, group_id, answer.member_id, instance_id)

    async def _join(self, group_id: str, member_id: str, instance_id: str | None) -> None:
        names = self.rng.sample(("range", "roundrobin"), self.rng.randint(1, 2))
        protocols = [JoinGroupRequestProtocol(name=name, metadata=self.rng.randbytes(3)) for name in (*names, "any")]
        changes: dict[str, Any] = {"group_instance_id": instance_id, "protocols": protocols}
        answer = await self.rig.join(member_id, group_id=group_id, **changes)
        self.note(answer.error_code)
        if answer.error_code == ErrorCode.NONE:
            self.joined.append((group_id, instance_id, answer))

    async def sync(self) -> None:
        if self.joined:
            group_id, instance_id, answer = self.rng.choice(self.joined[-5:])
            self.nursery.start_soon(self._sync, group_id, instance_id, answer)

    async def _sync(self, group_id: str, instance_id: str | None, answer: JoinGroupResponse) -> None:
        self.note((await self.rig.sync(answer, group_id, instance_id)).error_code)

    async def leave(self) -> None:
        if self.joined:
            group_id, _, answer = self.joined.pop(self.rng.randrange(len(self.joined)))
            with suppress(KafkaError, AttributeError):  # of a response that is an error as a whole
                self.refusals.update(await self.rig.leave(answer.member_id, group_id=group_id))

    async def commit(self) -> None:
        await self._commit(self.rng.choice(GROUPS), None, NOBODY)

    async def commit_as_member(self) -> None:
        if self.joined:
            group_id, instance_id, answer = self.rng.choice(self.joined[-5:])
            member = {"member_id": answer.member_id, "generation_id_or_member_epoch": answer.generation_id}
            await self._commit(group_id, instance_id, member)

    async def _commit(self, group_id: str, instance_id: str | None, member: dict[str, Any]) -> None:
        partition, topic = self.rng.randrange(3), self.rng.choice("tu")
        changes: dict[str, Any] = {
            "group_id": group_id,
            "topic": topic,
            "metadata": "m" * self.rng.randrange(3),
            **member,
        }
        version = self.rng.choice((4, 9)) if instance_id is None else 9
        if version == 4:
            changes["retention_time_ms"] = self.rng.choice((-1, 1_000_000))
        else:
            changes["group_instance_id"] = instance_id
        response = await self.rig.call(committing(self.rng.randrange(100), partition, **changes), version)
        self.note(response.topics[0].partitions[0].error_code)

    async def delete_group(self) -> None:
        names = self.rng.sample(GROUPS, 2)
        response = await self.rig.call(DeleteGroupsRequest(groups_names=names), 2)
        self.refusals.update(result.error_code for result in response.results)

    async def delete_offsets(self) -> None:
        partitions = [OffsetDeleteRequestPartition(partition_index=self.rng.randrange(3))]
        topics = [OffsetDeleteRequestTopic(name=self.rng.choice("tu"), partitions=partitions)]
        await self.rig.call(OffsetDeleteRequest(group_id=self.rng.choice(GROUPS), topics=topics), 0)

    async def change_topics(self) -> None:
        catalog = self.rig.services.catalog
        if "u" in catalog.topics:
            catalog.delete_topic("u")
        else:
            catalog.create_topic("u", 3)

    async def pass_time(self) -> None:
        await trio.sleep(self.rng.choice((1, 12, 70, 700, 5000)))

    async def fill_disk(self) -> None:
        """Little is left for the next thing that happens, and what follows from it in time."""
        self.rig.disk.free = self.rng.choice((0, self.rng.randrange(600), self.rng.randrange(600)))
        of_one_group = (self.join, self.join_again, self.sync, self.commit)
        with suppress(KafkaError):
            await self.rng.choice((*of_one_group, self.change_topics, self.change_topics, self.pass_time))()

    def note(self, code: int) -> None:
        self.refusals.add(code)


@pytest.mark.parametrize("seed", range(4))
async def test_any_life_is_what_its_log_says(autojump_clock: MockClock, seed: int) -> None:
    """After every one of many random steps, refused ones and ones that the disk had no room for, over several lives."""
    rng = random.Random(seed)
    disk = SimulatedDisk()
    seen: set[int] = set()
    states: set[State] = set()
    with seeded_schedule(rng), seeded_members(lambda: UUID(int=rng.getrandbits(128))):
        for _ in range(LIVES):
            async with open_rig(disk, **SETTINGS) as rig, trio.open_nursery() as nursery:
                check(rig)
                chance = Chance(rng, rig, nursery)
                for _ in range(STEPS_A_LIFE):
                    await chance.step()
                    check(rig)
                    states.update(group.state for group in rig.coordinator.machine.live.values())
                seen |= chance.refusals
                disk = rig.disk.restarted() if rng.random() < 0.5 else only_synced(rig.disk)
                nursery.cancel_scope.cancel()
    assert states >= {State.PREPARING_REBALANCE, State.COMPLETING_REBALANCE, State.STABLE}
    assert seen >= {ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.COORDINATOR_NOT_AVAILABLE}
