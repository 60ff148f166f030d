"""A power cut or a kill before any step of a compaction: nothing is lost, and a restart brings everything in order."""

import random
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from minibroker.records.record import Record
from minibroker.storage.errors import DiskFull
from minibroker.storage.files import CLEANED, SWAP
from minibroker.storage.log import Log
from minibroker.storage.log_checkpoint import LogCheckpoint
from minibroker.storage.swap import recover_compaction
from tests.simulation.disk import (
    PowerCut,
    SimulatedDisk,
    all_but_one,
    clone,
    everything,
    only_synced,
    random_survivor,
)
from tests.storage.compacting import NOW, append, close_segment, compact, make_log, records_of, save_checkpoint


@attrs.define
class Case:
    """A log of many segments, all of it durable, that compaction merges into a few."""

    disk: SimulatedDisk = attrs.field(factory=SimulatedDisk)
    log: Log = attrs.field(init=False)
    checkpoint: LogCheckpoint = attrs.field(init=False)
    before: list[Record] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.disk.mkdir("/data")
        self.disk.sync_directory("/")
        self.log = make_log(Path("/data"), self.disk, segment_bytes=400)
        for number in range(12):
            pairs = [(b"k%d" % (number % 4), b"%d" % number * 10), (b"u%d" % number, b"")]
            append(self.log, pairs, producer=(5, 0, 2 * number))
        append(self.log, [(b"k0", None)])
        close_segment(self.log)
        append(self.log, [(b"tail", b"1")])
        self.log.flush()
        self.log.settings = attrs.evolve(self.log.settings, segment_bytes=600)
        self.checkpoint = save_checkpoint(self.log)
        self.before = records_of(self.log)

    def run_until(self, cut: int) -> bool:
        """Compact until the power is cut before a step; whether it was."""
        self.disk.cut_at = self.disk.steps + cut
        try:
            compact(self.log)
        except PowerCut:
            return True
        finally:
            self.disk.cut_at = None
        return False

    def reopen(self, disk: SimulatedDisk, checkpoint: LogCheckpoint | None) -> Log:
        """What a restart makes of a disk; held to the law."""
        log, report = Log.open(disk, self.log.directory, self.log.settings, checkpoint, NOW)
        assert not log.damaged
        assert not report.cut_bytes
        log.flush()
        found = records_of(log)
        assert last_of(found) == last_of(self.before)
        assert set(found) <= set(self.before)
        assert log.producer_state.entries[5].batches == self.log.producer_state.entries[5].batches
        assert not [name for name in disk.list_sizes(log.directory) if name.endswith((CLEANED, SWAP))]
        return log


def last_of(records: list[Record]) -> dict[bytes | None, Record]:
    return {record.key: record for record in records}


def left_over(disk: SimulatedDisk, seed: int) -> Iterator[SimulatedDisk]:
    """Disks that a power cut could leave, and the one that a kill leaves."""
    yield only_synced(disk)
    yield everything(disk)
    for missing in range(6):
        yield all_but_one(disk, missing)
    rng = random.Random(seed)
    for _ in range(3):
        yield random_survivor(disk, rng)
    yield disk.restarted()


@pytest.fixture(scope="module")
def settled() -> list[Record]:
    """What an undisturbed compaction leaves."""
    case = Case()
    compact(case.log)
    records = records_of(case.log)
    assert records != case.before
    assert 3 <= len(case.log.segments) < 7
    return records


@pytest.mark.parametrize("is_known", [True, False])
def test_cut_before_any_step(settled: list[Record], *, is_known: bool) -> None:
    """The last record of each key is there, at its offset, and no record that was not; producers are remembered; a second
    start changes nothing; and compacting again comes to the same end. With the checkpoint and without.
    """
    cut = 0
    while (case := Case()).run_until(cut):
        for disk in left_over(case.disk, seed=cut):
            log = case.reopen(disk, case.checkpoint if is_known else None)
            found = records_of(log)
            again = case.reopen(disk, save_checkpoint(log))
            assert records_of(again) == found
            again.compacted_offset = 0
            compact(again)
            assert records_of(again) == settled
        cut += 1
    assert cut > 30


