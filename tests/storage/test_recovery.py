"""Opening a log: what is read, what is cut, what is quarantined. (test_power_cuts.py does it at random.)"""

import attrs
import pytest

from minibroker.records.batch import LEADER_EPOCH_POSITION
from minibroker.storage.errors import CorruptLog, StorageError
from minibroker.storage.files import INDEX, LOG, PARTITION_METADATA, TIME_INDEX, TORN, segment_name
from minibroker.storage.integrity import Damage
from minibroker.storage.log import Log
from minibroker.storage.log_checkpoint import NEVER_CHECKPOINTED, LogCheckpoint
from minibroker.storage.settings import LogSettings
from minibroker.storage.tail import RecoveryReport
from tests.simulation.disk import SimulatedDisk, SimulatedFile, everything
from tests.storage.logs import NOW, PATH, TOPIC_ID, append, at_once, contents, make_batch, make_log

SETTINGS = LogSettings(segment_bytes=400, index_interval_bytes=100)


def make(batches: int = 10) -> tuple[SimulatedDisk, Log, LogCheckpoint]:
    """A durable log and its checkpoint."""
    disk = SimulatedDisk()
    log = Log.create(disk, PATH, SETTINGS, TOPIC_ID, NOW)
    for number in range(batches):
        append(log, 2, size=20, producer=(5, 0, 2 * number))
    log.flush()
    state = log.begin_checkpoint()
    assert state is not None
    return disk, log, state


def reopen(disk: SimulatedDisk, state: LogCheckpoint | None) -> tuple[Log, RecoveryReport]:
    return Log.open(disk, PATH, SETTINGS, state, NOW)


def names(disk: SimulatedDisk, suffix: str) -> list[str]:
    return sorted(name for name in disk.list_sizes(PATH) if name.endswith(suffix))


def test_as_the_checkpoint_says() -> None:
    """Nothing is read and nothing changes."""
    disk, log, state = make()
    disk = disk.restarted()
    again, report = reopen(disk, state)
    assert report.is_clean
    assert disk.steps == 0
    assert again.begin_flush() is None
    assert again.begin_checkpoint() is None
    assert contents(again) == contents(log)
    assert again.producer_state.entries == log.producer_state.entries


def test_only_the_tail_is_read() -> None:
    """And is volatile until the next flush, for a page cache may show what the disk has not."""
    disk, log, state = make()
    durable = log.log_end_offset
    position = log.active.size_bytes
    for _ in range(7):
        append(log, 2, size=20)
    expected = contents(log)
    read_bytes = sum(segment.size_bytes for segment in log.segments if segment.base_offset >= durable)
    read_bytes += next(s.size_bytes for s in log.segments if s.base_offset == state.durable.segment) - position
    again, report = reopen(everything(disk), state)
    assert (report.recovered_batches, report.read_bytes, report.cut_bytes) == (7, read_bytes, 0)
    assert contents(again) == expected
    assert again.durable_end_offset == durable
    again.flush()
    assert again.durable_end_offset == again.log_end_offset


def test_a_torn_tail_is_cut_and_kept() -> None:
    """Half a batch at the end goes to a side file, and the log goes on where it was."""
    disk, log, state = make()
    end, position = log.log_end_offset, log.active.size_bytes
    batch, _ = make_batch(end, size=200)
    disk.open(log.active.log_path).pwrite(batch[:150], position)
    again, report = reopen(disk, state)
    assert (report.cut_offset, report.cut_bytes) == (end, 150)
    assert again.log_end_offset == end
    assert disk.read(f"{PATH}/{segment_name(end)}{TORN}") == bytes(batch[:150])
    assert len(disk.read(log.active.log_path)) == position
    assert str(report).startswith("t-0: ")
    append(again)
    again.flush()
    assert again.log_end_offset == end + 1


def test_a_damaged_leader_epoch_is_not_believed() -> None:
    """Beyond the checkpoint it ends the log, as any damage there; what is written next is there after every restart."""
    disk, log, state = make()
    end, position = log.log_end_offset, log.active.size_bytes
    append(log, 2, size=20)
    append(log, 2, size=20)
    log.flush()
    disk.open(log.active.log_path).pwrite(b"\x40", position + LEADER_EPOCH_POSITION)
    again, report = reopen(disk, state)
    assert (report.cut_offset, again.log_end_offset) == (end, end)
    append(again, 3, size=20)
    again.flush()
    expected = contents(again)
    assert len(expected) == 11
    assert contents(reopen(disk, state)[0]) == expected


