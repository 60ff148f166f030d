"""Lookups by time: exact to the record, inside compressed batches too. (test_log_model.py compares with a plain list.)"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from minibroker.records.batch import TIMESTAMP_TYPE_BIT, BatchHeader, write_header
from minibroker.records.compression import Codec
from minibroker.storage.errors import StorageError
from minibroker.storage.log import Log
from minibroker.storage.timestamps import LARGE_BYTES, LONGEST_STEP
from minibroker.storage.walk import SPARSE_BATCH_BYTES
from tests.simulation.disk import SimulatedDisk
from tests.storage import compacting
from tests.storage.logs import NOW, append, at_once, checkpoint, make_batch, make_log


@pytest.mark.parametrize("codec", Codec)
def test_the_record_not_the_batch(codec: Codec) -> None:
    """The first record at or after the time, in whichever batch and at whichever place."""
    log = make_log()
    append(log, timestamps=[NOW, NOW + 10, NOW + 20], codec=codec)
    append(log, timestamps=[NOW + 30, NOW + 25, NOW + 40], codec=codec)
    for after, found in [(-1, (0, 0)), (0, (0, 0)), (1, (1, 10)), (20, (2, 20)), (21, (3, 30)), (31, (5, 40))]:
        assert at_once(log.offset_for_timestamp(NOW + after, 6)) == (found[0], NOW + found[1])
    assert at_once(log.offset_for_timestamp(NOW + 41, 6)) is None
    assert at_once(log.offset_for_timestamp(NOW + 30, 3)) is None
    assert at_once(log.offset_of_max_timestamp(6)) == (5, NOW + 40)
    assert at_once(log.offset_of_max_timestamp(3)) == (2, NOW + 20)


def test_the_first_of_equal_timestamps() -> None:
    """Also over batches and segments."""
    log = make_log(segment_bytes=100)
    for _ in range(4):
        append(log, timestamps=[NOW, NOW])
    assert at_once(log.offset_for_timestamp(NOW, 8)) == (0, NOW)
    assert at_once(log.offset_of_max_timestamp(8)) == (0, NOW)


def test_timestamps_out_of_order() -> None:
    """The offset decides what is first, not the time."""
    log = make_log(index_interval_bytes=0)
    for delta in (50, 10, 70, 20, 60):
        append(log, timestamps=[NOW + delta])
    assert at_once(log.offset_for_timestamp(NOW + 15, 5)) == (0, NOW + 50)
    assert at_once(log.offset_for_timestamp(NOW + 55, 5)) == (2, NOW + 70)
    assert at_once(log.offset_of_max_timestamp(5)) == (2, NOW + 70)
    assert at_once(log.offset_of_max_timestamp(2)) == (0, NOW + 50)


@pytest.mark.parametrize("action", ["open", "read"])
def test_an_index_that_could_not_be_made_again(action: str) -> None:
    """Whichever call fails meanwhile, once: the lookup afterwards is right, not one by half of a segment's timestamps."""
    log = make_log(segment_bytes=25_000)
    for delta in (0, 0, 10, 10, 20):
        append(log, timestamps=[NOW + delta], size=SPARSE_BATCH_BYTES)
    append(log, timestamps=[NOW + 30], size=SPARSE_BATCH_BYTES * 2)
    checkpoint(log)
    log.needs_checkpoint = True
    state = log.begin_checkpoint()
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    failed = number = 0
    while failed == number:
        disk = disk.restarted()
        disk.open(log.segments[0].paths[2]).truncate(0)
        again, _ = Log.open(disk, log.directory, log.settings, state, NOW)
        disk.failing_calls = {disk.calls + number: action}
        with suppress(StorageError):
            at_once(again.offset_for_timestamp(NOW + 15, 6))
        disk.failing_calls = {}
        number, failed = number + 1, failed + len(disk.failed_calls)
        assert at_once(again.offset_for_timestamp(NOW + 15, 6)) == (4, NOW + 20)
        assert again.segments[0].max_timestamp_ms == NOW + 20
    assert failed > 5, "no call has failed"


