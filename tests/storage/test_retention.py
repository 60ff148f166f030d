"""What goes from the beginning of a log, when, and that files go only after the checkpoint says so."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.protocol.errors import OffsetOutOfRange
from minibroker.storage.files import LOG
from minibroker.storage.log import Log
from minibroker.storage.retention import RetentionClock
from tests.simulation.disk import SimulatedDisk
from tests.storage.logs import NOW, PATH, append, checkpoint, make_log

DAY_MS = 86_400_000


def with_segments(count: int, **settings: Any) -> Log:
    """Segments of one batch of 179 bytes each, an hour apart."""
    log = make_log(segment_bytes=150, **settings)
    for number in range(count):
        append(log, size=100, timestamps=[NOW + number * 3_600_000])
    log.flush()
    assert len(log.segments) == count
    return log


def files(log: Log) -> list[str]:
    return sorted(name for name in log.fs.list_sizes(PATH) if name.endswith(LOG))


def bases(log: Log) -> list[int]:
    return [segment.base_offset for segment in log.segments]


@pytest.mark.parametrize(
    ("settings", "after_ms", "start"),
    [
        ({"retention_ms": 3_600_000}, 3_600_000, 0),
        ({"retention_ms": 3_600_000}, 3_600_001, 1),
        ({"retention_ms": 3_600_000}, 3 * 3_600_000, 2),
        ({"retention_ms": -1}, 1000 * DAY_MS, 0),
        ({"retention_ms": 3_600_000, "cleanup_policy": frozenset({"compact"})}, 1000 * DAY_MS, 0),
        ({"retention_ms": 3_600_000, "cleanup_policy": frozenset({"compact", "delete"})}, 3_600_001, 1),
        ({"retention_ms": -1, "retention_bytes": 4 * 170}, 0, 0),
        ({"retention_ms": -1, "retention_bytes": 3 * 170}, 0, 1),
        ({"retention_ms": -1, "retention_bytes": 3 * 170 + 1}, 0, 0),
        ({"retention_ms": -1, "retention_bytes": 0}, 0, 4),
    ],
)
def test_when_segments_go(settings: dict[str, object], after_ms: int, start: int) -> None:
    """By the age of the newest record, and by size as long as enough stays."""
    log = with_segments(4, **settings)
    assert log.size_bytes == 4 * 170
    reasons = log.delete_old_segments(NOW + after_ms)
    assert log.log_start_offset == start
    assert len(reasons) == start
    assert all(reason.startswith("t-0: segment ") for reason in reasons)


def test_the_active_segment_goes_too() -> None:
    """If all its records are too old; a new and empty one takes its place, and offsets go on."""
    log = with_segments(1, retention_ms=1000)
    log.delete_old_segments(NOW + 1001)
    assert (log.log_start_offset, log.log_end_offset, bases(log)) == (1, 1, [1])
    log.flush()
    assert log.delete_old_segments(NOW + 10 * DAY_MS) == []
    append(log)
    assert log.log_end_offset == 2


def test_what_is_not_durable_stays() -> None:
    """It was not even acknowledged."""
    log = make_log(segment_bytes=150, retention_ms=1000)
    for _ in range(3):
        append(log, size=100)
    assert log.delete_old_segments(NOW + DAY_MS) == []


def test_records_without_timestamps_have_the_age_of_their_file() -> None:
    """As in Kafka."""
    log = make_log(retention_ms=1000)
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    append(log, timestamps=[-1])
    log.flush()
    disk.now_ms = NOW
    assert log.delete_old_segments(NOW + 1000) == []
    assert len(log.delete_old_segments(NOW + 1001)) == 1


def test_delete_records() -> None:
    """Moves the log start into a segment, which stays until all of it is below; never beyond the durable end."""
    log = make_log(segment_bytes=300)
    for _ in range(6):
        append(log, 10, size=0)
    log.flush()
    assert bases(log) == [0, 20, 40]
    log.advance_log_start(25)
    assert (log.log_start_offset, bases(log)) == (25, [20, 40])
    log.advance_log_start(10)
    assert log.log_start_offset == 25
    append(log)
    with pytest.raises(OffsetOutOfRange):
        log.advance_log_start(61)
    log.advance_log_start(60)
    assert bases(log) == [60]


def test_files_go_after_the_checkpoint() -> None:
    """Until then a restart with the old checkpoint still finds them."""
    log = with_segments(4)
    before = files(log)
    log.advance_log_start(2)
    assert files(log) == before
    state = log.begin_checkpoint()
    assert state is not None
    assert files(log) == before
    log.complete_checkpoint(state)
    assert files(log) == before[2:]
    assert log.removed == []


def test_files_below_a_stale_durable_end_stay() -> None:
    """A busy log is described at an earlier end, whose segment a restart needs, though it lies below the log start."""
    log = with_segments(2)
    checkpoint(log)
    append(log, size=100)
    append(log, size=100)
    log.flush()
    log.advance_log_start(3)
    append(log, size=100)
    state = log.begin_checkpoint()
    assert state is not None
    assert state.durable.offset == 2
    log.complete_checkpoint(state)
    assert [int(name.removesuffix(LOG)) for name in files(log)] == [1, 2, 3, 4]
    again, _ = Log.open(log.fs, PATH, log.settings, state, NOW)
    assert (again.log_start_offset, again.log_end_offset) == (3, 5)
    checkpoint(again)
    checkpoint(again)
    assert [int(name.removesuffix(LOG)) for name in files(again)] == [3, 4]


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 10 * DAY_MS), st.integers(-3650 * DAY_MS, 3650 * DAY_MS)), min_size=1, max_size=30
    )
)
def test_the_retention_clock(steps: list[tuple[int, int]]) -> None:
    """Never ahead of the wall clock; however that jumps, new dates come at most at twice the speed of time."""
    wall, monotonic, offset = NOW, 0.0, 0
    clock = RetentionClock(wall, monotonic)
    latest = wall
    for elapsed_ms, jump_ms in steps:
        offset += jump_ms
        monotonic += elapsed_ms / 1000
        wall = NOW + int(monotonic * 1000) + offset
        now = clock.now_ms(wall, monotonic)
        assert now <= wall
        assert now - latest <= 2 * elapsed_ms + 1
        latest = max(latest, now)


@given(
    away_ms=st.integers(0, 3650 * DAY_MS),
    looks=st.lists(st.integers(1, 2 * 3_600_000), min_size=1, max_size=50),
)
def test_the_time_between_two_lives_is_doubted_first(away_ms: int, looks: list[int]) -> None:
    """For an hour, or a hundredth of it, the date goes on from where the last life was; then it is the wall clock's."""
    start = NOW + away_ms
    clock = RetentionClock.after(NOW, start, 0.0)
    doubted_s = max(3600.0, away_ms / 100_000)
    monotonic_ms = 0
    for elapsed_ms in looks:
        monotonic_ms += elapsed_ms
        now = clock.now_ms(start + monotonic_ms, monotonic_ms / 1000)
        assert abs(now - (monotonic_ms + (start if monotonic_ms / 1000 >= doubted_s else NOW))) <= len(looks)


