"""The log: volatile, durable, rolled, read."""

import errno
from pathlib import Path
from typing import Any

import attrs
import pytest

from minibroker.protocol.errors import OffsetOutOfRange
from minibroker.records.batch import iter_batches
from minibroker.storage.errors import DiskFull, LogOffline, StorageError, SyncFailed
from minibroker.storage.files import LOG, decode_partition_metadata, segment_name
from minibroker.storage.filesystem import OsFileSystem
from minibroker.storage.log import FlushPoint, Log
from minibroker.storage.removal import remove_directory
from tests.simulation.disk import SimulatedDisk, only_synced
from tests.storage.logs import NOW, PATH, TOPIC_ID, append, checkpoint, contents, make_batch, make_log


def sync(point: FlushPoint | None, log: Log) -> None:
    assert point is not None
    for file in point.files:
        file.sync_data()
    for directory in point.directories:
        log.fs.sync_directory(directory)
    log.complete_flush(point)


def test_a_new_log_takes_nothing_before_its_first_append() -> None:
    """Neither a step of the disk nor a line of a checkpoint, whatever else is done with it; and then it can be read."""
    log = make_log()
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    assert log.begin_flush() is None
    assert log.begin_checkpoint() is None
    log.roll(NOW)
    log.advance_log_start(0)
    assert log.delete_old_segments(NOW) == []
    log.close()
    assert log.read(0, 1000, 0) is None
    assert (disk.steps, disk.root.entries) == (0, SimulatedDisk().root.entries)
    append(log)
    log.flush()
    assert len(contents(log)) == 1


@pytest.mark.parametrize("step", range(7))
def test_a_first_append_that_fails_leaves_nothing(step: int) -> None:
    """No file, no directory and no open descriptor, wherever the disk is full; and the next append makes all of it."""
    disk = SimulatedDisk()
    log = make_log(disk)
    disk.failures = {disk.steps + step: errno.ENOSPC}
    try:
        append(log)
    except StorageError:
        assert not disk.exists(PATH)
        assert log.begin_flush() is None
        assert log.active._file is None
        append(log)
    else:
        assert step == 6
    disk.failures = {}
    log.flush()
    again, _ = Log.open(only_synced(disk), PATH, log.settings, None, NOW)
    assert contents(again) == contents(log)


def test_an_idle_log_holds_no_descriptor(tmp_path: Path) -> None:
    """From the second checkpoint on that finds nothing new, so that partitions may be more than descriptors; it goes on."""
    log = make_log(OsFileSystem(), f"{tmp_path}/t-0")
    for _ in range(3):
        append(log)
        assert log.begin_checkpoint() is None  # what is volatile has no place in one
        log.flush()
        assert log.active._file is not None
        log.begin_checkpoint()
        log.begin_checkpoint()
        assert log.active._file is None
    assert len(contents(log)) == 3


def test_a_new_log_is_durable_after_its_first_flush() -> None:
    """Its directory, its parent, its metadata and its segment are in the first flush point."""
    log = make_log()
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    append(log)
    assert not only_synced(disk).exists(PATH)
    sync(log.begin_flush(), log)
    after = only_synced(disk)
    assert decode_partition_metadata(after.read(f"{PATH}/partition.metadata")) == TOPIC_ID
    assert after.exists(f"{PATH}/{segment_name(0)}{LOG}")
    assert log.begin_flush() is None


def test_append_is_volatile_until_the_flush_is_complete() -> None:
    """The durable end moves in `complete_flush`, to where the log ended in `begin_flush`."""
    log = make_log()
    append(log, 3)
    assert (log.log_end_offset, log.durable_end_offset) == (3, 0)
    point = log.begin_flush()
    assert point is not None
    append(log, 2)
    assert (log.log_end_offset, log.durable_end_offset, point.end_offset) == (5, 0, 3)
    sync(point, log)
    assert log.durable_end_offset == 3
    sync(log.begin_flush(), log)
    assert log.durable_end_offset == 5


def test_a_flush_point_covers_what_was_rolled_meanwhile() -> None:
    """After any number of rolls a power cut leaves everything below the durable end."""
    log = make_log(segment_bytes=200)
    for _ in range(10):
        append(log, size=50)
    assert len(log.segments) > 3
    sync(log.begin_flush(), log)
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    again, _ = Log.open(only_synced(disk), PATH, log.settings, None, NOW)
    assert contents(again) == contents(log)


def test_a_roll_during_a_flush() -> None:
    """The old segment is synced again if it grew after the flush began."""
    log = make_log()
    append(log)
    point = log.begin_flush()
    append(log)
    log.roll(NOW)
    append(log)
    sync(point, log)
    assert log.durable_end_offset == 1
    sync(log.begin_flush(), log)
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    again, _ = Log.open(only_synced(disk), PATH, log.settings, None, NOW)
    assert again.log_end_offset == 3


