"""The data directory as a whole: one broker at a time, a known format, and whether the last life ended in order."""

import attrs
import orjson
from fastcrc import crc32

from minibroker.storage.checkpoint import CheckpointFile
from minibroker.storage.errors import (
    DirectoryError,
    DirectoryInUse,
    DirectoryNotWritable,
    MissingFile,
    NewerFormat,
    StorageError,
    Unreadable,
)
from minibroker.storage.files import CLEAN_SHUTDOWN, FORMAT, LOCK, parse_partition_name, partition_name
from minibroker.storage.filesystem import FileSystem, make_directories, replace_file

FORMAT_VERSION = 1


@attrs.define(eq=False, kw_only=True)
class DataDirectory:
    """A locked data directory."""

    fs: FileSystem
    path: str
    cluster_id: str
    was_clean: bool
    """Whether the last broker here ended in order, or this is the first."""
    checkpoint: CheckpointFile
    _lock: object

    @classmethod
    def open(cls, fs: FileSystem, path: str, new_cluster_id: str) -> "DataDirectory":
        """Make the directory if there is none, and lock it.

        `new_cluster_id` is for a directory that has none yet. Raises DirectoryInUse, DirectoryNotWritable, NewerFormat,
        DirectoryError, each with one line for the operator.
        """
        try:
            make_directories(fs, path)
            lock = fs.lock(f"{path}/{LOCK}")
        except DirectoryInUse as error:
            raise DirectoryInUse(f"data directory {path} is in use by another broker") from error
        except StorageError as error:
            raise DirectoryNotWritable(f"data directory {path} is not usable: {error}") from error
        try:
            format_exists = fs.exists(f"{path}/{FORMAT}")
            names = [partition_name(*partition) for partition in _partitions(fs, path)]
            is_new = not format_exists and not names
            checkpoint = CheckpointFile.load(fs, path, is_new=is_new)
            if not checkpoint.is_whole:
                checkpoint.doubt_unknown(names)
            checkpoint.save(())  # before the format: where that is, a missing checkpoint was lost
            cluster_id = _read_format(fs, path) if format_exists else None
            if cluster_id is None:
                cluster_id = new_cluster_id
                _write_format(fs, path, cluster_id)
            was_clean = is_new or fs.exists(f"{path}/{CLEAN_SHUTDOWN}")
            # Gone for good before the first write, or a crash would look like an orderly end.
            fs.unlink(f"{path}/{CLEAN_SHUTDOWN}")
            fs.sync_directory(path)
        except DirectoryError:
            raise
        except StorageError as error:
            raise DirectoryNotWritable(f"data directory {path} is not usable: {error}") from error
        return cls(fs=fs, path=path, cluster_id=cluster_id, was_clean=was_clean, checkpoint=checkpoint, lock=lock)

    def partitions(self) -> list[tuple[str, int]]:
        """(topic, index) of every partition directory."""
        return _partitions(self.fs, self.path)

    def release(self) -> None:
        """Give the lock up: another broker may come. To be called whatever happened, after the last write."""
        self._lock = None

    def mark_clean(self) -> None:
        """Say that everything is flushed and checkpointed: the last thing a broker does."""
        replace_file(self.fs, f"{self.path}/{CLEAN_SHUTDOWN}", b"")


def _partitions(fs: FileSystem, path: str) -> list[tuple[str, int]]:
    parsed = [parse_partition_name(name) for name in fs.list_directories(path)]
    return [partition for partition in parsed if partition is not None]


def _write_format(fs: FileSystem, path: str, cluster_id: str) -> None:
    content = {
        "format_version": FORMAT_VERSION,
        "cluster_id": cluster_id,
        "crc": _format_crc(FORMAT_VERSION, cluster_id),
    }
    replace_file(fs, f"{path}/{FORMAT}", orjson.dumps(content) + b"\n")


def _format_crc(version: int, cluster_id: str) -> int:
    return crc32.iscsi(b"%d %b" % (version, cluster_id.encode()))


def _read_format(fs: FileSystem, path: str) -> str | None:
    """The cluster id; None if the file is damaged. Raises NewerFormat."""
    try:
        content = orjson.loads(fs.read(f"{path}/{FORMAT}"))
        version, cluster_id = content["format_version"], content["cluster_id"]
    except (MissingFile, Unreadable, orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if not isinstance(version, int) or not isinstance(cluster_id, str):
        return None
    crc = _format_crc(version, cluster_id)
    if content.get("crc", crc) != crc:
        return None
    if version > FORMAT_VERSION:
        raise NewerFormat(
            f"data directory {path} has format {version}, this version of minibroker knows up to {FORMAT_VERSION}"
        )
    return cluster_id
