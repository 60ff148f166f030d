"""`minibroker check DIR`: is a data directory whole?"""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import orjson

from minibroker.cli import FAILURE, SUCCESS
from minibroker.cli.checking import PartitionReport, check_directory
from minibroker.cli.options import JsonOption, program
from minibroker.cli.problems import CommandError
from minibroker.cli.progress import Meter
from minibroker.cli.tables import show, show_json
from minibroker.cli.words import counted, readable_size
from minibroker.storage.directory import FORMAT_VERSION
from minibroker.storage.errors import DirectoryInUse, MissingFile, StorageError
from minibroker.storage.files import CLEAN_SHUTDOWN, FORMAT, LOCK
from minibroker.storage.filesystem import FileSystem, OsFileSystem

app = program("minibroker check", "Examine the data directory of a broker that is not running. Changes nothing.")


@attrs.frozen(kw_only=True)
class CheckRow:
    """What is shown of a partition and of what is wrong with it."""

    partition: str
    segments: int
    batches: int
    records: int
    bytes: int
    begin: int
    end: int
    verdict: str


@app.default
def check(directory: Path, /, *, json: JsonOption = False) -> int:
    """Read every batch in DIRECTORY, and say what is damaged and what the next start would do about it.

    Parameters
    ----------
    directory
        The data directory: `log.dirs` of the broker.
    """
    fs = OsFileSystem()
    headline = _headline(fs, directory)
    lock = _lock(fs, directory)
    try:
        with Meter(quiet=json, total_bytes=_total_bytes(directory)) as meter:
            reports = list(check_directory(fs, str(directory), meter.advance))
    finally:
        del lock  # which ends it
    if json:
        show_json(reports)
    else:
        print(headline)
        _show(reports)
    return FAILURE if any(report.is_damaged for report in reports) else SUCCESS


def _show(reports: list[PartitionReport]) -> None:
    show(CheckRow, reports, as_json=False)
    for report in reports:
        for line in report.explained():
            print(f"{report.partition}: {line}")
    damaged = sum(report.is_damaged for report in reports)
    verdict = f"{counted(damaged, 'partition')} damaged" if damaged else "nothing that was acknowledged is damaged"
    total = readable_size(sum(report.bytes for report in reports))
    print(f"{counted(len(reports), 'partition')}, {total}: {verdict}", file=sys.stderr)


def _headline(fs: FileSystem, directory: Path) -> str:
    """What the directory says of itself; raises CommandError if it is none, or of a newer format."""
    if not directory.is_dir():
        raise CommandError(f"expected a data directory, found no directory {directory}")
    try:
        content = orjson.loads(fs.read(f"{directory}/{FORMAT}"))
        version, cluster_id = content["format_version"], content["cluster_id"]
    except MissingFile:
        raise CommandError(f"expected a data directory, found no file {directory / FORMAT}") from None
    except StorageError as error:
        raise CommandError(str(error)) from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"data directory {directory}: its {FORMAT} file is damaged, the next start writes it anew"
    if version > FORMAT_VERSION:
        raise CommandError(f"expected format {FORMAT_VERSION} or older in {directory}, found {version}")
    ended = "ended in order" if fs.exists(f"{directory}/{CLEAN_SHUTDOWN}") else "did not end in order"
    return f"data directory {directory}: format {version}, cluster {cluster_id}; the last broker here {ended}"


def _lock(fs: FileSystem, directory: Path) -> object:
    try:
        return fs.lock(f"{directory}/{LOCK}")
    except DirectoryInUse:
        raise CommandError(f"expected a data directory that is not in use, found a broker on {directory}") from None
    except StorageError:
        return None  # it cannot be written, so no broker can run on it


def _total_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*/*.log"))