def test_a_wrong_date_at_a_restart_deletes_nothing() -> None:
    """It is ten years ahead for a day until somebody sets it right; from then on an hour is doubted for an hour."""
    log = with_segments(3, retention_ms=2 * DAY_MS)
    newest, wrong_by = NOW + 2 * 3_600_000, 3650 * DAY_MS
    clock = RetentionClock.after(newest, newest + 3_600_000 + wrong_by, 0.0)
    for hour in range(24):
        wall = newest + 3_600_000 * (hour + 1) + wrong_by
        assert log.delete_old_segments(clock.now_ms(wall, hour * 3600.0)) == []
    wall = newest + 25 * 3_600_000
    clock.now_ms(wall, 24 * 3600.0)
    assert clock.now_ms(wall, 24 * 3600.0) == wall


def test_a_date_in_the_past_at_a_restart_is_forgiven() -> None:
    """A machine without a battery starts in 1970 until it hears the time: nothing is deleted, nothing held for decades."""
    clock = RetentionClock.after(NOW, 0, 0.0)
    assert clock.now_ms(60_000, 60.0) == 60_000
    assert clock.now_ms(NOW + 120_000, 120.0) == NOW + 120_000


def test_the_retention_clock_is_the_wall_clock_otherwise() -> None:
    """A clock that does not jump is followed exactly, and so is one that was slowed or hastened a little."""
    clock = RetentionClock(NOW, 0.0)
    for second in range(1, 100):
        assert clock.now_ms(NOW + second * 1010, float(second)) == NOW + second * 1010


def test_a_step_of_the_wall_clock_deletes_nothing() -> None:
    """Ten years ahead, a week's retention holds a week."""
    log = with_segments(3, retention_ms=7 * DAY_MS)
    clock = RetentionClock(NOW, 0.0)
    for hour in range(24 * 3):
        assert log.delete_old_segments(clock.now_ms(NOW + 3650 * DAY_MS, hour * 3600.0)) == []