def test_zeros_at_the_end_are_nobodys_data() -> None:
    """A preallocated tail is removed without a side file."""
    disk, log, state = make()
    disk.open(log.active.log_path).pwrite(bytes(5000), log.active.size_bytes)
    again, report = reopen(disk, state)
    assert (report.cut_bytes, report.preallocated_bytes) == (0, 5000)
    assert names(disk, TORN) == []
    assert contents(again) == contents(log)


@pytest.mark.parametrize("missing", ["zeroed", "gone", "other offsets"])
def test_a_hole_before_a_later_segment(missing: str) -> None:
    """Blocks reach the disk in any order: beyond the durable end, what lies behind a hole was never acknowledged."""
    disk, log, state = make(1)
    first, end = log.active, log.log_end_offset
    while len(log.segments) < 4:
        append(log, 2, size=20)
    before = contents(log)
    second = log.segments[1]
    if missing == "zeroed":
        disk.open(second.log_path).inode.content[:] = bytes(second.size_bytes)
        expected = second.base_offset
    elif missing == "gone":
        disk.unlink(second.log_path)
        expected = second.base_offset
    else:
        batch, _ = make_batch(end + 1)
        disk.open(first.log_path).pwrite(batch, state.durable.position)
        expected = end
    again, report = reopen(disk, state)
    assert again.log_end_offset == expected
    assert again.damaged == []
    assert report.cut_bytes > 0
    assert names(disk, TORN)
    assert contents(again) == [entry for entry in before if entry[0].next_offset <= expected]


def test_damage_that_holds_no_offset_is_remembered() -> None:
    """Garbage before the first batch, to be skipped by whoever reads: also when there is something to recover."""
    disk, log, state = make()
    garbage = Damage(start_offset=0, end_offset=0, segment=0, position=0, end_position=40, reason="garbage")
    append(log)
    again, report = reopen(everything(disk), attrs.evolve(state, damaged=(garbage,)))
    assert report.recovered_batches == 1
    assert again.damaged == [garbage]


def test_the_tail_is_written_again() -> None:
    """A page that a failed sync has left clean is not on the disk, though it is read: writing makes it dirty again."""
    disk, log, state = make()
    append(log, size=50)
    inode = disk.open(log.active.log_path).inode
    inode.pending.clear()  # what a failed sync does
    again, _ = reopen(disk, state)
    again.flush()
    assert bytes(inode.durable) == bytes(inode.content)


def test_missing_segments_below_the_durable_end_are_damage() -> None:
    """Their offsets are quarantined, everything else is served, and so it stays."""
    disk, log, state = make(20)
    lost = log.segments[1]
    following = log.segments[2].base_offset
    expected = [entry for entry in contents(log) if not lost.base_offset <= entry[0].base_offset < following]
    disk.unlink(lost.log_path)
    for attempt in range(3):
        again, report = reopen(disk, state)
        assert bool(report.quarantined) == (attempt == 0)
        assert contents(again) == expected
        assert [(damage.start_offset, damage.end_offset) for damage in again.damaged] == [(lost.base_offset, following)]
        with pytest.raises(CorruptLog, match="missing"):
            again.read(lost.base_offset, 100, again.log_end_offset)
        again.flush()
        again.needs_checkpoint = True
        new_state = again.begin_checkpoint()
        assert new_state is not None
        state = new_state


@pytest.mark.parametrize("size", [0, 1, 60, 200])
def test_an_active_segment_cut_below_the_durable_end(size: int) -> None:
    """What is lost is quarantined and the log goes on in a new segment: no offset is given out twice."""
    disk, log, state = make()
    end, base = log.log_end_offset, log.active.base_offset
    disk.open(log.active.log_path).truncate(min(size, log.active.size_bytes - 1))
    again, _ = reopen(disk, state)
    assert again.log_end_offset == end
    assert again.active.base_offset == end
    (damage,) = again.damaged
    assert base <= damage.start_offset < damage.end_offset == end
    append(again)
    again.flush()
    assert contents(again)[-1][0].base_offset == end


def test_all_segments_are_gone() -> None:
    """All that was is damage, and what comes is appended behind it."""
    disk, log, state = make()
    for name in names(disk, LOG):
        disk.unlink(f"{PATH}/{name}")
    again, _ = reopen(disk, state)
    assert again.log_end_offset == log.log_end_offset
    assert contents(again) == []
    append(again)
    assert len(contents(again)) == 1