def test_cut_during_the_recovery_too() -> None:
    """A restart during which the power is cut leaves what the next one completes."""
    for cut in range(0, 60, 3):
        case = Case()
        if not case.run_until(cut):
            break
        disk = everything(case.disk)
        recovery_cut, was_cut = 0, True
        while was_cut:
            recovering = everything(disk)
            recovering.cut_at = recovery_cut
            try:
                recover_compaction(recovering, case.log.directory)
                was_cut = False
            except PowerCut:
                recovery_cut += 1
            for left in left_over(recovering, seed=cut):
                case.reopen(left, case.checkpoint)


def test_a_power_cut_in_the_recovery_from_a_kill() -> None:
    """A kill leaves names that are not durable yet: the recovery makes them so before it relies on them."""
    for cut in range(1000):
        case = Case()
        if not case.run_until(cut):
            break
        for nested in range(1000):
            killed = clone(case.disk)
            killed.cut_at = killed.steps + nested
            try:
                case.reopen(killed, case.checkpoint)
            except PowerCut:
                for left in left_over(killed, nested):
                    case.reopen(left, case.checkpoint)
            else:
                break
    assert cut > 20


def test_a_full_disk_stops_it_without_harm(settled: list[Record]) -> None:
    """Whatever does not fit is removed again, and once there is space the compaction succeeds."""
    case = Case()
    case.disk.free = 300
    with pytest.raises(DiskFull):
        compact(case.log)
    assert last_of(records_of(case.log)) == last_of(case.before)
    assert not [name for name in case.disk.list_sizes(case.log.directory) if name.endswith((CLEANED, SWAP))]
    case.disk.free = None
    compact(case.log)
    assert records_of(case.log) == settled


def test_a_lost_segment_is_not_taken_for_a_merged_one() -> None:
    """Of a compacted log too: whatever the checkpoint knows that is missing and was not merged, is quarantined."""
    case = Case()
    compact(case.log)
    assert len(case.log.segments) > 3
    old_bases = {state.base_offset for state in case.checkpoint.segments}
    for checkpoint in (case.checkpoint, save_checkpoint(case.log)):
        for lost in case.log.segments[1:-1]:
            assert lost.base_offset in old_bases
            disk = everything(case.disk)
            disk.unlink(lost.log_path)
            log, report = Log.open(disk, case.log.directory, case.log.settings, checkpoint, NOW)
            end = case.log.next_base_offset(lost)
            assert (report.quarantined[0].start_offset, report.quarantined[-1].end_offset) == (lost.base_offset, end)
            kept = [record for record in records_of(case.log) if not lost.base_offset <= record.offset < end]
            assert records_of(log) == kept


def test_a_segment_lost_behind_a_damaged_one_is_not_taken_for_merged() -> None:
    """Though it cannot be told where the damaged one ends: it has the size it had."""
    case = Case()
    compact(case.log)
    checkpoint = save_checkpoint(case.log)
    before, lost = case.log.segments[:2]
    disk = everything(case.disk)
    disk.open(before.log_path).inode.content[16] ^= 1
    disk.unlink(lost.log_path)
    log, _ = Log.open(disk, case.log.directory, case.log.settings, checkpoint, NOW)
    end = case.log.next_base_offset(lost)
    assert all(any(d.start_offset <= at < d.end_offset for d in log.damaged) for at in range(lost.base_offset, end))
    assert records_of(log)[-1] == records_of(case.log)[-1]


def test_something_stays_of_the_last_segment_that_is_merged() -> None:
    """Though all its records are superseded: else nobody could tell whether it was merged or lost."""
    disk = SimulatedDisk()
    disk.mkdir("/data")
    log = make_log(Path("/data"), disk, segment_bytes=2000)
    append(log, [(b"kept", b"1")])
    log.roll(NOW)
    second = append(log, [(b"superseded", b"1")])
    log.roll(NOW)
    append(log, [(b"superseded", b"2"), (b"large", bytes(1900))])
    close_segment(log)
    checkpoint = save_checkpoint(log)
    compact(log)
    assert [segment.base_offset for segment in log.segments] == [0, 2, 4]
    (*_, (header, batch)) = log.read_batches(0, 2)
    assert (header.base_offset, header.record_count) == (second.base_offset, 0)
    assert len(batch) == 61
    again, report = Log.open(disk, log.directory, log.settings, checkpoint, NOW)
    assert not report.quarantined
    assert records_of(again) == records_of(log)
