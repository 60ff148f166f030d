"""Whose a directory is: nothing that is deleted comes back, and nothing goes that was not durably deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
import trio

from minibroker.config.settings import BrokerSettings
from minibroker.protocol.errors import TopicAlreadyExists, UnknownTopicOrPartition
from minibroker.server.maintenance import Maintenance
from minibroker.storage.errors import StorageError
from minibroker.storage.files import DELETE, STRAY, encode_partition_metadata, hidden_name, partition_name
from minibroker.topics.opening import Data
from minibroker.topics.partition import Partition
from tests.coordinator.rig import EPOCH_MS, SETTINGS, Rig, open_rig
from tests.simulation.disk import (
    Directory,
    Node,
    PowerCut,
    SimulatedDisk,
    Survival,
    all_but_one,
    clone,
    everything,
    only_synced,
)
from tests.simulation.inspection import recover
from tests.storage.logs import contents

NAME = "u"
METADATA_FILE = f"/data/{NAME}-0/partition.metadata"
OTHER_ID = encode_partition_metadata(UUID(int=1))


async def restart(disk: SimulatedDisk) -> Data:
    """What a new process finds."""
    return await recover(disk, BrokerSettings(**SETTINGS), EPOCH_MS)  # type: ignore[arg-type]


async def settle(rig: Rig) -> None:
    """Wait until everything is durable, and checkpointed."""
    await rig.services.flusher.wait_durable(rig.data.catalog.flush_ticket())
    await Maintenance(rig.data).save_checkpoint()


async def make_topic(rig: Rig, name: str = NAME, partitions: int = 1) -> Partition:
    """A topic with a record in each partition; return the first."""
    made = rig.data.catalog.create_topic(name, partitions).partitions
    for partition in made:
        partition.append_records([(b"key", b"old")], EPOCH_MS)
    await settle(rig)
    return made[0]


async def delete_topic(rig: Rig, name: str = NAME) -> None:
    """Delete a topic, as a client sees it."""
    rig.data.catalog.delete_topic(name)
    await rig.services.flusher.wait_durable(rig.data.catalog.flush_ticket())


def directories(disk: SimulatedDisk, name: str = NAME) -> list[str]:
    """All directories of a topic's partitions, hidden ones included."""
    return [found for found in disk.list_directories("/data") if found.startswith(f"{name[:200]}-")]


def rot(disk: SimulatedDisk, kind: str) -> None:
    """Have the file that says whose a directory is damaged, also on the platter."""
    if kind == "gone":
        disk.unlink(METADATA_FILE)
        disk.sync_directory(METADATA_FILE.rpartition("/")[0])
    else:
        file = disk.open(METADATA_FILE)
        file.pwrite(OTHER_ID if kind == "another id" else b"\xf6", 0)
        file.sync_data()


def names_lost_below(disk: SimulatedDisk, path: str) -> SimulatedDisk:
    """After a power cut that took the pending names of one directory, and nothing else."""
    lost = disk._directory(path)

    class NamesLost(Survival):
        def _directory(self, directory: Directory) -> Directory:
            if directory is not lost:
                return super()._directory(directory)
            entries: dict[str, Node] = {name: self._node(node) for name, node in directory.durable.items()}
            return Directory(dict(entries), entries)

    return NamesLost(lambda: True, lambda data: [(0, data)], bytes).survivor(disk)


def contents_lost(disk: SimulatedDisk) -> SimulatedDisk:
    """After a power cut that took what files held that were not synced, and no name."""
    whole, synced = everything(disk), only_synced(disk)

    def take(path: str, names: Directory, durable: Node | None) -> None:
        for name, node in names.entries.items():
            other = durable.entries.get(name) if isinstance(durable, Directory) else None
            if isinstance(node, Directory):
                take(f"{path}/{name}", node, other)
            elif not isinstance(other, Directory):
                names.entries[name] = names.durable[name] = other or type(node)()

    take("", whole.root, synced.root)
    return whole


# -- What is deleted stays away


@pytest.mark.parametrize("kind", ["flipped", "another id", "gone"])
async def test_a_namesake_has_no_old_records_whatever_became_of_the_id(kind: str) -> None:
    """A rotten `partition.metadata` does not keep a deleted topic's records for one that is made in its name."""
    async with open_rig() as rig:
        await make_topic(rig)
        rot(rig.disk, kind)
        await delete_topic(rig)
        assert not [name for name in directories(rig.disk) if not name.endswith(DELETE)]
        new = rig.data.catalog.create_topic(NAME, 1).partitions[0]
        await settle(rig)
        assert new.log_end_offset == 0
    data = await restart(rig.disk.restarted())
    assert data.catalog.partition(NAME, 0).log_end_offset == 0


@pytest.mark.parametrize("kind", ["flipped", "another id", "gone"])
async def test_a_restart_repairs_the_id(kind: str) -> None:
    """So that a directory is known by its id even when the checkpoint is lost later."""
    async with open_rig() as rig:
        await make_topic(rig)
        before = rig.disk.read(METADATA_FILE)
        rot(rig.disk, kind)
    disk = rig.disk.restarted()
    await restart(disk)
    assert only_synced(disk).read(METADATA_FILE) == before