def test_a_roll_of_an_empty_segment_does_nothing() -> None:
    """There would be two segments with the same base offset."""
    log = make_log()
    log.roll(NOW)
    assert len(log.segments) == 1


@pytest.mark.parametrize(
    ("settings", "timestamps", "now", "rolls"),
    [
        ({"segment_bytes": 100}, NOW, NOW, True),
        ({"segment_bytes": 200}, NOW, NOW, False),
        ({"segment_ms": 1000}, NOW + 1000, NOW, False),
        ({"segment_ms": 1000}, NOW + 1001, NOW, True),
        ({"segment_ms": 1000}, NOW - 5000, NOW + 5000, False),  # the records' own clock decides
    ],
)
def test_when_a_segment_is_rolled(settings: dict[str, Any], timestamps: int, now: int, rolls: bool) -> None:
    """By size and by the age of its first record."""
    log = make_log(**settings)
    append(log)
    batch, header = make_batch(1, timestamps=[timestamps])
    log.append(batch, header, now)
    assert [segment.base_offset for segment in log.segments] == ([0, 1] if rolls else [0])


def test_records_without_timestamps_roll_by_our_clock() -> None:
    """There is no other."""
    log = make_log(segment_ms=1000)
    append(log, timestamps=[-1])
    for now, segments in ((NOW + 1000, 1), (NOW + 1001, 2)):
        batch, header = make_batch(log.log_end_offset, timestamps=[-1])
        log.append(batch, header, now)
        assert len(log.segments) == segments


def test_a_single_batch_may_exceed_segment_bytes() -> None:
    """It gets a segment of its own, and no empty one is left behind."""
    log = make_log(segment_bytes=100)
    append(log, size=500)
    append(log, size=500)
    assert [segment.base_offset for segment in log.segments] == [0, 1]


def test_offsets_that_do_not_fit_into_31_bits_roll() -> None:
    """The indexes hold offsets relative to the base as int32; compaction or an import may leave such gaps."""
    log = make_log()
    append(log)
    for base in (2**31 - 1, 2**31):
        batch, header = make_batch(base)
        log.append(batch, header, NOW)
    assert [segment.base_offset for segment in log.segments] == [0, 2**31 - 1 + 1]


def test_settings_change_while_it_runs() -> None:
    """The next append obeys the new ones."""
    log = make_log()
    append(log)
    log.settings = attrs.evolve(log.settings, segment_bytes=100)
    append(log)
    assert len(log.segments) == 2


def test_jitter_brings_rolls_forward() -> None:
    """Each segment has its own, stable share, so that thousands do not roll at once."""
    logs = [make_log(path=f"/t-{index}", segment_ms=1000, segment_jitter_ms=1000) for index in range(50)]
    shares = {log.active.jitter_ms(1000) for log in logs}
    assert len(shares) > 25
    assert all(0 <= share < 1000 for share in shares)
    assert [log.active.jitter_ms(1000) for log in logs] == [log.active.jitter_ms(1000) for log in logs]


# -- Failures


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EIO, StorageError)])
@pytest.mark.parametrize("rolls", [False, True])
def test_a_failed_append_leaves_the_log_as_it_was(number: int, error: type[StorageError], rolls: bool) -> None:
    """Whichever write fails, nothing of the batch stays, and the next append succeeds."""
    for step in range(3):
        log = make_log(segment_bytes=150 if rolls else 10_000)
        append(log, size=50)
        before = contents(log)
        disk = log.fs
        assert isinstance(disk, SimulatedDisk)
        disk.failures = {disk.steps + step: number}
        try:
            append(log, size=50)
        except error:
            assert contents(log) == before
            assert log.log_end_offset == 1
            append(log, size=50)
        assert log.log_end_offset == 2
        assert [header.base_offset for header, _ in contents(log)] == [0, 1]
        disk.failures = {}
        checkpoint(log)
        again, _ = Log.open(disk, PATH, log.settings, None, NOW)
        assert contents(again) == contents(log)


def test_an_append_that_cannot_be_taken_back() -> None:
    """Half a batch is in the file and cannot be cut: the log goes offline rather than append behind it."""
    log = make_log()
    append(log)
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    disk.failures = {disk.steps: errno.EIO, disk.steps + 1: errno.EIO}
    with pytest.raises(StorageError):
        append(log)
    with pytest.raises(LogOffline):
        append(log)


def test_after_a_failed_sync_the_log_refuses_everything() -> None:
    """The page cache shows what may not be on the disk, so nothing of it may be acknowledged or served."""
    log = make_log()
    append(log)
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    disk.failures = {disk.steps: errno.EIO}
    with pytest.raises(SyncFailed):
        log.flush()
    assert log.durable_end_offset == 0
    for call in (lambda: append(log), log.begin_flush, log.flush, lambda: log.read(0, 100, 1), lambda: log.roll(NOW)):
        with pytest.raises(LogOffline, match="cannot sync"):
            call()
    assert log.begin_checkpoint() is None


# -- Reading