def test_indexes_are_rebuilt() -> None:
    """Missing or damaged, with the same entries as before."""
    disk, _, state = make(40)
    before = {name: disk.read(f"{PATH}/{name}") for name in names(disk, INDEX) + names(disk, TIME_INDEX)}
    for number, name in enumerate(before):
        if number % 2:
            disk.unlink(f"{PATH}/{name}")
        else:
            disk.open(f"{PATH}/{name}").pwrite(b"garbage", 0)
    again, report = reopen(disk, state)
    assert report.is_clean
    for offset in range(again.log_end_offset):
        assert again.read(offset, 1, again.log_end_offset) is not None
    at_once(again.offset_for_timestamp(NOW, again.log_end_offset))
    for segment in again.segments:
        segment.save_indexes()
    assert {name: disk.read(f"{PATH}/{name}") for name in before} == before


def test_a_deleted_namesake() -> None:
    """A checkpoint of another topic id says nothing of this log."""
    disk, log, state = make()
    append(log)
    log.flush()
    again, _ = Log.open(disk, PATH, SETTINGS, attrs.evolve(state, topic_id=None), NOW, topic_id=TOPIC_ID)
    assert again.log_end_offset == log.log_end_offset
    other = TOPIC_ID.__class__(int=99)
    again, report = Log.open(disk, PATH, SETTINGS, state, NOW, topic_id=other)
    assert report.recovered_batches == 11
    assert again.topic_id == other


def test_the_topic_id_is_written_again() -> None:
    """If its file did not survive the power cut that followed the creation."""
    disk, _, _ = make()
    disk.open(f"{PATH}/{PARTITION_METADATA}").truncate(0)
    again, _ = Log.open(disk, PATH, SETTINGS, NEVER_CHECKPOINTED, NOW, topic_id=TOPIC_ID)
    assert again.topic_id == TOPIC_ID
    assert reopen(disk, None)[0].topic_id == TOPIC_ID


# -- In doubt: without a checkpoint nothing is known to be durable


def test_in_doubt_everything_is_read() -> None:
    """Segments, indexes, producers: the log is as it was, but for deleted records that come back."""
    disk, log, _ = make(20)
    again, report = reopen(disk, None)
    assert report.is_doubtful
    assert report.recovered_batches == 20
    assert contents(again) == contents(log)
    assert again.producer_state.entries == log.producer_state.entries
    assert [segment.max_timestamp_ms for segment in again.segments] == [s.max_timestamp_ms for s in log.segments]


def test_in_doubt_nothing_is_cut_that_good_batches_follow() -> None:
    """It may be damage in what was acknowledged."""
    disk, log, _ = make(20)
    second = log.segments[1]
    disk.open(second.log_path).inode.content[30] ^= 1
    again, report = reopen(disk, None)
    (damage,) = again.damaged
    assert report.quarantined == [damage]
    assert damage.start_offset == second.base_offset
    assert report.cut_bytes == 0
    assert contents(again) == [entry for entry in contents(log) if entry[0].base_offset != second.base_offset]


@pytest.mark.parametrize("lost", ["tail of a segment", "segment"])
def test_in_doubt_a_gap_between_segments_is_damage(lost: str) -> None:
    """Later segments are kept."""
    disk, log, _ = make(20)
    before = contents(log)
    second, third = log.segments[1:3]
    if lost == "segment":
        disk.unlink(second.log_path)
        start = second.base_offset
    else:
        disk.open(second.log_path).truncate(second.size_bytes - 1)
        start = third.base_offset - 2
    again, _ = reopen(disk, None)
    assert [(damage.start_offset, damage.end_offset) for damage in again.damaged] == [(start, third.base_offset)]
    assert contents(again) == [entry for entry in before if not start <= entry[0].base_offset < third.base_offset]


def test_in_doubt_a_torn_end_is_still_cut() -> None:
    """Nothing good follows it."""
    disk, log, _ = make()
    disk.open(log.active.log_path).pwrite(b"\1garbage", log.active.size_bytes)
    again, report = reopen(disk, None)
    assert report.cut_bytes == 8
    assert again.damaged == []
    assert again.log_end_offset == log.log_end_offset


def test_doubt_ends_with_a_flush_and_a_checkpoint() -> None:
    """Before it there is nothing to be said of the log."""
    disk, _, _ = make()
    again, _ = reopen(disk, None)
    assert again.begin_checkpoint() is None
    again.flush()
    state = again.begin_checkpoint()
    assert state is not None
    assert reopen(disk, state)[1].is_clean


def test_producers_are_those_of_the_durable_end_and_of_what_follows() -> None:
    """Not those of batches that were lost with the power, though the checkpoint was taken when they were there."""
    log = make_log()
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    append(log, producer=(5, 0, 0))
    log.flush()
    append(log, producer=(5, 0, 1))
    append(log, producer=(6, 0, 0))
    log.needs_checkpoint = True
    assert log.begin_checkpoint() is None
    append(log, producer=(5, 0, 2))
    log.flush()
    append(log, producer=(6, 0, 1))
    state = log.begin_checkpoint()
    assert state is not None
    assert {producer_id: batches[-1][1] for producer_id, _, _, batches in state.producers} == {5: 2, 6: 0}


