"""What can go wrong on disk. Every exception of this floor is a `StorageError`.

The floors above answer KAFKA_STORAGE_ERROR for a `StorageError` of one partition, refuse producers while the disk is
full, and stop the broker on `SyncFailed`: after it the page cache can no longer be trusted.
"""

import errno


class StorageError(Exception):
    """A file could not be read or written, or holds what it must not hold."""


class DiskFull(StorageError):
    """No space, or no quota, left. What was being written was taken back; try again when there is space."""


class MissingFile(StorageError):
    """A file or directory that should be there is not."""


class Unreadable(StorageError):
    """The device does not give back what was written."""


class SyncFailed(StorageError):
    """An fsync failed. The kernel may have dropped the data and will call a second fsync a success: never retry."""


class CorruptLog(StorageError):
    """Bytes below the durable end are damaged; the offsets they held are quarantined."""


class LogOffline(StorageError):
    """The log refuses everything since an earlier failure, which is its message."""


class DirectoryError(StorageError):
    """The data directory cannot be used; the message is one line for the operator."""


class DirectoryInUse(DirectoryError):
    """Another process holds the lock of the data directory."""


class DirectoryNotWritable(DirectoryError):
    """The data directory cannot be created or written."""


class NewerFormat(DirectoryError):
    """The data directory was written by a newer version, whose format this one does not know."""


def storage_error(error: OSError, action: str, path: str) -> StorageError:
    """Translate what the operating system said about `action` on `path`."""
    message = f"cannot {action} {path}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(message)
    if error.errno == errno.ENOENT:
        return MissingFile(message)
    if error.errno == errno.EIO and action == "read":
        return Unreadable(message)
    return StorageError(message)