def test_below_the_log_start_nothing_is_found() -> None:
    """Not even in the same batch."""
    log = make_log()
    append(log, timestamps=[NOW + 90, NOW + 10, NOW + 50])
    append(log, timestamps=[NOW + 20])
    log.flush()
    log.advance_log_start(1)
    assert at_once(log.offset_for_timestamp(NOW, 4)) == (1, NOW + 10)
    assert at_once(log.offset_for_timestamp(NOW + 60, 4)) is None
    assert at_once(log.offset_of_max_timestamp(4)) == (2, NOW + 50)


def test_an_empty_log() -> None:
    """Has no times."""
    log = make_log()
    assert at_once(log.offset_for_timestamp(0, 0)) is None
    assert at_once(log.offset_of_max_timestamp(0)) is None


def test_records_without_timestamps() -> None:
    """Are at no time."""
    log = make_log()
    append(log, timestamps=[-1])
    assert at_once(log.offset_for_timestamp(0, 1)) is None
    assert at_once(log.offset_of_max_timestamp(1)) is None


def append_changed(log: Log, header: BatchHeader, batch: memoryview) -> None:
    log.append(batch, write_header(batch, header), NOW)


def test_log_append_time() -> None:
    """All records of such a batch have the time of the batch."""
    log = make_log()
    batch, header = make_batch(0, timestamps=[NOW, NOW + 10])
    append_changed(log, header._replace(attributes=TIMESTAMP_TYPE_BIT, max_timestamp=NOW + 99), batch)
    assert at_once(log.offset_for_timestamp(NOW + 11, 2)) == (0, NOW + 99)


def test_a_batch_that_cannot_be_unpacked() -> None:
    """Nobody looks inside what a producer compressed, so it may be garbage: its header has to do."""
    log = make_log()
    batch, header = make_batch(0, timestamps=[NOW, NOW + 10])
    append_changed(log, header._replace(attributes=Codec.ZSTD), batch)
    assert at_once(log.offset_for_timestamp(NOW + 5, 2)) == (0, NOW + 10)
    assert at_once(log.offset_of_max_timestamp(2)) == (0, NOW + 10)


def test_a_batch_that_compaction_has_emptied_has_no_time(tmp_path: Path) -> None:
    """It stays for its producer's sake, and the largest timestamp, which it had, went with its record."""
    log = compacting.make_log(tmp_path, index_interval_bytes=0)
    compacting.append(log, [(b"other", b"1")], timestamp_ms=NOW + 4000)
    compacting.append(log, [(b"k", b"2")], timestamp_ms=NOW + 5000, producer=(5, 0, 0))
    compacting.append(log, [(b"k", b"3")], timestamp_ms=NOW + 100)
    compacting.close_segment(log)
    compacting.compact(log, NOW)
    assert [header.record_count for header, _ in compacting.batches_of(log)] == [1, 0, 1]
    for end in (2, 3, log.log_end_offset):
        assert at_once(log.offset_of_max_timestamp(end)) == (0, NOW + 4000)
    assert at_once(log.offset_for_timestamp(NOW + 4001, log.log_end_offset)) is None


def test_an_emptied_batch_hides_no_later_one_in_a_segment_that_begins_below_the_log_start(tmp_path: Path) -> None:
    """There all headers are looked at."""
    log = compacting.make_log(tmp_path)
    compacting.append(log, [(b"a", b"1"), (b"b", b"1")], timestamp_ms=NOW)
    compacting.append(log, [(b"k", b"2")], timestamp_ms=NOW + 5000, producer=(5, 0, 0))
    compacting.append(log, [(b"k", b"3")], timestamp_ms=NOW + 100)
    compacting.close_segment(log)
    compacting.compact(log, NOW)
    log.advance_log_start(1)
    assert at_once(log.offset_of_max_timestamp(log.log_end_offset)) == (3, NOW + 100)


def append_lying(log: Log, count: int, codec: Codec = Codec.NONE) -> None:
    """Batches whose headers claim an hour more than their records have."""
    for _ in range(count):
        batch, header = make_batch(log.log_end_offset, codec=codec)
        append_changed(log, header._replace(max_timestamp=NOW + 3_600_000), batch)


