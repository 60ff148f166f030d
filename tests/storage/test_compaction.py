"""Log compaction: what stays, when it is due, and that a crash at any step of the swap loses nothing."""

import errno
from collections.abc import Generator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.records.compression import Codec
from minibroker.records.record import Record, read_records
from minibroker.storage.cleaning import CompactionCancelled, Pace
from minibroker.storage.compaction import Compaction, Work, plan_compaction, roll_if_overdue
from minibroker.storage.errors import CorruptLog, MissingFile, StorageError
from minibroker.storage.files import CLEANED, INDEX, LOG, SWAP, TIME_INDEX, base_offset_of
from minibroker.storage.log import Log
from minibroker.storage.scrub import forget_checks
from minibroker.storage.walk import CHUNK_BYTES
from tests.simulation.disk import SimulatedDisk
from tests.storage.compacting import (
    DAY_MS,
    MIB,
    NOW,
    PATIENT,
    SETTINGS,
    append,
    batches_of,
    close_segment,
    compact,
    hide,
    make_log,
    records_of,
    reopened,
    save_checkpoint,
)


def survivors(records: list[Record], end_offset: int) -> list[Record]:
    """The model: below `end_offset` only the last record of each key."""
    last = {record.key: record.offset for record in records if record.offset < end_offset}
    return [record for record in records if record.offset >= end_offset or last[record.key] == record.offset]


def test_a_thousand_keys_with_many_updates(tmp_path: Path) -> None:
    """Only the last update of each key stays, at its own offset, and the active segment is untouched."""
    log = make_log(tmp_path)
    for round_number in range(100):
        append(log, [(b"key-%d" % key, b"%d" % round_number) for key in range(1000)])
    before = records_of(log)
    end_offset = log.active.base_offset
    log.flush()
    save_checkpoint(log)
    report = compact(log)
    assert report is not None
    assert report.end_offset == end_offset
    assert report.bytes_after < report.bytes_before / 20
    assert records_of(log) == survivors(before, end_offset)
    assert len(log.segments) <= 3


