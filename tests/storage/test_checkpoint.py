"""The checkpoint file: what was written is read, and damage makes single logs doubtful, never wrong."""

import errno

import pytest

from minibroker.storage.checkpoint import LEAST_RESERVE_BYTES, CheckpointFile
from minibroker.storage.errors import StorageError
from minibroker.storage.files import CHECKPOINT, RESERVE
from minibroker.storage.integrity import Damage
from minibroker.storage.log import Log
from minibroker.storage.log_checkpoint import NEVER_CHECKPOINTED, LogCheckpoint
from tests.simulation.disk import SimulatedDisk
from tests.storage.logs import NOW, append, make_log

FILE = f"/{CHECKPOINT}"


def make_logs(disk: SimulatedDisk, count: int = 3) -> list[Log]:
    logs = [make_log(disk, f"/t-{index}", segment_bytes=300) for index in range(count)]
    for log in logs:
        for number in range(5):
            append(log, size=50, producer=(9, 0, number))
        log.flush()
    return logs


def saved(disk: SimulatedDisk, logs: list[Log]) -> CheckpointFile:
    file = CheckpointFile.load(disk, "", is_new=True)
    file.save(logs)
    return file


def test_round_trip() -> None:
    """Everything a log says of itself comes back."""
    disk = SimulatedDisk()
    (log,) = make_logs(disk, 1)
    log.damaged = [Damage(start_offset=1, end_offset=2, segment=0, position=3, end_position=4, reason="ünfug\n")]
    log.compacted_offset = 2
    log.settings = log.settings
    state = log.begin_checkpoint()
    assert state is not None
    decoded = LogCheckpoint.decode(state.encode())
    assert decoded.encode() == state.encode()
    assert decoded.damaged == state.damaged
    assert decoded.segments == state.segments
    assert len(decoded.segments) > 1
    assert decoded.durable == state.durable == log.durable


def test_the_reserve_is_larger_than_what_it_is_for() -> None:
    """Also when checkpoints grow, and in the next life."""
    disk = SimulatedDisk()
    logs = make_logs(disk, 150)
    file = saved(disk, logs[:1])
    assert disk.list_sizes("/")[RESERVE] == LEAST_RESERVE_BYTES
    file.save(logs[1:])
    assert disk.list_sizes("/")[RESERVE] > disk.list_sizes("/")[CHECKPOINT] > LEAST_RESERVE_BYTES
    disk.unlink(f"/{RESERVE}")
    file = CheckpointFile.load(disk, "")
    file.note_date(NOW)
    file.save(())
    assert disk.list_sizes("/")[RESERVE] > disk.list_sizes("/")[CHECKPOINT]


def test_the_file_knows_every_log() -> None:
    """By name; of a log it never heard of it says so."""
    disk = SimulatedDisk()
    logs = make_logs(disk)
    saved(disk, logs)
    file = CheckpointFile.load(disk, "")
    for log in logs:
        state = file.of(log.name)
        assert state is not None
        assert state.durable == log.durable
    assert file.of("new-0") is NEVER_CHECKPOINTED


def test_only_what_changed_is_made_anew() -> None:
    """And nothing is written if nothing did."""
    disk = SimulatedDisk()
    logs = make_logs(disk)
    file = saved(disk, logs)
    steps = disk.steps
    assert file.begin(logs) is None
    append(logs[1])
    logs[1].flush()
    pending = file.begin(logs)
    assert pending is not None
    assert [log for log, _ in pending.logs] == [logs[1]]
    assert disk.steps > steps


def test_a_busy_log_is_described_at_a_durable_end() -> None:
    """Never at its volatile end: that is captured in the flush round that makes it durable."""
    disk = SimulatedDisk()
    (log,) = make_logs(disk, 1)
    file = saved(disk, [log])
    append(log, producer=(9, 0, 5))
    file.save([log])
    state = file.of(log.name)
    assert state is not None
    assert (state.durable.offset, state.producers[0][3][-1][1]) == (5, 4)
    log.flush()
    append(log, producer=(9, 0, 6))
    file.save([log])
    state = file.of(log.name)
    assert state is not None
    assert (state.durable.offset, state.producers[0][3][-1][1]) == (6, 5)


