"""The data directory: one at a time, a known format, an orderly end or not."""

from pathlib import Path

import orjson
import pytest

from minibroker.storage.directory import FORMAT_VERSION, DataDirectory
from minibroker.storage.errors import DirectoryError, DirectoryInUse, DirectoryNotWritable, NewerFormat
from minibroker.storage.files import CHECKPOINT, CLEAN_SHUTDOWN, FORMAT
from minibroker.storage.filesystem import OsFileSystem
from minibroker.storage.log_checkpoint import NEVER_CHECKPOINTED
from tests.simulation.disk import PowerCut, SimulatedDisk, everything, only_synced
from tests.storage.logs import append, make_log

DATA = "/data"


def opened(disk: SimulatedDisk) -> DataDirectory:
    return DataDirectory.open(disk, DATA, "id of this attempt")


def test_a_new_directory() -> None:
    """Is made, and is as good as one that was stopped in order."""
    disk = SimulatedDisk()
    data = opened(disk)
    assert data.was_clean
    assert data.partitions() == []
    assert only_synced(disk).exists(f"{DATA}/{FORMAT}")


def test_the_cluster_id_is_kept() -> None:
    """The first one stays."""
    disk = SimulatedDisk()
    DataDirectory.open(disk, DATA, "first")
    assert DataDirectory.open(disk.restarted(), DATA, "second").cluster_id == "first"


def test_one_broker_at_a_time(tmp_path: Path) -> None:
    """The second is told, in one line that names the directory."""
    fs = OsFileSystem()
    first = DataDirectory.open(fs, f"{tmp_path}/data", "id")
    with pytest.raises(DirectoryInUse, match="data is in use") as raised:
        DataDirectory.open(OsFileSystem(), f"{tmp_path}/data", "id")
    assert "\n" not in str(raised.value)
    del first
    assert DataDirectory.open(fs, f"{tmp_path}/data", "id")


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """One line as well."""
    (tmp_path / "file").touch()
    with pytest.raises(DirectoryNotWritable) as raised:
        DataDirectory.open(OsFileSystem(), f"{tmp_path}/file/data", "id")
    assert "\n" not in str(raised.value)


def test_a_newer_format() -> None:
    """Is refused before anything is written."""
    disk = SimulatedDisk()
    opened(disk)
    content = orjson.dumps({"format_version": FORMAT_VERSION + 1, "cluster_id": "x", "more": []})
    disk.open(f"{DATA}/{FORMAT}").truncate(0)
    disk.open(f"{DATA}/{FORMAT}").pwrite(content, 0)
    with pytest.raises(NewerFormat, match="format 2"):
        opened(disk.restarted())
    assert disk.read(f"{DATA}/{FORMAT}") == content


def test_a_flipped_bit_is_no_newer_format() -> None:
    """Wherever it is: the file is made anew, with the cluster's id if that can still be told, and the broker starts."""
    disk = SimulatedDisk()
    opened(disk)
    whole = disk.read(f"{DATA}/{FORMAT}")
    for position in range(len(whole)):
        for bit in range(8):
            damaged = disk.restarted()
            damaged.open(f"{DATA}/{FORMAT}").inode.content[position] ^= 1 << bit
            assert opened(damaged).cluster_id


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format_version": "1"}', b'{"format_version": 1}'])
def test_a_damaged_format_file(content: bytes) -> None:
    """Is written again with a new cluster id: the logs are what counts."""
    disk = SimulatedDisk()
    opened(disk)
    disk.open(f"{DATA}/{FORMAT}").truncate(0)
    disk.open(f"{DATA}/{FORMAT}").pwrite(content, 0)
    assert DataDirectory.open(disk.restarted(), DATA, "new").cluster_id == "new"
    assert DataDirectory.open(disk.restarted(), DATA, "other").cluster_id == "new"


def test_an_orderly_end_is_seen_once() -> None:
    """The mark is gone, durably, before the next life may write."""
    disk = SimulatedDisk()
    opened(disk).mark_clean()
    assert only_synced(disk).exists(f"{DATA}/{CLEAN_SHUTDOWN}")
    disk = disk.restarted()
    assert opened(disk).was_clean
    assert not only_synced(disk).exists(f"{DATA}/{CLEAN_SHUTDOWN}")
    assert not opened(disk.restarted()).was_clean


def test_a_lost_checkpoint_is_doubt_for_the_partitions_there_are() -> None:
    """Not for those that come."""
    disk = SimulatedDisk()
    opened(disk)
    log = make_log(disk, f"{DATA}/t-0")
    append(log)
    log.flush()
    disk.unlink(f"{DATA}/{CHECKPOINT}")
    for _ in range(2):
        disk = disk.restarted()
        data = opened(disk)
        assert data.partitions() == [("t", 0)]
        assert data.checkpoint.of("t-0") is None
        assert data.checkpoint.of("new-0") is NEVER_CHECKPOINTED


def test_every_step_of_opening_may_be_the_last() -> None:
    """The power cut in the middle of a first start leaves a directory that opens, and is then new or known."""
    step = 0
    while True:
        disk = SimulatedDisk(cut_at=step)
        try:
            opened(disk)
        except PowerCut:
            for after in (only_synced(disk), everything(disk)):
                data = opened(after)
                assert data.checkpoint.of("new-0") is NEVER_CHECKPOINTED
            step += 1
        else:
            break
    assert step > 10


def test_errors_are_directory_errors(tmp_path: Path) -> None:
    """So that the command line can catch them by one name."""
    for error in (DirectoryInUse, DirectoryNotWritable, NewerFormat):
        assert issubclass(error, DirectoryError)