async def test_what_is_there_when_a_topic_is_made_is_not_its_own() -> None:
    """A directory that could not be moved out of the way before is moved now, though nothing tells whose it was."""
    async with open_rig() as rig:
        await make_topic(rig)
        disk = rig.disk
        disk.on_step = refuse_renames
        await delete_topic(rig)
        assert directories(disk) == [partition_name(NAME, 0)]
        disk.on_step = None
        rig.data.directory.checkpoint.forget(partition_name(NAME, 0))
        rot(disk, "flipped")
        made = rig.data.catalog.create_topic(NAME, 1).partitions[0]
        assert made.log_end_offset == 0
        made.append_records([(b"key", b"new")], EPOCH_MS)
        hidden, new = sorted(directories(disk), key=len, reverse=True)
        assert (hidden.endswith(STRAY), new) == (True, partition_name(NAME, 0))


def refuse_renames(action: str, path: str) -> None:
    """What a disk does on a bad day."""
    if action == "rename":
        raise StorageError(f"cannot rename {path}")


async def test_an_old_directory_is_not_taken_for_a_namesakes_that_never_reached_the_disk() -> None:
    """At a start, where nothing but the checkpoint tells whose a directory without an id is, that is believed."""
    async with open_rig() as rig:
        await make_topic(rig)
        disk = clone(rig.disk)
        await delete_topic(rig)
        rig.data.catalog.create_topic(NAME, 1)
        await rig.services.flusher.wait_durable(rig.data.catalog.flush_ticket())
    after = only_synced(rig.disk)
    # The directory and the checkpoint as they were before, the log of topics as it is now.
    old, data = only_synced(disk)._directory("/data"), after._directory("/data")
    for name in (partition_name(NAME, 0), "checkpoint"):
        data.entries[name] = data.durable[name] = old.entries[name]
    rot(after, "flipped")
    assert (await restart(after)).catalog.partition(NAME, 0).log_end_offset == 0


async def test_files_go_only_when_their_directory_is_durably_out_of_sight() -> None:
    """Whenever the power is cut in a removal, and even if its rename alone is lost, a namesake begins empty."""
    step = 0
    while True:
        async with open_rig() as rig:
            await make_topic(rig)
            await delete_topic(rig)
            rig.disk.cut_at = rig.disk.steps + step
            try:
                await Maintenance(rig.data).remove_deleted()
            except PowerCut:
                pass
            else:
                assert directories(rig.disk) == []
                break
            for left in (names_lost_below(rig.disk, "/data"), only_synced(rig.disk), everything(rig.disk)):
                await check_namesake(left)
        step += 1
    assert step >= 4


async def check_namesake(disk: SimulatedDisk) -> None:
    """A topic that is made in the next life is empty in that after it."""
    async with open_rig(disk) as rig:
        rig.data.catalog.create_topic(NAME, 1)
        await settle(rig)
    assert (await restart(disk.restarted())).catalog.partition(NAME, 0).log_end_offset == 0


async def test_a_restart_goes_on_with_removals() -> None:
    """What one life has begun to remove is gone after the next one's maintenance."""
    async with open_rig() as rig:
        await make_topic(rig, partitions=3)
        await delete_topic(rig)
    disk = rig.disk.restarted()
    data = await restart(disk)
    assert len(directories(disk)) == 3
    await Maintenance(data).remove_deleted()
    assert directories(disk) == []


# -- What is not durably deleted stays


def cuts_of(disk: SimulatedDisk) -> Sequence[SimulatedDisk]:
    """Some disks that a power cut may leave."""
    return [only_synced(disk), everything(disk), contents_lost(disk), *(all_but_one(disk, n) for n in range(12))]


async def test_a_deletion_that_is_lost_takes_no_records() -> None:
    """A kill leaves a deletion in the page cache; wherever the recovery is cut, the topic is whole or was deleted."""
    async with open_rig() as rig:
        await make_topic(rig)
    async with open_rig(rig.disk.restarted(), run=False) as rig:
        rig.data.catalog.delete_topic(NAME)
        killed = rig.disk
    step, kept = 0, 0
    while True:
        disk = clone(killed)
        disk.cut_at = step
        try:
            data = await restart(disk)
            await Maintenance(data).remove_deleted()
        except PowerCut:
            pass
        else:
            break
        for left in cuts_of(disk):
            catalog = (await restart(left)).catalog
            if NAME in catalog.topics:
                kept += 1
                assert len(contents(catalog.partition(NAME, 0).log)) == 1, f"step {step}"
        step += 1
    assert step > 10
    assert kept


