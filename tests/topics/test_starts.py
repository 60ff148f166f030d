"""Starts on disks that are not well: what is whole is there afterwards, and nothing is written over it."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import attrs
import pytest
from trio.testing import MockClock

from minibroker.protocol.errors import ErrorCode, KafkaStorageError
from minibroker.server.maintenance import Maintenance
from minibroker.storage.errors import CorruptLog, StorageError, Unreadable
from minibroker.topics import opening
from tests.coordinator.rig import EPOCH_MS, Rig, open_rig
from tests.simulation.disk import Directory, Inode, SimulatedDisk, SimulatedFile
from tests.storage.logs import contents

METADATA_FILE = "/data/t-0/partition.metadata"


async def write(rig: Rig, topic: str = "t", count: int = 3) -> None:
    """So many records in each partition, durably."""
    for partition in rig.data.catalog.topics[topic].partitions:
        for _ in range(count):
            ticket = partition.append_records([(b"key", bytes(400))], EPOCH_MS).ticket
    await rig.data.flusher.wait_durable(ticket)


def counts(rig: Rig, topic: str = "t") -> list[int]:
    """How many batches each partition serves; -1 where it is offline."""
    logs = [partition.log for partition in rig.data.catalog.topics[topic].partitions]
    return [len(contents(log)) if log.failure is None else -1 for log in logs]


async def test_what_cannot_be_looked_at_is_not_taken_for_missing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partition is offline, and with the next start all of it is there."""
    async with open_rig() as rig:
        await write(rig)
        disk = rig.disk.restarted()
    exists = SimulatedDisk.exists

    def fail(self: SimulatedDisk, path: str) -> bool:
        if path == "/data/t-0":
            raise StorageError("cannot examine it")
        return exists(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedDisk, "exists", fail)
        async with open_rig(disk) as rig:
            assert counts(rig) == [-1, 3, 3, 3]
            with pytest.raises(KafkaStorageError):
                await write(rig)
            disk = rig.disk.restarted()
    async with open_rig(disk) as rig:
        assert counts(rig) == [3, 3, 3, 3]


@pytest.mark.parametrize("name", ["checkpoint", "format", "t-0/partition.metadata"])
async def test_a_bad_block_in_a_file_that_can_be_made_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Costs nothing, as if the file were gone."""
    async with open_rig() as rig:
        await write(rig)
        await Maintenance(rig.data).save_checkpoint()
        await write(rig)
        disk = rig.disk.restarted()
    read = SimulatedDisk.read
    bad = disk.open(f"/data/{name}").inode

    def fail(self: SimulatedDisk, path: str) -> bytes:
        if self.open(path).inode is bad:
            raise Unreadable(f"cannot read {path}")
        return read(self, path)

    monkeypatch.setattr(SimulatedDisk, "read", fail)
    async with open_rig(disk) as rig:
        assert counts(rig) == [6, 6, 6, 6]
        disk = rig.disk.restarted()
    async with open_rig(disk) as rig:
        assert counts(rig) == [6, 6, 6, 6]


async def test_a_log_that_was_moved_out_begins_anew(autojump_clock: MockClock) -> None:
    """What is written to the new one is not judged by what the checkpoint says of the old one."""
    async with open_rig() as rig:
        for offset in range(20):
            await rig.commit(offset)
        await Maintenance(rig.data).save_checkpoint()
        name = f"__consumer_offsets-{rig.coordinator.topic.index_of('g')}"
        disk = rig.disk.restarted()
    disk.rename(f"/data/{name}", "/data/moved")
    disk.sync_directory("/data")
    for count in (3, 30):
        async with open_rig(disk.restarted()) as rig:
            for offset in range(count):
                assert await rig.commit(offset) == ErrorCode.NONE
            disk = rig.disk.restarted()
        async with open_rig(disk) as rig:
            assert await rig.committed() == {("t", 0): count - 1}
            disk = rig.disk.restarted()
        disk.rename(f"/data/{name}", f"/data/moved{count}")


async def test_a_lost_directory_gives_no_offset_out_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so, and what comes next goes on behind what was lost, also after another restart."""
    async with open_rig() as rig:
        await write(rig)
        await Maintenance(rig.data).save_checkpoint()
        disk = rig.disk.restarted()
    disk.rename("/data/t-0", "/data/elsewhere")
    for _ in range(2):
        async with open_rig(disk) as rig:
            log = rig.data.catalog.topics["t"].partitions[0].log
            assert (log.log_start_offset, log.log_end_offset) == (3, 3)
            disk = rig.disk.restarted()
    async with open_rig(disk) as rig:
        await write(rig)
        assert counts(rig) == [3, 6, 6, 6]
    assert caplog.text.count("/data/t-0 is missing: what it had below offset 3 is lost") == 1


