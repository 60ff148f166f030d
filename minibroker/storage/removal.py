"""Removing a partition that a rename has put out of sight, file by file. A restart finishes it."""

from minibroker.storage.files import DELETE
from minibroker.storage.filesystem import FileSystem


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