def test_many_batches_are_looked_into_in_many_steps() -> None:
    """Headers may claim what they like: none of the steps is long, and a later batch is still found."""
    log = make_log()
    append_lying(log, 500)
    append(log, timestamps=[NOW + 10])
    found = []

    def search() -> Iterator[object]:
        found.append((yield from log.offset_for_timestamp(NOW + 5, 501)))

    steps = list(search())
    assert found == [(500, NOW + 10)]
    assert len(steps) > 20
    assert all(isinstance(step, int) and step < 2 * LONGEST_STEP for step in steps)


@pytest.mark.parametrize(("codec", "size"), [(Codec.GZIP, 10), (Codec.NONE, 2 * LARGE_BYTES)])
def test_a_large_batch_is_work_for_another_thread(codec: Codec, size: int) -> None:
    """And one that may become large, as any that is compressed."""
    log = make_log()
    append(log, timestamps=[NOW + 10], codec=codec, size=size)
    for search in (log.offset_for_timestamp(NOW, 1), log.offset_of_max_timestamp(1)):
        work = next(search)
        assert callable(work)
        with pytest.raises(StopIteration) as end:
            search.send(work())
        assert end.value.value == (0, NOW + 10)


def test_segments_may_be_removed_while_a_search_rests() -> None:
    """It goes on where the log begins then."""
    log = make_log(segment_bytes=2000)
    append_lying(log, 200)
    append(log, timestamps=[NOW + 10])
    log.flush()
    search = log.offset_for_timestamp(NOW + 5, 201)
    assert isinstance(next(search), int)
    log.advance_log_start(150)
    checkpoint(log)
    assert at_once(search) == (200, NOW + 10)
    assert not log.damaged


def test_segments_may_be_replaced_while_a_batch_is_looked_into(tmp_path: Path) -> None:
    """By compaction: what was opened is looked into, no damage is seen where other bytes lie now, and the search ends."""
    log = compacting.make_log(tmp_path)
    for value in range(4):
        compacting.append(log, [(b"k", bytes([value]) * 50)], timestamp_ms=NOW, codec=Codec.GZIP)
    compacting.close_segment(log)
    search = log.offset_for_timestamp(NOW - 1, log.log_end_offset)
    work = next(search)
    assert callable(work)
    compacting.compact(log, NOW)
    with pytest.raises(StopIteration) as end:
        search.send(work())
    assert end.value.value == (0, NOW)
    assert not log.damaged


def test_damaged_attributes_are_damage_to_their_batch_alone() -> None:
    """A number that names no codec is looked at before the CRC is; what is whole is found."""
    log = make_log()
    first = append(log, timestamps=[NOW])
    append(log, timestamps=[NOW + 10])
    append(log, timestamps=[NOW + 5])
    log.flush()
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    disk.open(log.active.log_path).inode.content[first.size_bytes + 22] |= 7
    assert at_once(log.offset_for_timestamp(NOW + 5, 3)) == (2, NOW + 5)
    assert [(damage.start_offset, damage.end_offset) for damage in log.damaged] == [(1, 2)]
    assert at_once(log.offset_of_max_timestamp(3)) in (None, (2, NOW + 5))  # the batch that had it is lost


def test_a_damaged_length_is_damage_to_its_batch_alone() -> None:
    """Also where it leads beyond an entry of the index, from which on all is good: what is whole is found."""
    log = make_log(index_interval_bytes=0)
    sizes = [append(log, timestamps=[NOW + number], size=60).size_bytes for number in range(6)]
    log.flush()
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    log.active.offset_index.remove(0)  # of the second batch, so that a walk comes to it from the one before
    disk.open(log.active.log_path).inode.content[sizes[0] + 10] = 1
    assert at_once(log.offset_for_timestamp(NOW + 4, 6)) == (4, NOW + 4)
    assert at_once(log.offset_for_timestamp(NOW + 1, 6)) == (2, NOW + 2)
    assert [(damage.start_offset, damage.end_offset) for damage in log.damaged] == [(1, 2)]
