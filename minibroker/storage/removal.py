"""Removing a partition in two steps: out of sight at once by a rename, then file by file. A restart finishes it."""

import uuid

from minibroker.storage.files import DELETE, deleted_name
from minibroker.storage.filesystem import FileSystem, parent_directory


def hide_partition(fs: FileSystem, directory: str, topic_id: uuid.UUID) -> str:
    """Rename a partition's directory, durably; returns the new path. From here on it is gone."""
    parent = parent_directory(directory)
    hidden = f"{parent}/{deleted_name(directory.rpartition('/')[2], topic_id)}"
    fs.rename(directory, hidden)
    fs.sync_directory(parent)
    return hidden


def remove_directory(fs: FileSystem, directory: str) -> None:
    """Remove a hidden partition's files and directory."""
    for name in fs.list_sizes(directory):
        fs.unlink(f"{directory}/{name}")
    fs.rmdir(directory)


def finish_removals(fs: FileSystem, data_directory: str) -> list[str]:
    """Remove what an earlier life had begun to remove; returns the names."""
    names = [name for name in fs.list_directories(data_directory) if name.endswith(DELETE)]
    for name in names:
        remove_directory(fs, f"{data_directory}/{name}")
    return names