async def test_a_name_is_taken_until_its_deletion_is_durable() -> None:
    """Or else a power cut could bring back a topic whose directory has become its namesake's."""
    async with open_rig() as rig:
        catalog = rig.data.catalog
        await make_topic(rig)
        rig.syncer.gate = trio.Event()
        catalog.delete_topic(NAME)
        with pytest.raises(TopicAlreadyExists, match="exists still"):
            catalog.create_topic(NAME, 1)
        with pytest.raises(UnknownTopicOrPartition, match="being deleted"):
            catalog.auto_create(NAME)
        assert directories(rig.disk) == [partition_name(NAME, 0)]
        rig.syncer.gate.set()
        await rig.services.flusher.wait_durable(catalog.flush_ticket())
        assert catalog.create_topic(NAME, 1).partitions[0].log_end_offset == 0


async def test_no_limit_to_unpacking_keeps_a_broker_from_starting() -> None:
    """It does not hold for what the broker itself has written, as when a topic goes in which records were deleted."""
    settings: dict[str, Any] = {**SETTINGS, "minibroker_batch_decompressed_max_bytes": 1024}
    async with open_rig(**settings) as rig:
        await make_topic(rig, partitions=20)
        for partition in rig.data.catalog.topic(NAME).partitions:
            rig.data.catalog.delete_records(partition, 1)
        await delete_topic(rig)
    data = await recover(rig.disk.restarted(), BrokerSettings(**settings), EPOCH_MS)
    assert NAME not in data.catalog.topics


async def test_a_topic_that_is_there_gets_a_hidden_directory_back() -> None:
    """However it came to be hidden: all its records are served, and none is removed."""
    async with open_rig() as rig:
        first = await make_topic(rig)
        for _ in range(3):
            first.log.roll(EPOCH_MS)
            first.append_records([(b"key", bytes(10))], EPOCH_MS)
        await settle(rig)
        first.log.advance_log_start(2)
        await settle(rig)
    disk = rig.disk.restarted()
    name = partition_name(NAME, 0)
    disk.rename(f"/data/{name}", f"/data/{hidden_name(name, first.topic_id, DELETE)}")
    data = await restart(disk)
    assert directories(disk) == [name]
    assert not data.removals
    log = data.catalog.partition(NAME, 0).log
    assert (log.log_start_offset, log.log_end_offset, log.damaged) == (2, 4, [])


# -- Names


@pytest.mark.parametrize("length", [1, 215, 240])
async def test_each_partition_of_a_long_name_goes(length: int) -> None:
    """Names that have to be shortened stay apart: a topic of many partitions is deleted, and the next start is whole."""
    name = "n" * length
    async with open_rig() as rig:
        await make_topic(rig, name, 12)
        await delete_topic(rig, name)
        assert len(rig.data.removals) == 12
        assert all(found.endswith(DELETE) for found in directories(rig.disk, name))
    disk = rig.disk.restarted()
    await Maintenance(await restart(disk)).remove_deleted()
    assert directories(disk, name) == []


async def test_strays_of_one_name() -> None:
    """Each is set aside, however many there are, and one that cannot be does not keep the broker from starting."""
    disk = SimulatedDisk()
    await restart(disk)
    for count in range(1, 4):
        disk = disk.restarted()
        disk.mkdir(f"/data/{NAME}-0")
        disk.open(f"/data/{NAME}-0/file", create=True)
        await restart(disk)
        assert len(directories(disk)) == count
    disk = disk.restarted()
    disk.mkdir(f"/data/{NAME}-0")
    disk.on_step = refuse_renames
    assert NAME not in (await restart(disk)).catalog.topics


@pytest.mark.parametrize("lost", ["content", "directory"])
@pytest.mark.parametrize("checkpointed", [True, False])
async def test_deleted_offsets_are_not_given_out_again_though_all_is_lost(lost: str, checkpointed: bool) -> None:
    """The log goes on where DeleteRecords had it begin: what is acknowledged from then on is there after restarts."""
    async with open_rig() as rig:
        partition = rig.data.catalog.create_topic(NAME, 1).partitions[0]
        for _ in range(5):
            partition.append_records([(b"key", b"old")], EPOCH_MS)
        await rig.services.flusher.wait_durable(partition.flush_ticket())
        if checkpointed:
            rig.data.save_checkpoint()
        rig.data.catalog.delete_records(partition, 4)
        await rig.services.flusher.wait_durable(rig.data.catalog.flush_ticket())
        disk, directory = everything(rig.disk), partition.log.directory
    for name in disk.list_sizes(directory):
        disk.unlink(f"{directory}/{name}") if lost == "directory" else disk.open(f"{directory}/{name}").truncate(0)
    if lost == "directory":
        disk.rmdir(directory)
    if not checkpointed:
        disk.unlink("/data/checkpoint")
    data = await restart(everything(disk))
    later = data.catalog.partition(NAME, 0)
    offset = later.append_records([(b"key", b"new")], EPOCH_MS).base_offset
    assert offset >= 4
    await data.flusher.drain()
    for after in (data.fs, everything(data.fs)):  # type: ignore[arg-type]
        assert isinstance(after, SimulatedDisk)
        again = (await restart(after.restarted())).catalog.partition(NAME, 0).log
        assert [header.base_offset for header, _ in contents(again)] == [offset]
        assert again.log_end_offset == offset + 1