async def test_without_the_topics_nothing_starts(autojump_clock: MockClock) -> None:
    """An empty list of them would have all directories set aside."""
    async with open_rig() as rig:
        await write(rig)
        await Maintenance(rig.data).save_checkpoint()
        disk = rig.disk.restarted()
    disk.rename("/data/__cluster_metadata-0", "/data/elsewhere")
    with pytest.raises(CorruptLog, match="says what topics there are"):
        async with open_rig(disk):
            pass
    disk.rename("/data/elsewhere", "/data/__cluster_metadata-0")
    async with open_rig(disk.restarted()) as rig:
        assert counts(rig) == [3, 3, 3, 3]


@attrs.define(eq=False, repr=False)
class Counting(SimulatedDisk):
    """Knows how many of its files are open."""

    files: weakref.WeakSet[SimulatedFile] = attrs.field(factory=weakref.WeakSet)
    most: int = 0

    def open(self, path: str, *, create: bool = False) -> SimulatedFile:
        """See FileSystem."""
        file = super().open(path, create=create)
        self.files.add(file)
        self.most = max(self.most, len(self.files))
        return file


@pytest.mark.parametrize("changes", [{"partitions": 300}, {"partitions": 1, "batches": 100, "segment.bytes": "1024"}])
async def test_a_start_in_doubt_needs_few_descriptors(autojump_clock: MockClock, changes: dict[str, object]) -> None:
    """However many logs there are, and however many segments they have."""
    partitions, batches = changes.pop("partitions"), changes.pop("batches", 1)
    async with open_rig() as rig:
        rig.data.catalog.create_topic("many", partitions, changes)  # type: ignore[arg-type]
        await write(rig, "many", batches)  # type: ignore[arg-type]
        segments = sum(len(partition.log.segments) for partition in rig.data.catalog.topics["many"].partitions)
        disk = Counting(rig.disk.root, now_ms=rig.disk.now_ms)
    assert segments >= 34
    disk.unlink("/data/checkpoint")
    async with open_rig(disk) as rig:
        assert counts(rig, "many") == [batches] * partitions  # type: ignore[operator]
    assert disk.most < (3 * opening.FLUSH_PORTION if partitions == 300 else 16)


async def test_a_file_of_an_earlier_revision_on_a_full_disk(autojump_clock: MockClock) -> None:
    """It is not written again where there is no room, and takes nothing offline."""
    async with open_rig() as rig:
        await write(rig)
        disk = rig.disk.restarted()
    file = disk.open(METADATA_FILE)
    file.truncate(file.size() - len("\ncrc: 00000000"))
    disk.free = 0
    async with open_rig(disk) as rig:
        assert counts(rig) == [3, 3, 3, 3]


@attrs.define(eq=False, repr=False)
class CaseBlind(SimulatedDisk):
    """Takes names for equal that differ in case only, as the file systems of some machines do."""

    def _parent(self, path: str) -> tuple[Directory, str]:
        parent, name = super()._parent(path)
        return parent, _name_in(parent, name)

    def _find(self, path: str) -> Directory | Inode | None:
        node: Directory | Inode | None = self.root
        for part in filter(None, path.split("/")):
            node = node.entries.get(_name_in(node, part)) if isinstance(node, Directory) else None
        return node


def _name_in(directory: Directory, name: str) -> str:
    return next((entry for entry in directory.entries if entry.lower() == name.lower()), name)


@pytest.mark.parametrize("has_records", [True, False])
async def test_topics_that_a_file_system_takes_for_one(autojump_clock: MockClock, has_records: bool) -> None:
    """The second is refused, or what is written to it: nothing of the first is touched."""
    async with open_rig(CaseBlind()) as rig:
        create: Callable[[str, int], object] = rig.data.catalog.create_topic
        create("orders", 1)
        if has_records:
            await write(rig, "orders")
            with pytest.raises(KafkaStorageError):
                create("Orders", 1)
        else:
            create("Orders", 1)
            await write(rig, "orders")
            with pytest.raises(KafkaStorageError):
                await write(rig, "Orders")
        await write(rig, "orders")
        disk = CaseBlind(rig.disk.root, now_ms=rig.disk.now_ms)
    async with open_rig(disk) as rig:
        assert counts(rig, "orders") == [6]