def test_old_side_files_do_no_harm() -> None:
    """Nor do names that mean nothing."""
    disk, log, state = make()
    for name in (f"{segment_name(3)}{TORN}", "x.log", "readme"):
        disk.open(f"{PATH}/{name}", create=True)
    again, report = reopen(disk, state)
    assert report.is_clean
    assert contents(again) == contents(log)


def test_a_cut_that_a_killed_recovery_made_is_synced_by_the_next() -> None:
    """Or a power cut after that could bring the bytes back behind new ones. (Found by seed 79786 of the power cuts.)"""
    disk, log, state = make()
    end, position = log.log_end_offset, log.active.size_bytes
    torn, _ = make_batch(end, size=200)
    file = disk.open(log.active.log_path)
    file.pwrite(torn[:150], position)
    file.sync_data()
    reopen(disk, state)
    disk = disk.restarted()
    again, report = reopen(disk, state)
    assert report.cut_bytes == 0
    again.flush()
    assert len(disk.open(log.active.log_path).inode.durable) == position


@pytest.mark.parametrize("is_there", [True, False], ids=["short", "missing"])
def test_segments_behind_the_damaged_one_with_the_durable_end_stay(is_there: bool) -> None:
    """What is lost of it is quarantined; segments that were written since the checkpoint are whole, and are served."""
    disk, log, state = make(1)
    path = log.active.log_path
    for _ in range(12):
        append(log, 2, size=20)
    expected = contents(log)
    first_kept = log.segments[1].base_offset
    assert first_kept > state.durable.offset
    disk = everything(disk)
    if is_there:
        file = disk.open(path)
        file.truncate(state.durable.position - 10)
        file.sync_data()
    else:
        disk.unlink(path)
    again, _ = reopen(disk, state)
    again.flush()
    assert [(damage.start_offset, damage.end_offset) for damage in again.damaged] == [(0, first_kept)]
    assert contents(again) == [entry for entry in expected if entry[0].base_offset >= first_kept]
    assert names(disk, TORN) == []
    assert append(again).base_offset == log.log_end_offset


class ShortOfDescriptors(SimulatedDisk):
    """A disk that refuses to open files of one kind, before or after it has made them."""

    refused: str = "nothing"
    made_before: bool = False

    def open(self, path: str, *, create: bool = False) -> SimulatedFile:
        """See SimulatedDisk."""
        if create and path.endswith(self.refused):
            if self.made_before:
                super().open(path, create=True)
            raise StorageError(f"cannot open {path}: too many open files")
        return super().open(path, create=create)


@pytest.mark.parametrize("made_before", [False, True])
@pytest.mark.parametrize("refused", [LOG, INDEX, TIME_INDEX])
@pytest.mark.parametrize("is_known", [True, False], ids=["checkpointed", "killed at once"])
def test_a_roll_that_fails_leaves_nothing_behind(refused: str, made_before: bool, is_known: bool) -> None:
    """Smaller batches still fit the old segment; no later restart may take the new one's file for the end of the log."""
    disk = ShortOfDescriptors()
    log = Log.create(disk, PATH, SETTINGS, TOPIC_ID, NOW)
    for _ in range(2):
        append(log, size=50)
    state = checkpointed(log)
    disk.refused, disk.made_before = refused, made_before
    with pytest.raises(StorageError):
        append(log, size=200)
    append(log, size=10)
    disk.refused = "nothing"
    for _ in range(6):
        append(log, size=200)
    if is_known:
        state = checkpointed(log)
    log.flush()
    expected = contents(log)
    again, _ = reopen(disk.restarted(), state)
    assert contents(again) == expected
    assert again.damaged == []


def test_an_empty_file_among_the_segments_is_no_end() -> None:
    """A roll that failed may have left one; if it could not be removed, a restart passes over it and removes it."""
    disk, log, state = make()
    expected = contents(log)
    for known in (state, None):
        disk.open(f"{PATH}/{segment_name(log.segments[0].base_offset + 1)}{LOG}", create=True)
        again, _ = reopen(disk, known)
        assert contents(again) == expected
        assert again.damaged == []


def checkpointed(log: Log) -> LogCheckpoint:
    log.flush()
    state = log.begin_checkpoint()
    assert state is not None
    log.complete_checkpoint(state)
    return state