def test_forgetting() -> None:
    """A deleted log is gone from the next write on."""
    disk = SimulatedDisk()
    logs = make_logs(disk)
    file = saved(disk, logs)
    file.forget(logs[0].name)
    file.save(logs[1:])
    assert CheckpointFile.load(disk, "").of(logs[0].name) is NEVER_CHECKPOINTED


def test_a_missing_file_is_doubt() -> None:
    """Unless the data directory is new."""
    disk = SimulatedDisk()
    assert CheckpointFile.load(disk, "").of("t-0") is None
    assert CheckpointFile.load(disk, "", is_new=True).of("t-0") is NEVER_CHECKPOINTED


def test_every_damaged_byte() -> None:
    """A log is known as it was, or doubtful; another one that is not there any more is doubtful too."""
    disk = SimulatedDisk()
    logs = make_logs(disk, 2)
    saved(disk, logs)
    good = {log.name: CheckpointFile.load(disk, "").of(log.name) for log in logs}
    content = disk.open(FILE).inode.content
    whole = bytes(content)
    for position in range(len(content)):
        content[position] ^= 0x10
        file = CheckpointFile.load(disk, "")
        states = [file.of(log.name) for log in logs]
        assert all(state in (None, good[log.name]) for state, log in zip(states, logs, strict=True))
        assert sum(state is None for state in states) <= (2 if whole[position] == 0x0A else 1)
        assert file.of("other-0") is None
        content[position] ^= 0x10


def test_every_truncation() -> None:
    """The same."""
    disk = SimulatedDisk()
    logs = make_logs(disk, 2)
    saved(disk, logs)
    whole = bytes(disk.open(FILE).inode.content)
    for size in range(len(whole)):
        disk.open(FILE).truncate(size)
        file = CheckpointFile.load(disk, "")
        assert file.of("other-0") is None
        assert file.of(logs[1].name) is None
        disk.open(FILE).pwrite(whole, 0)


def test_doubt_lasts_until_a_log_was_opened() -> None:
    """Writing the file for some logs does not make the others known."""
    disk = SimulatedDisk()
    logs = make_logs(disk)
    file = CheckpointFile.load(disk, "")
    file.doubt_unknown([log.name for log in logs])
    file.save(logs[:1])
    file = CheckpointFile.load(disk, "")
    assert file.of("new-0") is NEVER_CHECKPOINTED
    assert [file.of(log.name) is None for log in logs] == [False, True, True]


@pytest.mark.parametrize("step", range(6))
def test_a_failed_write_is_made_up_for(step: int) -> None:
    """The old file stays, and the next attempt includes what this one should have."""
    disk = SimulatedDisk()
    logs = make_logs(disk, 2)
    file = saved(disk, logs)
    append(logs[0])
    logs[0].flush()
    for log in logs:
        log.active.save_indexes()
    disk.failures = {disk.steps + step: errno.EIO}
    with pytest.raises(StorageError):
        file.save(logs)
    reread = CheckpointFile.load(disk, "").of(logs[0].name)
    assert reread is not None
    assert reread.durable.offset in (5, 6)
    file.save(logs)
    reread = CheckpointFile.load(disk, "").of(logs[0].name)
    assert reread is not None
    assert reread.durable.offset == 6


def test_a_file_that_cannot_be_removed_holds_up_no_other_log() -> None:
    """The files of the others go at once, and that one with the next checkpoint."""
    disk = SimulatedDisk()
    logs = make_logs(disk)
    file = saved(disk, logs)
    for log in logs:
        log.advance_log_start(5)
    disk.failing_calls = {disk.calls: "unlink"}
    file.save(logs)
    assert [bool(log.removed) for log in logs] == [True, False, False]
    file.save(logs)
    assert not logs[0].removed


def test_the_date_is_remembered() -> None:
    """Within a minute; one that is damaged is not known, and says nothing of the logs."""
    disk = SimulatedDisk()
    logs = make_logs(disk)
    file = saved(disk, logs)
    assert file.date_ms is None
    file.note_date(NOW)
    file.save(())
    file.note_date(NOW + 59_999)
    assert file.begin(()) is None
    again = CheckpointFile.load(disk, "")
    assert (again.date_ms, again.is_whole) == (NOW, True)
    content = disk.open(FILE).inode.content
    content[content.index(b" date ") + 7] ^= 1
    damaged = CheckpointFile.load(disk, "")
    assert damaged.date_ms is None
    assert all(damaged.of(log.name) is not None for log in logs)