@given(
    data=st.data(),
    rounds=st.lists(
        st.lists(
            st.tuples(
                st.lists(
                    st.tuples(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), st.none() | st.binary(max_size=3)),
                    min_size=1,
                    max_size=4,
                ),
                st.sampled_from(Codec),
                st.booleans(),
            ),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_compacted_again_and_again(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, rounds: list) -> None:  # type: ignore[type-arg]
    """After each compaction a reader sees exactly the last record of each key, whatever was compacted before, whether
    the memory sufficed or not, and so it does after a restart.
    """
    log = make_log(tmp_path_factory.mktemp("log"), segment_bytes=data.draw(st.sampled_from([200, 500, MIB])))
    model: list[Record] = []
    for batches in rounds:
        for pairs, codec, roll in batches:
            header = append(log, pairs, codec=codec)
            model += [Record(header.base_offset + slot, NOW, *pair) for slot, pair in enumerate(pairs)]
            if roll:
                log.roll(NOW)
        close_segment(log)
        budget_bytes = data.draw(st.sampled_from([1, 40, MIB]))
        while (report := compact(log, budget_bytes=budget_bytes)) is not None:
            model = survivors(model, report.end_offset)
            assert records_of(log) == model
        assert [record.offset for record in model] == sorted({r.key: r.offset for r in model}.values())
    log = reopened(log)
    assert records_of(log) == model


def test_tombstones_live_for_delete_retention_ms(tmp_path: Path) -> None:
    """The first compaction marks them, one that comes `delete.retention.ms` later removes them; times do not change."""
    log = make_log(tmp_path)
    append(log, [(b"a", b"1"), (b"b", b"1")], timestamp_ms=NOW - 5)
    append(log, [(b"a", None), (b"c", b"1")], timestamp_ms=NOW - 3)
    close_segment(log)
    compact(log, NOW)
    assert [(r.offset, r.key, r.value, r.timestamp_ms) for r in records_of(log)] == [
        (1, b"b", b"1", NOW - 5),
        (2, b"a", None, NOW - 3),
        (3, b"c", b"1", NOW - 3),
    ]
    assert [header.delete_horizon_ms for header, _ in batches_of(log)] == [None, NOW + DAY_MS]
    for later, keys in ((NOW + DAY_MS - 1, [b"b", b"a", b"c", b"d"]), (NOW + DAY_MS, [b"b", b"c", b"d"])):
        append(log, [(b"d", b"%d" % later)])
        close_segment(log)
        compact(log, later)
        assert [record.key for record in records_of(log)] == keys


def test_a_wrong_date_removes_no_tombstone(tmp_path: Path) -> None:
    """They are marked by the date and removed by a clock that does not jump: if one of them is wrong, they stay longer."""
    log = make_log(tmp_path)
    append(log, [(b"a", None)])
    close_segment(log)
    compact(log, NOW)
    for now_ms, retention_now_ms, keys in (
        (NOW + 3650 * DAY_MS, NOW + DAY_MS - 1, [b"a", b"d"]),
        (NOW + DAY_MS, NOW + DAY_MS, [b"d"]),
    ):
        append(log, [(b"d", b"%d" % now_ms)])
        close_segment(log)
        plan = plan_compaction(log, now_ms, retention_now_ms)
        assert plan is not None
        for work in Compaction(log, plan, MIB, PATIENT).steps():
            work()
        assert [record.key for record in records_of(log)] == keys


def test_a_tombstone_does_not_go_before_what_it_deletes(tmp_path: Path) -> None:
    """A value in an old segment and an expired tombstone in a later one: after any number of steps a reader that sees
    the value sees the tombstone too.
    """
    log = make_log(tmp_path, segment_bytes=100)
    append(log, [(b"a", b"x" * 50)])
    close_segment(log)
    append(log, [(b"a", None)])
    close_segment(log)
    log.compacted_offset = 0
    plan = plan_compaction(log, NOW, NOW)
    assert plan is not None
    for work in Compaction(log, plan, MIB, PATIENT).steps():
        work()
        values = {record.key: record.value for record in records_of(log)}
        assert values.get(b"a") is None


@pytest.mark.parametrize("is_clean", [True, False], ids=["clean", "dirty"])
@pytest.mark.parametrize("is_control", [True, False], ids=["control", "too large"])
def test_a_tombstone_stays_behind_what_cannot_be_read(tmp_path: Path, is_control: bool, is_clean: bool) -> None:
    """A batch beyond the limit is kept as it is: the value it may hold of a deleted key must not come back."""
    log = make_log(tmp_path, max_decompressed_bytes=100)
    append(log, [(b"a", b"x" * 200)], codec=Codec.ZSTD, is_control=is_control)
    append(log, [(b"a", None)])
    for now_ms in (NOW, NOW + DAY_MS):
        append(log, [(b"d", b"%d" % now_ms)])
        close_segment(log)
        if not is_clean:
            log.compacted_offset = 0  # as after a restart without a checkpoint
        compact(log, now_ms)
    assert (None in [record.value for record in records_of(log)]) == (not is_control)


def test_keyless_records_go(tmp_path: Path) -> None:
    """They can be there if the topic was not compacted when they came; Kafka drops them too."""
    log = make_log(tmp_path)
    append(log, [(None, b"1"), (b"a", b"2"), (None, b"3")])
    close_segment(log)
    compact(log)
    assert [record.value for record in records_of(log)] == [b"2"]


def test_producers_are_remembered(tmp_path: Path) -> None:
    """The last five batches of each producer keep at least their headers: duplicates are known after a rebuild."""
    log = make_log(tmp_path)
    headers = [append(log, [(b"k", b"%d" % n)], producer=(7, 1, n)) for n in range(8)]
    close_segment(log)
    compact(log)
    assert [(header.base_sequence, header.record_count) for header, _ in batches_of(log)] == [
        (3, 0),
        (4, 0),
        (5, 0),
        (6, 0),
        (7, 1),
    ]
    again = reopened(log)
    for header in headers[3:]:
        duplicate = again.producer_state.check(header, NOW)
        assert duplicate is not None
        assert (duplicate.base_offset, duplicate.last_offset) == (header.base_offset, header.last_offset)


def test_a_forgotten_producer_leaves_nothing(tmp_path: Path) -> None:
    """Once a producer has expired its empty batches go with the next compaction."""
    log = make_log(tmp_path)
    for number in range(3):
        append(log, [(b"k", b"1")], producer=(7, 1, number))
    append(log, [(b"k", b"2")])
    close_segment(log)
    compact(log)
    assert len(batches_of(log)) == 4
    log.producer_state.expire(NOW + 10 * DAY_MS, DAY_MS)
    append(log, [(b"l", b"1")])
    close_segment(log)
    compact(log)
    assert [header.base_offset for header, _ in batches_of(log)] == [3, 4]


def test_small_segments_are_merged(tmp_path: Path) -> None:
    """Up to segment.bytes, in their order."""
    log = make_log(tmp_path)
    for number in range(10):
        append(log, [(b"key-%d" % number, b"v" * 100)])
        close_segment(log)
    assert len(log.segments) == 11
    log.settings = attrs.evolve(log.settings, segment_bytes=600)
    compact(log)
    assert len(log.segments) == 4 + 1
    assert all(segment.size_bytes <= 600 for segment in log.segments)
    assert [record.offset for record in records_of(log)] == list(range(10))


def test_a_segment_is_never_left_without_a_batch(tmp_path: Path) -> None:
    """If all records of a group go an empty batch marks its end, and reading goes on behind it."""
    log = make_log(tmp_path, segment_bytes=100)
    append(log, [(b"a", b"1")])
    close_segment(log)
    append(log, [(b"a", b"2" * 50)])
    close_segment(log)
    compact(log)
    assert [(header.base_offset, header.record_count) for header, _ in batches_of(log)] == [(0, 0), (1, 1)]
    assert [record.offset for record in records_of(reopened(log))] == [1]


def test_what_is_never_compacted(tmp_path: Path) -> None:
    """A topic without the policy; the active segment; what no checkpoint calls durable; a log with nothing new."""
    log = make_log(tmp_path)
    append(log, [(b"a", b"1"), (b"a", b"2")])
    log.flush()
    assert plan_compaction(log, NOW, NOW) is None
    log.roll(NOW)
    assert plan_compaction(log, NOW, NOW) is None
    log.flush()
    assert plan_compaction(log, NOW, NOW) is None
    save_checkpoint(log)
    log.settings = attrs.evolve(SETTINGS, cleanup_policy=frozenset({"delete"}))
    assert plan_compaction(log, NOW, NOW) is None
    log.settings = SETTINGS
    assert compact(log) is not None
    assert plan_compaction(log, NOW, NOW) is None


def test_min_cleanable_dirty_ratio(tmp_path: Path) -> None:
    """The share of bytes that were never compacted decides."""
    log = make_log(tmp_path)
    append(log, [(b"a", b"x" * 1000)])
    close_segment(log)
    compact(log)
    append(log, [(b"b", b"x" * 400)])
    close_segment(log)
    log.settings = attrs.evolve(SETTINGS, min_cleanable_dirty_ratio=0.5)
    assert plan_compaction(log, NOW, NOW) is None
    append(log, [(b"c", b"x" * 700)])
    close_segment(log)
    assert plan_compaction(log, NOW, NOW) is not None


def test_min_compaction_lag(tmp_path: Path) -> None:
    """From the first segment with a younger record on nothing is touched."""
    log = make_log(tmp_path, min_compaction_lag_ms=1000)
    append(log, [(b"a", b"1"), (b"a", b"2")], timestamp_ms=NOW - 2000)
    close_segment(log)
    append(log, [(b"a", b"3")], timestamp_ms=NOW - 500)
    close_segment(log)
    compact(log)
    assert [record.value for record in records_of(log)] == [b"2", b"3"]
    assert compact(log) is None
    assert plan_compaction(log, NOW + 3650 * DAY_MS, NOW) is None, "a wrong date has taken young records for old"
    compact(log, NOW + 500)
    assert [record.value for record in records_of(log)] == [b"3"]


def test_max_compaction_lag(tmp_path: Path) -> None:
    """An old record makes the log due whatever the ratio, and closes the active segment first."""
    log = make_log(tmp_path, min_cleanable_dirty_ratio=1.0, max_compaction_lag_ms=1000)
    append(log, [(b"z", b"x" * 500)])
    close_segment(log)
    compact(log)
    append(log, [(b"a", b"1"), (b"a", b"2")], timestamp_ms=NOW)
    assert not roll_if_overdue(log, NOW + 999)
    assert roll_if_overdue(log, NOW + 1000)
    log.flush()
    assert plan_compaction(log, NOW + 1000, NOW + 1000) is None
    save_checkpoint(log)
    assert plan_compaction(log, NOW + 999, NOW + 999) is None
    compact(log, NOW + 1000)
    assert [record.value for record in records_of(log)][1:] == [b"2"]


def test_readers_in_flight_keep_their_segment(tmp_path: Path) -> None:
    """A slice taken before the swap reads what it would have read; one taken after reads the new file."""
    log = make_log(tmp_path)
    for number in range(5):
        append(log, [(b"a", b"%d" % number)])
    close_segment(log)
    end = log.durable_end_offset
    old = log.read(0, MIB, end)
    assert old is not None
    expected = old.read()
    compact(log)
    assert old.read() == expected
    new = log.read(0, MIB, end)
    assert new is not None
    assert new.checked
    assert [record.value for record in read_records(new.read(), max_bytes=MIB)] == [b"4"]


def test_reading_between_the_steps(tmp_path: Path) -> None:
    """At no step of the swap does a reader miss anything, or appending stop, whatever maintenance does meanwhile."""
    log = make_log(tmp_path, segment_bytes=300)
    for number in range(40):
        append(log, [(b"k%d" % (number % 7), b"%d" % number)])
    close_segment(log)
    before = {record.key: record.value for record in records_of(log)}
    plan = plan_compaction(log, NOW, NOW)
    assert plan is not None
    for step, work in enumerate(Compaction(log, plan, MIB, PATIENT).steps()):
        work()
        append(log, [(b"new-%d" % step, b"")])
        log.flush()
        for _ in range(2):  # maintenance lets go of the descriptors of segments in which nobody looks anything up
            log.release_idle()
        seen = {record.key: record.value for record in records_of(log) if not record.key.startswith(b"new")}  # type: ignore[union-attr]
        assert seen == before


@pytest.mark.parametrize("done", range(6))
def test_segments_deleted_meanwhile(tmp_path: Path, done: int) -> None:
    """Retention may be faster than a compaction, at any step; then neither a file nor a record comes back."""
    log = make_log(tmp_path)
    append(log, [(b"a", b"1"), (b"a", b"2")])
    close_segment(log)
    append(log, [(b"b", b"1")])
    log.flush()
    plan = plan_compaction(log, NOW, NOW)
    assert plan is not None
    with suppress(CompactionCancelled, MissingFile):
        for number, work in enumerate(Compaction(log, plan, MIB, PATIENT).steps()):
            if number == done:
                log.advance_log_start(2)
                checkpoint = save_checkpoint(log)
            work()
    if done == 5:
        log.advance_log_start(2)
        checkpoint = save_checkpoint(log)
    assert not [name for name in log.fs.list_sizes(log.directory) if name.endswith((CLEANED, SWAP))]
    assert [record.key for record in records_of(log)] == [b"b"]
    log.close()
    again, _ = Log.open(log.fs, log.directory, log.settings, checkpoint, NOW)
    assert [record.key for record in records_of(again)] == [b"b"]
    assert {base_offset_of(name) for name in log.fs.list_sizes(log.directory)} == {None, 2}


@pytest.mark.parametrize("done", range(5))
def test_a_topic_deleted_meanwhile(tmp_path: Path, done: int) -> None:
    """A namesake created at once is not touched by the compaction of the one that was deleted."""
    log = make_log(tmp_path)
    append(log, [(b"a", b"1"), (b"a", b"2")])
    close_segment(log)
    plan = plan_compaction(log, NOW, NOW)
    assert plan is not None
    namesake = log
    with suppress(CompactionCancelled, MissingFile):
        for number, work in enumerate(Compaction(log, plan, MIB, PATIENT).steps()):
            if number == done:
                hide(log)
                namesake = make_log(tmp_path)
                append(namesake, [(b"z", b"1"), (b"z", b"2")])
                close_segment(namesake)
            work()
    assert namesake is not log
    again = reopened(namesake)
    assert [record.value for record in records_of(again)] == [b"1", b"2"]


def test_cancelling(tmp_path: Path) -> None:
    """A broker that stops does not wait for a compaction; nothing is left behind."""
    log = make_log(tmp_path)
    append(log, [(b"a", b"1"), (b"a", b"2")])
    close_segment(log)
    plan = plan_compaction(log, NOW, NOW)
    assert plan is not None
    compaction = Compaction(log, plan, MIB, Pace(rest_s=0))
    steps = compaction.steps()
    next(steps)()
    write = next(steps)
    compaction.cancel()
    with pytest.raises(CompactionCancelled):
        write()
    assert not [name for name in log.fs.list_sizes(log.directory) if name.endswith((CLEANED, SWAP))]
    assert len(records_of(log)) == 2


def test_damage_stops_it(tmp_path: Path) -> None:
    """A flipped bit is found before anything is written, and nothing is removed."""
    log = make_log(tmp_path)
    append(log, [(b"a", b"1"), (b"a", b"2")])
    close_segment(log)
    file = log.fs.open(log.segments[0].log_path)
    file.pwrite(b"\xff", 70)
    plan = plan_compaction(log, NOW, NOW)
    assert plan is not None
    build_index = next(Compaction(log, plan, MIB, PATIENT).steps())
    with pytest.raises(CorruptLog):
        build_index()
    assert len(log.segments) == 2


def rotting_log() -> tuple[Log, Generator[Work]]:
    """A log of two segments, and the steps of a compaction that drops the first record and merges them."""
    log = make_log(Path("/"), SimulatedDisk(), index_interval_bytes=0)
    for key in (0, 0, 1, 2, 3, 4):
        append(log, [(b"%d" % key, b"x" * 100)])
        if key == 2:
            close_segment(log)
    close_segment(log)
    forget_checks(log)
    plan = plan_compaction(log, NOW, NOW)
    assert plan is not None
    return log, Compaction(log, plan, MIB, PATIENT).steps()


def find_damage(log: Log) -> None:
    """In the second record and in the last, by reading."""
    for segment, position in ((log.segments[0], 300), (log.segments[1], 300)):
        log.fs.open(segment.log_path).pwrite(b"\xff", position)
    assert [record.offset for record in records_of(log)] == [0, 2, 3, 4]
    assert [damage.start_offset for damage in log.damaged] == [1, 5]


def assert_whole(log: Log) -> None:
    assert log.damaged == []
    assert [record.offset for record in records_of(log)] == [1, 2, 3, 4, 5]
    for offset in range(1, 6):
        found = log.read(offset, MIB, log.log_end_offset)
        assert found is not None
        assert found.base_offset == offset


@pytest.mark.parametrize("found_after", [2, 3, 4])
def test_damage_found_in_what_compaction_has_read(found_after: int) -> None:
    """It goes with the old files: all of the new one is read, after a restart too, whatever was checkpointed meanwhile."""
    log, steps = rotting_log()
    for number, work in enumerate(steps, 1):
        work()
        if number == found_after:
            find_damage(log)
            state = save_checkpoint(log)
    assert_whole(log)
    assert isinstance(log.fs, SimulatedDisk)
    assert_whole(Log.open(log.fs.restarted(), log.directory, log.settings, state, NOW)[0])


def test_damage_in_a_file_that_was_replaced() -> None:
    """Whoever reads batch by batch goes on in the new file, and the damage is not taken for one of that."""
    log = make_log(Path("/"), SimulatedDisk(), segment_bytes=4 * CHUNK_BYTES)
    for key in (0, 0, 1, 2, 3):
        append(log, [(b"%d" % key, b"x" * (CHUNK_BYTES // 2))])
    close_segment(log)
    file = log.fs.open(log.segments[0].log_path)
    batches = log.read_batches(0, log.log_end_offset)
    next(batches)
    compact(log)
    file.pwrite(b"\xff", file.size() - 1)
    assert [header.base_offset for header, _ in batches] == [1, 2, 3, 4]
    assert log.damaged == []


def test_damage_found_before_a_restart_completes_the_swap() -> None:
    """Of a compaction that could not go on, and whose checkpoint knows the damage: it goes with the old files too."""
    log, steps = rotting_log()
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    for work in islice(steps, 3):
        work()
    next(steps)  # the sync that fails
    steps.close()
    find_damage(log)
    state = save_checkpoint(log)
    assert state.damaged
    assert_whole(Log.open(disk.restarted(), log.directory, log.settings, state, NOW)[0])


def test_damage_found_before_compaction_has_read_it() -> None:
    """The compaction fails, and then the damage is in the checkpoint."""
    log, steps = rotting_log()
    next(steps)()
    find_damage(log)
    assert not save_checkpoint(log).damaged
    with pytest.raises(CorruptLog):
        next(steps)()
    steps.close()
    found = log.begin_checkpoint()
    assert found is not None
    assert list(found.damaged) == log.damaged


@pytest.mark.parametrize("suffix", [LOG, INDEX, TIME_INDEX])
def test_a_swap_that_fails_half_way_waits_for_a_restart(suffix: str) -> None:
    """The name is still that of the old file: the next compaction must not read that as if it were the new one."""
    disk = SimulatedDisk()
    log = make_log(Path("/"), disk)
    for number in range(9):
        append(log, [(b"%d" % (number % 3), b"%d" % number)])
    close_segment(log)
    disk.open(log.segments[0].paths[1], create=True)
    disk.open(log.segments[0].paths[2], create=True)

    def fail_once(action: str, path: str) -> None:
        if action == "unlink" and path.endswith(suffix):
            disk.failures = {disk.steps - 1: errno.EIO}

    disk.on_step = fail_once
    with pytest.raises(StorageError):
        compact(log)
    disk.on_step = None
    expected = records_of(log)
    assert [record.value for record in expected] == [b"6", b"7", b"8"]
    append(log, [(b"3", b"9")])
    close_segment(log)
    compact(log)
    assert records_of(log)[:3] == expected
    state = save_checkpoint(log)
    again, _ = Log.open(disk.restarted(), log.directory, log.settings, state, NOW)
    assert records_of(again)[:3] == expected
    assert again.damaged == []


@pytest.mark.parametrize("is_known", [True, False], ids=["checkpoint before", "no checkpoint"])
def test_gaps_are_explained_when_compaction_was_switched_off(is_known: bool) -> None:
    """Not today's policy says whether offsets may be missing, but whether the log was ever compacted."""
    disk = SimulatedDisk()
    log = make_log(Path("/"), disk, segment_bytes=300)
    for number in range(30):
        append(log, [(b"%d" % (number % 3), b"%02d" % number * 20)])
    close_segment(log)
    state = save_checkpoint(log)
    log.settings = attrs.evolve(log.settings, segment_bytes=MIB)  # so that neighbours are merged
    compact(log)
    expected = records_of(log)
    plain = attrs.evolve(log.settings, cleanup_policy=frozenset({"delete"}))
    again, _ = Log.open(disk.restarted(), log.directory, plain, state if is_known else None, NOW)
    assert records_of(again) == expected
    assert again.damaged == []


def test_a_log_that_was_never_compacted_explains_no_gap() -> None:
    """A missing segment of a log that is kept whole is damage."""
    disk = SimulatedDisk()
    log = make_log(Path("/"), disk, segment_bytes=300, cleanup_policy=frozenset({"delete"}))
    for number in range(30):
        append(log, [(b"k", b"%02d" % number * 20)])
    close_segment(log)
    disk.unlink(log.segments[1].log_path)
    again, _ = Log.open(disk.restarted(), log.directory, log.settings, None, NOW)
    assert [damage.start_offset for damage in again.damaged] == [log.segments[1].base_offset]
