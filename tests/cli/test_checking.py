"""`minibroker check`: what it says of whole, torn and damaged directories, without changing them."""

import shutil
import uuid
from pathlib import Path

import pytest

from minibroker.cli import run
from minibroker.cli.check import _headline
from minibroker.cli.checking import PartitionReport, check_directory
from minibroker.cli.problems import CommandError
from minibroker.records.batch import assign, decode_header
from minibroker.records.builder import BatchBuilder
from minibroker.storage.directory import DataDirectory
from minibroker.storage.errors import StorageError
from minibroker.storage.filesystem import OsFileSystem
from minibroker.storage.integrity import Damage
from minibroker.storage.log import Log
from minibroker.storage.settings import LogSettings

BATCHES = 5


def make_batch(base_offset: int) -> bytearray:
    builder = BatchBuilder()
    builder.append(1_700_000_000_000, b"key", b"value %d" % base_offset)
    builder.append(1_700_000_000_000, b"key", b"value %d" % (base_offset + 1))
    batch = builder.build()
    assign(memoryview(batch), base_offset, 0)
    return batch


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A data directory with one partition of five batches, durable and checkpointed, whose broker ended in order."""
    fs = OsFileSystem()
    data = DataDirectory.open(fs, str(tmp_path / "data"), "cluster")
    log = Log.create(fs, str(tmp_path / "data" / "orders-0"), LogSettings(), uuid.uuid4())
    for number in range(BATCHES):
        batch = make_batch(2 * number)
        log.append(batch, decode_header(batch), 0)
    point = log.begin_flush()
    assert point is not None
    log.complete_flush(point)
    data.checkpoint.save([log])
    data.mark_clean()
    return tmp_path / "data"


def log_file(directory: Path) -> Path:
    return directory / "orders-0" / f"{0:020}.log"


def check(directory: Path) -> PartitionReport:
    (report,) = check_directory(OsFileSystem(), str(directory), lambda _records, _bytes: None)
    return report


def test_a_whole_directory_is_good(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is counted, nothing is found, and the status says so."""
    report = check(directory)
    assert (report.segments, report.batches, report.records, report.begin, report.end) == (1, 5, 10, 0, 10)
    assert list(report.explained()) == []
    assert run(["check", str(directory)]) == 0
    output = capsys.readouterr()
    assert "format 1, cluster cluster; the last broker here ended in order" in output.out
    assert "1 partition, 475 B: nothing that was acknowledged is damaged" in output.err


@pytest.mark.parametrize("keep_bytes", [0, 1, 60, 96, 97])
def test_a_torn_tail_is_no_damage(directory: Path, keep_bytes: int) -> None:
    """What lies beyond the durable end, whole or not, was never acknowledged."""
    with log_file(directory).open("ab") as file:
        file.write(make_batch(10)[:keep_bytes])
    report = check(directory)
    assert not report.is_damaged
    assert report.records == (12 if keep_bytes == 97 else 10)
    assert len(list(report.explained())) == (1 if 0 < keep_bytes < 97 else 0)


def test_a_flipped_bit_is_damage_of_its_batch_alone(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The range of lost offsets is told, the rest is counted, the status is 1, and the file is as it was."""
    content = bytearray(log_file(directory).read_bytes())
    content[95 + 70] ^= 1
    log_file(directory).write_bytes(content)
    report = check(directory)
    assert [(damage.start_offset, damage.end_offset) for damage in report.damages] == [(2, 4)]
    assert report.records == 8
    assert report.end == 10
    assert run(["check", str(directory)]) == 1
    assert "orders-0: offsets 2 to 3: " in capsys.readouterr().out
    assert log_file(directory).read_bytes() == content


def test_a_lost_end_is_damage(directory: Path) -> None:
    """Below the durable end nothing may be missing, neither the end of a segment nor the whole of it."""
    size = log_file(directory).stat().st_size
    for lost_bytes in (1, 94, 95):
        with log_file(directory).open("ab") as file:
            file.truncate(size - lost_bytes)
        assert [(damage.start_offset, damage.end_offset) for damage in check(directory).damages] == [(8, 10)]
    log_file(directory).unlink()
    assert check(directory).missing_segments == [0]


def test_a_lost_directory_is_damage(directory: Path) -> None:
    """What only the checkpoint knows was there."""
    shutil.rmtree(directory / "orders-0")
    report = check(directory)
    assert report.is_damaged
    assert "what was below offset 10 is lost" in "".join(report.explained())


def test_damage_of_the_list_of_topics_is_told_from_others() -> None:
    """With it no broker starts."""
    damage = Damage(start_offset=0, end_offset=2, segment=0, position=0, end_position=95, reason="rot")
    said = {
        name: "".join(PartitionReport(partition=name, damages=[damage]).explained())
        for name in ("__cluster_metadata-0", "orders-0")
    }
    assert "no broker starts" in said["__cluster_metadata-0"]
    assert "serves everything else" in said["orders-0"]


def test_a_directory_that_may_not_be_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says why, and not that nothing is there."""

    def refuse(*_: object) -> bytes:
        raise StorageError("cannot read format: Permission denied")

    monkeypatch.setattr(OsFileSystem, "read", refuse)
    with pytest.raises(CommandError, match="Permission denied"):
        _headline(OsFileSystem(), directory)


def test_without_a_checkpoint_only_what_nothing_good_follows_is_a_tail(directory: Path) -> None:
    """Damage in the middle is damage even if nobody knows what was durable."""
    (directory / "checkpoint").unlink()
    content = bytearray(log_file(directory).read_bytes())
    content[-1] ^= 1
    log_file(directory).write_bytes(content)
    assert not check(directory).is_damaged
    content[70] ^= 1
    log_file(directory).write_bytes(content)
    assert [(damage.start_offset, damage.end_offset) for damage in check(directory).damages] == [(0, 2)]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["check"], "DIRECTORY"),
        (["check", "/nowhere/at/all"], "expected a data directory, found no directory /nowhere/at/all"),
        (["check", "/"], "expected a data directory, found no file /format"),
    ],
)
def test_what_is_no_data_directory_is_refused(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and status 2."""
    assert run(arguments) == 2
    assert problem in capsys.readouterr().err


def test_a_directory_in_use_is_refused(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A running broker changes what would be read."""
    fs = OsFileSystem()
    lock = fs.lock(f"{directory}/.lock")
    assert run(["check", str(directory)]) == 2
    assert f"found a broker on {directory}" in capsys.readouterr().err
    del lock


def test_a_newer_format_is_refused(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a later version wrote may look like damage to this one."""
    (directory / "format").write_text('{"format_version": 99, "cluster_id": "c"}')
    assert run(["check", str(directory)]) == 2
    assert "expected format 1 or older" in capsys.readouterr().err
