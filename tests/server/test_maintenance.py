"""Maintenance beside the traffic: checkpoints let others have their turn, and never touch what is not theirs."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Iterable

import attrs
import pytest
import trio
import trio.testing

from minibroker.protocol.errors import ErrorCode
from minibroker.records.validation import admit_batch
from minibroker.server.maintenance import (
    CHECKPOINT_REST,
    LONGEST_REST_S,
    SETTLED_PARTITIONS,
    SETTLED_PRODUCERS,
    SETTLED_SEGMENTS,
    Maintenance,
)
from minibroker.storage.checkpoint import LEAST_RESERVE_BYTES, CheckpointFile, PendingCheckpoint
from minibroker.storage.errors import DiskFull, StorageError, storage_error
from minibroker.storage.files import LOG, RESERVE
from minibroker.storage.log import Log
from minibroker.storage.producer_state import ProducerEntry
from minibroker.topics.partition import Partition
from tests.coordinator.rig import EPOCH_MS, Rig, open_rig
from tests.simulation.disk import Directory, SimulatedDisk, clone
from tests.storage.logs import contents, make_batch


async def produce(rig: Rig, partition: Partition, size: int = 10) -> None:
    """Append one batch, durably."""
    appended = partition.append_records([(b"key", bytes(size))], EPOCH_MS)
    await rig.services.flusher.wait_durable(appended.ticket)


@attrs.define(eq=False)
class WatchedWrites:
    """Stands before `CheckpointFile.write`, and can have something done while it is under way."""

    meanwhile: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    running: int = 0
    most: int = 0
    count: int = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write = CheckpointFile.write

        def watched(file: CheckpointFile, pending: PendingCheckpoint) -> None:
            self.running += 1
            self.count += 1
            self.most = max(self.most, self.running)
            trio.from_thread.run(self.meanwhile)
            write(file, pending)
            self.running -= 1

        monkeypatch.setattr(CheckpointFile, "write", watched)


async def test_a_checkpoint_of_many_logs_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of busy partitions are collected some at a time."""
    async with open_rig() as rig:
        topic = rig.data.catalog.create_topic("many", 10 * SETTLED_PARTITIONS)
        await produce(rig, topic.partitions[0])
        turns = collected_after = 0
        begin = CheckpointFile.begin

        def noting(file: CheckpointFile, logs: Iterable[Log]) -> PendingCheckpoint | None:
            nonlocal collected_after
            collected_after = turns
            return begin(file, logs)

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        monkeypatch.setattr(CheckpointFile, "begin", noting)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            await Maintenance(rig.data).save_checkpoint()
            nursery.cancel_scope.cancel()
        assert collected_after >= 10
        known = CheckpointFile.load(rig.disk, "/data")
        assert all(known.of(partition.log.name) for partition in topic.partitions)


async def test_only_one_checkpoint_is_written_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compaction that saves one while the usual one is being written waits: they would share a file."""
    async with open_rig() as rig:
        partitions = rig.data.catalog.topics["t"].partitions
        maintenance = Maintenance(rig.data)
        writes = WatchedWrites(trio.testing.wait_all_tasks_blocked)
        writes.install(monkeypatch)
        async with trio.open_nursery() as nursery:
            for partition in partitions:
                await produce(rig, partition)
                nursery.start_soon(maintenance.save_checkpoint)
                await trio.lowlevel.checkpoint()
        assert (writes.most, writes.count > 1) == (1, True)


async def test_a_checkpoint_does_not_touch_a_namesake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic is deleted and made again while a checkpoint is written that would let the old one's files go."""
    async with open_rig() as rig:
        catalog = rig.data.catalog
        old = catalog.create_topic("n", 1, {"segment.bytes": "1024"}).partitions[0]
        for _ in range(3):
            await produce(rig, old, size=700)
        old.log.advance_log_start(old.log.segments[1].base_offset)
        assert [segment.base_offset for segment in old.log.removed] == [0]

        async def delete_and_make_again() -> None:
            catalog.delete_topic("n")
            await rig.services.flusher.wait_durable(catalog.flush_ticket())
            catalog.create_topic("n", 1).partitions[0].append_records([(b"key", b"")], EPOCH_MS)

        with monkeypatch.context() as patch:
            WatchedWrites(delete_and_make_again).install(patch)
            await Maintenance(rig.data).save_checkpoint()
        new = catalog.topics["n"].partitions[0]
        await rig.services.flusher.wait_durable(new.flush_ticket())
    async with open_rig(rig.disk.restarted()) as again:
        assert len(contents(again.data.catalog.topics["n"].partitions[0].log)) == 1


