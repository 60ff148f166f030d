"""What goes from the beginning of a log, when, and that files go only after the checkpoint says so."""

from typing import Any

import pytest

from minibroker.protocol.errors import OffsetOutOfRange
from minibroker.storage.files import LOG
from minibroker.storage.log import Log
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


def test_a_start_bears_files_that_cannot_be_removed() -> None:
    """They stay without a hole between them, and the next start tries again."""
    log = with_segments(4)
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    log.advance_log_start(3)
    state = log.begin_checkpoint()
    disk.failing_calls = {disk.calls: "unlink"}
    for there in (4, 1):
        again, _ = Log.open(disk, PATH, log.settings, state, NOW)
        assert (bases(again), again.log_start_offset, again.log_end_offset) == ([3], 3, 4)
        assert len(files(again)) == there


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


def test_a_segment_without_a_byte_does_not_end_retention() -> None:
    """Its file was lost: it goes with the next that holds something, and not before."""
    log = with_segments(3, retention_ms=DAY_MS)
    state = log.begin_checkpoint()
    assert state is not None
    log.fs.unlink(log.segments[0].log_path)
    again, _ = Log.open(log.fs, PATH, log.settings, state, NOW)
    assert again.segments[0].size_bytes == 0
    assert again.delete_old_segments(NOW + DAY_MS + 3_600_000) == []
    assert len(again.delete_old_segments(NOW + DAY_MS + 3_600_001)) == 1
    assert bases(again) == [2]


def test_records_without_a_time_are_as_old_as_their_segment() -> None:
    """The file system's date was 30 days behind when they came: they are judged by what the broker has noted."""
    disk = SimulatedDisk(now_ms=NOW - 30 * DAY_MS)
    log = make_log(disk, retention_ms=DAY_MS)
    append(log, timestamps=[-1])
    log.flush()
    assert log.delete_old_segments(NOW + DAY_MS) == []
    assert len(log.delete_old_segments(NOW + DAY_MS + 1)) == 1