def read(log: Log, offset: int, max_bytes: int = 10**6, end: int | None = None) -> list[int]:
    """Base offsets of the batches in a slice."""
    part = log.read(offset, max_bytes, log.log_end_offset if end is None else end)
    return [header.base_offset for header, _ in iter_batches(part.read())] if part is not None else []


def test_a_read_in_the_middle_of_a_batch_returns_the_whole_batch() -> None:
    """The client skips the records before."""
    log = make_log()
    for _ in range(3):
        append(log, 10)
    assert read(log, 0) == [0, 10, 20]
    assert read(log, 9) == [0, 10, 20]
    assert read(log, 10) == [10, 20]
    assert read(log, 29) == [20]
    assert read(log, 30) == []


def test_the_end_is_never_passed() -> None:
    """Not even by a batch that begins before it is asked for."""
    log = make_log()
    append(log, 10)
    log.flush()
    append(log, 10)
    assert read(log, 0, end=log.durable_end_offset) == [0]
    assert read(log, 10, end=log.durable_end_offset) == []
    append(log, 10)
    log.flush()
    assert read(log, 0, end=10) == [0]  # an older durable end
    assert read(log, 0, end=30) == [0, 10, 20]


def test_the_first_batch_may_exceed_the_limit() -> None:
    """Or a consumer with a small limit would be stuck; not if something else was found before."""
    log = make_log()
    append(log, size=1000)
    append(log, size=1000)
    assert read(log, 0, max_bytes=10) == [0]
    assert log.read(0, 10, 2, min_one_batch=False) is None
    part = log.read(0, 1100, 2, min_one_batch=False)
    assert part is not None
    assert part.size_bytes <= 1100


def test_out_of_range() -> None:
    """Below the log start and above the log end, but not at the end."""
    log = make_log()
    append(log, 5)
    log.flush()
    log.advance_log_start(3)
    assert read(log, 3) == [0]
    assert read(log, 5) == []
    for offset in (-1, 2, 6):
        with pytest.raises(OffsetOutOfRange):
            read(log, offset)


@pytest.mark.parametrize("max_bytes", [1, 300, 1000, 5000, 100_000])
@pytest.mark.parametrize("interval", [0, 500, 100_000])
def test_a_sequential_reader_sees_every_batch_once(max_bytes: int, interval: int) -> None:
    """Over segments, whatever the limit and the density of the index."""
    log = make_log(segment_bytes=20_000, index_interval_bytes=interval)
    for number in range(300):
        append(log, 1 + number % 3, size=(0, 10, 500)[number % 3])
    offset, seen = 0, []
    while part := log.read(offset, max_bytes, log.log_end_offset):
        batches = list(iter_batches(part.read()))
        assert sum(len(batch) for _, batch in batches) == part.size_bytes
        assert part.size_bytes <= max_bytes or len(batches) == 1
        seen += [header.base_offset for header, _ in batches]
        offset = batches[-1][0].next_offset
    assert seen == [header.base_offset for header, _ in contents(log)]
    assert offset == log.log_end_offset


def test_every_offset_is_found() -> None:
    """Out of order, after a restart that has not loaded anything."""
    log = make_log(segment_bytes=3000, index_interval_bytes=200)
    bases = [append(log, 1 + number % 4, size=20).base_offset for number in range(200)]
    checkpoint(log)
    log.needs_checkpoint = True
    again, report = Log.open(log.fs, PATH, log.settings, log.begin_checkpoint(), NOW)
    assert report.is_clean
    for opened in (log, again):
        for offset in reversed(range(log.log_end_offset)):
            assert read(opened, offset, max_bytes=1) == [max(base for base in bases if base <= offset)]


def test_a_slice_outlives_its_segment() -> None:
    """Retention and a deletion of the partition do not disturb a fetch in progress."""
    log = make_log(segment_bytes=100)
    append(log)
    append(log, size=200)
    log.flush()
    part = log.read(0, 10**6, 1)
    assert part is not None
    expected = part.read()
    log.advance_log_start(1)
    checkpoint(log)
    assert part.read() == expected
    remove_directory(log.fs, PATH)
    assert part.read() == expected


def test_what_this_life_has_written_is_checked() -> None:
    """After a restart the same bytes are not, until somebody has looked at them."""
    log = make_log()
    append(log, size=100)
    checkpoint(log)
    part = log.read(0, 1000, 1)
    assert part is not None
    assert part.checked
    assert part.find_damage() == []
    log.needs_checkpoint = True
    again, _ = Log.open(log.fs, PATH, log.settings, log.begin_checkpoint(), NOW)
    append(again, size=100)
    part = again.read(0, 1000, 2)
    assert part is not None
    assert not part.checked
    again.finish_check(part, part.find_damage())
    part = again.read(0, 1000, 2)
    assert part is not None
    assert part.checked


def test_closing() -> None:
    """Flushes; the log may still be read."""
    log = make_log()
    append(log)
    log.close()
    assert log.durable_end_offset == 1
    assert read(log, 0) == [0]