class SmallDisk(SimulatedDisk):
    """One that is full when its files have so many bytes in all."""

    capacity: int | None = None

    def use_space(self, size: int, path: str) -> None:
        if self.capacity is not None and size > 0 and used_bytes(self.root) + size > self.capacity:
            raise storage_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "write", path)


def used_bytes(directory: Directory) -> int:
    """Of all files below a directory."""
    nodes = directory.entries.values()
    return sum(used_bytes(node) if isinstance(node, Directory) else len(node.seen) for node in nodes)


async def test_a_broker_starts_on_a_full_disk_and_frees_it(autojump_clock: trio.testing.MockClock) -> None:
    """Without a byte to spare consumers read everything, and retention, which takes a checkpoint, makes space."""
    configs = {"segment.bytes": "1024", "retention.ms": "1000"}
    async with open_rig(SmallDisk()) as rig:
        log = rig.data.catalog.create_topic("n", 1, configs).partitions[0]
        for number in range(10):
            await produce(rig, log, size=700)
            if number == 5:
                await Maintenance(rig.data).save_checkpoint()
    for is_reserve_left in (True, False):
        disk = SmallDisk(clone(rig.disk).root)
        if not is_reserve_left:
            disk.unlink(f"/data/{RESERVE}")
        disk.capacity = used_bytes(disk.root)
        async with open_rig(disk) as full:
            log = full.data.catalog.partition("n", 0).log
            assert len(contents(log)) == 10
            await trio.sleep(24 * 3600)
            maintenance = Maintenance(full.data)
            await maintenance.retain()
            await full.services.flusher.wait_durable(full.data.catalog.partition("n", 0).flush_ticket())
            if not is_reserve_left:
                with pytest.raises(DiskFull):
                    await maintenance.save_checkpoint()
                continue
            for _ in range(2):  # with the second one, a minute later, the reserve is there again
                await maintenance.save_checkpoint()
                await trio.sleep(60)
            assert log.log_start_offset >= 9
            assert used_bytes(disk.root) < disk.capacity - 6_000
            assert disk.list_sizes("/data")[RESERVE] == LEAST_RESERVE_BYTES


class SlowMaintenance(Maintenance):
    """One whose checkpoints take as long as they are told."""

    seconds: float
    times: list[float]

    async def save_checkpoint(self) -> None:
        self.times.append(trio.current_time())
        await trio.sleep(self.seconds)


@pytest.mark.parametrize(
    ("seconds", "rest_s"), [(0.01, 1.0), (0.1, 0.1 * CHECKPOINT_REST), (1.0, LONGEST_REST_S), (60.0, LONGEST_REST_S)]
)
async def test_checkpoints_take_a_bounded_share_of_the_time(
    autojump_clock: trio.testing.MockClock, seconds: float, rest_s: float
) -> None:
    """However often they are wanted, one that takes long is followed by a longer rest, which has a bound of its own."""
    async with open_rig() as rig:
        maintenance = SlowMaintenance(rig.data)
        maintenance.seconds, maintenance.times = seconds, []
        with trio.move_on_after(200):
            await maintenance.run()
        gaps = {after - before for before, after in zip(maintenance.times, maintenance.times[1:], strict=False)}
        assert {round(gap, 6) for gap in gaps} == {seconds + rest_s}


async def test_an_idle_broker_writes_nothing() -> None:
    """Whatever the interval: what did not change is not written again."""
    async with open_rig() as rig:
        maintenance = Maintenance(rig.data)
        await produce(rig, rig.data.catalog.topics["t"].partitions[0])
        await maintenance.save_checkpoint()
        steps = rig.disk.steps
        for _ in range(5):
            await maintenance.save_checkpoint()
        assert rig.disk.steps == steps


async def test_a_dirty_restart_reads_only_what_no_checkpoint_knew() -> None:
    """Of every partition just the batches that came after the last checkpoint, and the report says so."""
    disk = SimulatedDisk()
    async with open_rig(disk) as rig:
        partitions = rig.data.catalog.topics["t"].partitions
        for partition in partitions:
            await produce(rig, partition, size=5000)
        await Maintenance(rig.data).save_checkpoint()
        sizes = [partition.log.size_bytes for partition in partitions]
        for partition in partitions[:2]:
            await produce(rig, partition, size=100)
        sizes = [partition.log.size_bytes - size for partition, size in zip(partitions, sizes, strict=True)]
    assert min(sizes[:2]) > 100
    async with open_rig(disk.restarted(), run=False) as again:
        assert {report.name: report.read_bytes for report in again.data.reports} == {"t-0": sizes[0], "t-1": sizes[1]}


TEN_YEARS_MS = 10 * 365 * 86_400_000


