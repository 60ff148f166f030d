"""A write or a sync fails, whichever it is: nothing acknowledged is lost, and what goes on is right.

A short script of appends, rolls, flushes, checkpoints and retention runs again and again, each time with another of its
calls failing; after it comes a restart, with and without a power cut.
"""

import errno

import pytest

from minibroker.storage.directory import DataDirectory
from minibroker.storage.errors import StorageError, SyncFailed
from minibroker.storage.log import Log
from minibroker.storage.settings import LogSettings
from tests.simulation.disk import SimulatedDisk, everything, only_synced
from tests.storage.logs import NOW, TOPIC_ID, append, contents

DATA = "/data"
PATH = f"{DATA}/t-0"
SETTINGS = LogSettings(segment_bytes=400, index_interval_bytes=100, retention_bytes=1000, retention_ms=-1)


class Script:
    """What is done, and what was promised."""

    def __init__(self) -> None:
        self.disk = SimulatedDisk()
        self.data = DataDirectory.open(self.disk, DATA, "id")
        self.log = Log.create(self.disk, PATH, SETTINGS, TOPIC_ID, NOW)
        self.first_step = self.disk.steps
        self.appended: dict[int, bytes] = {}
        self.refused = 0

    def run(self) -> None:
        """What fails is left at that, as a broker does; a failed sync ends it all."""
        for number in range(24):
            self.attempt(self.append_one)
            if number % 3 == 2:
                self.attempt(self.log.flush)
            if number % 8 == 7:
                self.attempt(lambda: self.data.checkpoint.save([self.log]))
                self.attempt(lambda: self.log.delete_old_segments(NOW))
            if number == 12:
                self.attempt(lambda: self.log.roll(NOW))
            if self.log.failure is not None:
                return

    def attempt(self, call: object) -> None:
        try:
            call()  # type: ignore[operator]
        except SyncFailed:
            self.refused += 1
            self.log.fail(SyncFailed("as the flusher does"))
        except StorageError:
            self.refused += 1

    def append_one(self) -> None:
        header = append(self.log, size=60)
        self.appended[header.base_offset] = contents(self.log, header.base_offset)[0][1]

    def check(self, disk: SimulatedDisk) -> None:
        """After a restart: a prefix of what was appended, with all that was promised and not deleted."""
        data = DataDirectory.open(disk, DATA, "id")
        if not disk.exists(PATH):
            assert self.log.durable_end_offset == 0
            return
        log, _ = Log.open(disk, PATH, SETTINGS, data.checkpoint.of("t-0"), NOW)
        log.flush()
        found = contents(log)
        assert not log.damaged
        offsets = [header.base_offset for header, _ in found]
        assert offsets == list(range(log.log_start_offset, log.log_end_offset))
        assert log.log_end_offset >= self.log.durable_end_offset
        assert all(self.appended[header.base_offset] == batch for header, batch in found)
        append(log)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_every_call_fails_once(number: int) -> None:
    """At each of the script's calls in turn."""
    step = 0
    refused = 0
    while True:
        script = Script()
        script.disk.failures = {script.first_step + step: number}
        script.run()
        if script.disk.steps <= script.first_step + step and script.log.failure is None:
            break
        refused += script.refused
        script.check(only_synced(script.disk))
        script.check(everything(script.disk))
        script.check(script.disk.restarted())
        step += 1
    assert step > 60
    assert refused > step / 2


def test_the_disk_is_full_and_then_is_not() -> None:
    """Appends are refused and taken back, reads go on, and appending resumes by itself."""
    script = Script()
    log, disk = script.log, script.disk
    for _ in range(5):
        append(log, size=60)
    log.flush()
    disk.free = 100
    before = contents(log)
    for _ in range(20):
        with pytest.raises(StorageError):
            append(log, size=60)
        log.flush()
        assert contents(log) == before
        disk.free = 100
    disk.free = None
    append(log, size=60)
    log.flush()
    assert [header.base_offset for header, _ in contents(log)] == list(range(6))
    script.data.checkpoint.save([log])
    script.appended = {header.base_offset: batch for header, batch in contents(log)}
    script.check(disk.restarted())


def test_a_log_that_is_torn_still_syncs_what_came_before() -> None:
    """A write fails and cannot be taken back: the log is offline, and those who wrote before are not lied to."""
    script = Script()
    log, disk = script.log, script.disk
    script.append_one()
    disk.failures = {disk.steps: errno.EIO, disk.steps + 1: errno.EIO}
    with pytest.raises(StorageError):
        append(log, size=60)
    assert log.failure is not None
    point = log.begin_flush()
    assert point is not None
    for file in point.files:
        file.sync_data()
    for directory in point.directories:
        disk.sync_directory(directory)
    log.complete_flush(point)
    reopened = only_synced(disk)
    script.check(reopened)
    found, _ = Log.open(reopened, PATH, SETTINGS, None, NOW)
    assert found.log_end_offset >= 1
