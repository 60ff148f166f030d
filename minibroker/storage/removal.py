"""Removing a partition that a rename has put out of sight, file by file. A restart goes on with it."""

from minibroker.storage.filesystem import FileSystem


def remove_directory(fs: FileSystem, directory: str) -> None:
    """Remove a hidden partition's files and directory.

    The rename must be durable: a power cut that undoes it would leave a partition under its old name of which some files
    are gone, and the one that says whose it was may be among them.
    """
    for name in fs.list_sizes(directory):
        fs.unlink(f"{directory}/{name}")
    fs.rmdir(directory)
