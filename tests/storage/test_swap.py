"""A compaction killed after any operation on the disk: nothing is lost, and a restart brings everything in order."""

from pathlib import Path
from typing import Any

import attrs
import pytest

from minibroker.records.record import Record
from minibroker.storage.files import CLEANED, SWAP
from minibroker.storage.filesystem import OsFileSystem
from minibroker.storage.log import Log
from minibroker.storage.log_checkpoint import LogCheckpoint
from minibroker.storage.swap import recover_compaction
from tests.storage.compacting import NOW, append, close_segment, compact, make_log, records_of, save_checkpoint

CHANGES = {"open", "rename", "unlink", "mkdir", "rmdir", "sync_directory"}
FILE_CHANGES = {"pwrite", "truncate", "sync_data"}


class Killed(BaseException):
    """The process is gone: whatever comes after does not happen."""


@attrs.define(eq=False)
class KillableFile:
    """A file whose process may be killed."""

    file: Any
    fs: "KillableFileSystem"

    def __getattr__(self, name: str) -> Any:
        if name in FILE_CHANGES:
            self.fs.count()
        return getattr(self.file, name)


@attrs.define(eq=False)
class KillableFileSystem:
    """The real one, until `allowed` changes have been made."""

    allowed: int
    real: OsFileSystem = attrs.field(factory=OsFileSystem)
    is_dead: bool = False

    def count(self) -> None:
        if self.is_dead or self.allowed == 0:
            self.is_dead = True
            raise Killed
        self.allowed -= 1

    def open(self, path: str, *, create: bool = False) -> KillableFile:
        if create:
            self.count()
        return KillableFile(self.real.open(path, create=create), self)

    def open_shared(self, path: str) -> KillableFile:
        return KillableFile(self.real.open_shared(path), self)

    def __getattr__(self, name: str) -> Any:
        if name in CHANGES:
            self.count()
        return getattr(self.real, name)


def prepare(directory: Path) -> tuple[Log, LogCheckpoint, list[Record]]:
    """A log of several segments that compaction turns into two, and what it holds."""
    log = make_log(directory, segment_bytes=400)
    for number in range(30):
        append(log, [(b"k%d" % (number % 4), b"%d" % number * 10), (b"u%d" % number, b"")])
    append(log, [(b"k0", None)])
    close_segment(log)
    append(log, [(b"tail", b"1")])
    log.flush()
    return log, save_checkpoint(log), records_of(log)


def last_of(records: list[Record]) -> dict[bytes | None, Record]:
    return {record.key: record for record in records}


@pytest.mark.parametrize("with_checkpoint", [True, False])
def test_killed_after_any_change(tmp_path: Path, *, with_checkpoint: bool) -> None:
    """The last record of each key is there, at its offset, and no record that was not; a second start finds nothing to
    do; and the compaction, done again, comes to the same end.
    """
    (tmp_path / "reference").mkdir()
    reference, _, _ = prepare(tmp_path / "reference")
    compact(reference)
    expected = records_of(reference)
    allowed, survived = 0, False
    while not survived:
        (tmp_path / str(allowed)).mkdir()
        log, checkpoint, before = prepare(tmp_path / str(allowed))
        assert last_of(before) == last_of(expected)
        log.close()
        killable = KillableFileSystem(10**9)
        log, _ = Log.open(killable, log.directory, log.settings, checkpoint, NOW)  # type: ignore[arg-type]
        killable.allowed = allowed
        try:
            compact(log)
            survived = True
        except Killed:
            pass
        again, _ = Log.open(OsFileSystem(), log.directory, log.settings, checkpoint if with_checkpoint else None, NOW)
        assert not again.damaged
        again.flush()
        assert last_of(records_of(again)) == last_of(before)
        assert {record.offset for record in records_of(again)} <= {record.offset for record in before}
        assert not [name for name in again.fs.list_sizes(log.directory) if name.endswith((CLEANED, SWAP))]
        assert recover_compaction(again.fs, log.directory) == []
        save_checkpoint(again)
        again.compacted_offset = 0
        compact(again)
        assert records_of(again) == expected
        again.close()
        allowed += 1
    assert allowed > 20


def test_killed_during_the_recovery_too(tmp_path: Path) -> None:
    """A restart that is killed leaves what the next one completes."""
    allowed, survived = 0, False
    while not survived:
        (tmp_path / str(allowed)).mkdir()
        log, checkpoint, before = prepare(tmp_path / str(allowed))
        log.close()
        killable = KillableFileSystem(10**9)
        log, _ = Log.open(killable, log.directory, log.settings, checkpoint, NOW)  # type: ignore[arg-type]
        killable.real = StopAtSwap()
        with pytest.raises(Killed):
            compact(log)
        recovering = KillableFileSystem(allowed)
        try:
            recover_compaction(recovering, log.directory)  # type: ignore[arg-type]
            survived = True
        except Killed:
            pass
        again, _ = Log.open(OsFileSystem(), log.directory, log.settings, checkpoint, NOW)
        assert not again.damaged
        assert last_of(records_of(again)) == last_of(before)
        again.close()
        allowed += 1
    assert allowed > 5


class StopAtSwap(OsFileSystem):
    """Dies where the old segments should be removed."""

    def unlink(self, path: str) -> None:
        raise Killed