async def test_a_wrong_date_at_a_restart_deletes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """A life whose clock is ten years ahead keeps records, offsets and producers; the operator is told; the next one
    finds everything.
    """
    disk = SimulatedDisk()
    for wrong_by_ms in (0, TEN_YEARS_MS, 0):
        monkeypatch.setattr("tests.coordinator.rig.EPOCH_MS", EPOCH_MS + wrong_by_ms)
        caplog.clear()
        async with open_rig(disk) as rig:
            if not rig.data.catalog.topics["t"].partitions[0].log_end_offset:
                await rig.commit(7, generation_id_or_member_epoch=-1)
                for _ in range(3):
                    await produce(rig, rig.data.catalog.topics["t"].partitions[0])
            maintenance = Maintenance(rig.data)
            await maintenance.retain()
            await trio.sleep(1800)  # offsets are looked through, too
            await maintenance.retain()
            await maintenance.save_checkpoint()
            log = rig.data.catalog.topics["t"].partitions[0].log
            assert (log.log_start_offset, log.log_end_offset) == (0, 3)
            assert await rig.committed() == {("t", 0): 7}
            assert ("the date is 365" in caplog.text) == bool(wrong_by_ms)
        disk = disk.restarted()


async def test_after_an_honest_pause_old_records_go(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """A broker that was off for ten years believes it when it has run for a hundredth of that."""
    disk = SimulatedDisk()
    async with open_rig(disk) as rig:
        await produce(rig, rig.data.catalog.topics["t"].partitions[0])
        await Maintenance(rig.data).save_checkpoint()
    monkeypatch.setattr("tests.coordinator.rig.EPOCH_MS", EPOCH_MS + TEN_YEARS_MS)
    async with open_rig(disk.restarted(), offsets_retention_check_interval_ms=2**40) as rig:
        maintenance = Maintenance(rig.data)
        log = rig.data.catalog.topics["t"].partitions[0].log
        await trio.sleep(5 * 86_400)
        await maintenance.retain()
        assert log.log_start_offset == 0
        await trio.sleep(TEN_YEARS_MS / 100_000)
        await maintenance.retain()
        assert log.log_start_offset == 1


async def test_remembered_producers_are_limited() -> None:
    """In one partition and in all: an attacker's thousands go, an honest producer that goes on is remembered."""
    async with open_rig(minibroker_producer_ids_max=400) as rig:
        partitions = rig.data.catalog.create_topic("many", 200).partitions
        maintenance = Maintenance(rig.data)
        honest = 10**6

        def write(partition: Partition, producer_id: int, sequence: int, now_ms: int) -> int:
            batch, _ = make_batch(0, producer=(producer_id, 0, sequence))
            return partition.append(*admit_batch(batch, partition.limits, now_ms), now_ms).base_offset

        now_ms, first = EPOCH_MS, 0
        for sequence in range(12):
            for number, partition in enumerate(partitions):
                now_ms += 1
                for producer_id in range(10):
                    write(partition, 10 * (200 * sequence + number) + producer_id, 0, now_ms)
            first = write(partitions[0], honest, sequence, now_ms + 1)
            await maintenance.save_checkpoint()
            assert max(len(partition.log.producer_state.entries) for partition in partitions) <= 4
        total = sum(len(partition.log.producer_state.entries) for partition in partitions)
        assert total <= 400
        assert write(partitions[0], honest, 11, now_ms) == first, "the retry of a batch was taken for a new one"


DAY_MS = 86_400_000


@pytest.mark.parametrize("back_ms", [10 * DAY_MS, 30 * DAY_MS])
@pytest.mark.parametrize("is_orderly", [True, False])
@pytest.mark.parametrize("restarts", [(), ("wrong",), ("right",), ("wrong", "right")])
async def test_what_came_while_the_date_was_in_the_past_stays(
    back_ms: int,
    is_orderly: bool,
    restarts: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The date steps back, or the machine boots with an old one, twice even, and is set right days later: an offset that
    was committed then is kept, and so are a record of LogAppendTime and its producer, whose retry finds it.
    """
    async with contextlib.AsyncExitStack() as life:
        rig = await life.enter_async_context(open_rig())
        catalog = rig.data.catalog
        catalog.create_topic("stamped", 1, {"message.timestamp.type": "LogAppendTime"})
        await rig.services.flusher.wait_durable(catalog.flush_ticket())

        async def set_date(name: str, wrong_by_ms: int) -> Rig:
            if name in restarts:
                if is_orderly:
                    rig.data.save_checkpoint()
                else:
                    await Maintenance(rig.data).save_checkpoint()
                await life.aclose()
            monkeypatch.setattr("tests.coordinator.rig.EPOCH_MS", EPOCH_MS + wrong_by_ms)
            if name in restarts:
                return await life.enter_async_context(open_rig(rig.disk.restarted()))
            return rig

        async def write(timestamp_ms: int) -> int:
            partition = rig.data.catalog.topics["stamped"].partitions[0]
            batch, _ = make_batch(0, timestamps=[timestamp_ms], producer=(7, 0, 0))
            now_ms = rig.services.clock.now_ms()
            appended = partition.append(*admit_batch(batch, partition.limits, now_ms), now_ms)
            await rig.services.flusher.wait_durable(appended.ticket)
            assert partition.log_end_offset == 1, "the retry of a batch was taken for a new one"
            return partition.log_start_offset

        for _ in range(2):
            rig = await set_date("wrong", -back_ms)
            await trio.sleep(1.5 * DAY_MS / 1000)
        assert await rig.commit(7, generation_id_or_member_epoch=-1) == ErrorCode.NONE
        assert await write(EPOCH_MS - back_ms) == 0
        rig = await set_date("right", 0)
        for _ in range(3):
            await trio.sleep(3600)  # offsets are looked through, too
            await Maintenance(rig.data).retain()
        assert await rig.committed() == {("t", 0): 7}
        assert await write(EPOCH_MS) == 0


async def test_files_of_an_idle_log_go_and_it_rests(autojump_clock: trio.testing.MockClock) -> None:
    """All its records are too old: the file that they were in goes, and no further checkpoint is written."""
    async with open_rig() as rig:
        log = rig.data.catalog.topics["t"].partitions[0].log
        log.settings = attrs.evolve(log.settings, retention_ms=1000)
        await produce(rig, rig.data.catalog.topics["t"].partitions[0])
        rig.data.save_checkpoint()
        rig.data.clock.retention_now_ms()
        await trio.sleep(10)
        await Maintenance(rig.data).retain()
        await trio.sleep(1)
        rig.data.save_checkpoint()
        assert [name for name in rig.disk.list_sizes(log.directory) if name.endswith(LOG)] == [
            "00000000000000000001.log"
        ]
        steps = rig.disk.steps
        rig.data.save_checkpoint()
        assert rig.disk.steps == steps


async def test_retention_that_fails_in_one_log_goes_on_in_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """Told once until it has succeeded again."""
    async with open_rig() as rig:
        partitions = rig.data.catalog.topics["t"].partitions
        for partition in partitions:
            partition.log.settings = attrs.evolve(partition.log.settings, retention_ms=1000)
        maintenance, roll, failing = Maintenance(rig.data), Log.roll, [partitions[1].log]

        def fail_in_one(log: Log, now_ms: int) -> None:
            if log in failing:
                raise StorageError("a new file cannot be made")
            roll(log, now_ms)

        async def write_and_retain() -> list[int]:
            for partition in partitions:
                await produce(rig, partition)
            await trio.sleep(10)
            await maintenance.retain()
            return [partition.log_start_offset for partition in partitions]

        monkeypatch.setattr(Log, "roll", fail_in_one)
        assert await write_and_retain() == [1, 0, 1, 1]
        assert await write_and_retain() == [2, 0, 2, 2]
        assert caplog.text.count("retention of t-1 failed") == 1
        failing.clear()
        assert await write_and_retain() == [3, 3, 3, 3]
        failing.append(partitions[1].log)
        assert await write_and_retain() == [4, 3, 4, 4]
        assert caplog.text.count("retention of t-1 failed") == 2


@pytest.mark.parametrize("many", ["producers", "segments"])
async def test_a_checkpoint_of_large_partitions_lets_others_have_their_turn(many: str) -> None:
    """What a partition costs depends on what it has: a few with thousands of producers, or segments, are a turn each."""
    async with open_rig() as rig:
        for partition in rig.data.catalog.create_topic("remembering", 10).partitions:
            if many == "producers":
                entries = dict.fromkeys(range(SETTLED_PRODUCERS), ProducerEntry(epoch=0, last_seen_ms=0))
                partition.log.producer_state.entries.update(entries)
            else:
                partition.log.segments *= SETTLED_SEGMENTS
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            await Maintenance(rig.data)._for_each(lambda _: None)
            nursery.cancel_scope.cancel()
        assert turns >= 9


async def test_deleted_topics_are_removed_soon(autojump_clock: trio.testing.MockClock) -> None:
    """Not when retention has its turn: who makes and deletes topics would fill the disk in between."""
    async with open_rig() as rig:
        partition = rig.data.catalog.topics["t"].partitions[0]
        await produce(rig, partition)
        rig.data.catalog.delete_topic("t")
        await rig.services.flusher.wait_durable(rig.data.catalog.flush_ticket())
        assert len(rig.data.removals) == 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Maintenance(rig.data).run)
            await trio.sleep(2)  # of the simulated clock
            nursery.cancel_scope.cancel()
        assert not [name for name in rig.disk.list_directories("/data") if name.startswith("t-")]
