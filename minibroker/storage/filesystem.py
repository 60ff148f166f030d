"""The only door to the operating system's files.

Everything in `storage` goes through `FileSystem` and `File`, so that a test can replace the disk by one that forgets
what was not synced, and so that what differs between operating systems is decided in one place (`Platform`). Paths are
strings. Calls block. Failures are `StorageError`s; a failed sync is a `SyncFailed`, after which the file refuses to be
synced again, because the second call would lie.

A descriptor closes when the last reference to its `File` goes: whoever still sends from a segment keeps it readable
after the segment was deleted.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Protocol

import attrs

from minibroker.storage.errors import DirectoryInUse, MissingFile, StorageError, SyncFailed, storage_error

Buffer = bytes | bytearray | memoryview

RESERVE_FILES = 2_000
"""When fewer can still be made, a disk counts as full."""
CACHE_PROBE_BYTES = 131_072
"""Distance between the bytes that `is_cached` probes: Linux's default readahead."""


class File(Protocol):
    """An open file: positioned reads and writes, no cursor. Reading and syncing are safe from any thread."""

    path: str

    def pread(self, size: int, position: int) -> bytes:
        """Read up to `size` bytes; fewer only at the end of the file."""

    def pwrite(self, data: Buffer, position: int) -> None:
        """Write all of `data`. On failure the bytes from `position` on are undefined."""

    def truncate(self, size: int) -> None:
        """Make the file `size` bytes long."""

    def size(self) -> int:
        """Bytes in the file now."""

    def sync_data(self) -> None:
        """Make the content durable (not the directory entry). Raises SyncFailed, then and ever after."""

    def is_cached(self, position: int, size: int) -> bool:
        """Whether a read of the range would not wait for the disk; True where the system cannot tell."""

    def fileno(self) -> int:
        """The descriptor, for `os.sendfile`."""


class FileSystem(Protocol):
    """Files and directories by path."""

    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing; `create` makes an empty file if there is none."""

    def open_shared(self, path: str) -> File:
        """Open an existing file through a small cache of descriptors."""

    def read(self, path: str) -> bytes:
        """Return the whole content of a small file."""

    def list_sizes(self, path: str) -> dict[str, int]:
        """Names of the regular files in a directory, with their sizes in bytes."""

    def list_directories(self, path: str) -> list[str]:
        """Names of the directories in a directory, sorted."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory."""

    def modified_ms(self, path: str) -> int:
        """Wall clock time of the last change of the content, in ms."""

    def rename(self, old: str, new: str) -> None:
        """Move, replacing what was at `new`. Durable after both parents are synced."""

    def unlink(self, path: str) -> None:
        """Remove a file; nothing happens if there is none."""

    def mkdir(self, path: str) -> None:
        """Make a directory, not its parents; nothing happens if it exists."""

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""

    def sync_directory(self, path: str) -> None:
        """Make the entries of a directory durable."""

    @property
    def can_sync_all(self) -> bool:
        """Whether `sync_all` exists here and reports errors."""

    def sync_all(self, path: str) -> None:
        """Make everything on the file system that holds `path` durable in one call."""

    def free_bytes(self, path: str) -> int:
        """Bytes that can still be written on the file system of `path`."""

    def total_bytes(self, path: str) -> int:
        """Size of the file system of `path`."""

    def lock(self, path: str) -> object:
        """Take the lock file until the returned object goes. Raises DirectoryInUse."""


@attrs.frozen(kw_only=True)
class Platform:
    """The calls that differ between operating systems."""

    sync_data: Callable[[int], None]
    """(descriptor): content to stable storage, through the drive's cache."""
    sync_names: Callable[[int], None]
    """(descriptor of a directory): the same for the names in it."""
    is_cached: Callable[[int, int, int], bool]
    """(descriptor, position, size)."""
    sync_all: Callable[[int], None] | None
    """(descriptor of anything on the file system), or None."""


def _is_cached_unknown(descriptor: int, position: int, size: int) -> bool:
    return True


PORTABLE = Platform(sync_data=os.fsync, sync_names=os.fsync, is_cached=_is_cached_unknown, sync_all=None)
"""What every POSIX system has. Tests force it on Linux."""


def native_platform() -> Platform:
    """The best calls this system has."""
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is not None:  # macOS: its fsync stops at the drive's volatile cache

        def sync(descriptor: int) -> None:
            fcntl.fcntl(descriptor, full_sync)

        return attrs.evolve(PORTABLE, sync_data=sync, sync_names=sync)
    platform = PORTABLE
    if hasattr(os, "fdatasync"):
        platform = attrs.evolve(platform, sync_data=os.fdatasync)
    if hasattr(os, "RWF_NOWAIT"):
        platform = attrs.evolve(platform, is_cached=_is_cached_nowait)
    if os.uname().sysname == "Linux" and _kernel_version() >= (5, 8):  # older syncfs does not report errors
        platform = attrs.evolve(platform, sync_all=_syncfs)
    return platform


def _kernel_version() -> tuple[int, ...]:
    numbers = os.uname().release.split(".")[:2]
    return tuple(int("".join(filter(str.isdigit, number)) or 0) for number in numbers)


_probe = bytearray(1)


def _is_cached_nowait(descriptor: int, position: int, size: int) -> bool:
    """Probe one byte every so often: readahead and eviction work on runs of pages, so a hole is seldom smaller."""
    last = position + size - 1
    try:
        while position < last:
            os.preadv(descriptor, [_probe], position, os.RWF_NOWAIT)
            position += CACHE_PROBE_BYTES
        os.preadv(descriptor, [_probe], last, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            return True
        raise
    return True


def _syncfs(descriptor: int) -> None:
    import ctypes  # 5 ms, and most processes that read a log never sync one

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@attrs.define(eq=False)
class OsFile:
    """A file of the operating system."""

    path: str
    _descriptor: int
    _platform: Platform
    _sync_failure: str | None = None

    def __del__(self, _close: Callable[[int], None] = os.close) -> None:
        with contextlib.suppress(OSError):
            _close(self._descriptor)

    def pread(self, size: int, position: int) -> bytes:
        """Read up to `size` bytes; fewer only at the end of the file."""
        try:
            data = os.pread(self._descriptor, size, position)
            while 0 < len(data) < size:
                more = os.pread(self._descriptor, size - len(data), position + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise storage_error(error, "read", self.path) from error
        return data

    def pwrite(self, data: Buffer, position: int) -> None:
        """Write all of `data`, in several calls if the system takes only a part."""
        try:
            written = os.pwrite(self._descriptor, data, position)
            if written != len(data):
                rest = memoryview(data)[written:]
                while rest:
                    position += written
                    written = os.pwrite(self._descriptor, rest, position)
                    rest = rest[written:]
        except OSError as error:
            raise storage_error(error, "write", self.path) from error

    def truncate(self, size: int) -> None:
        """Make the file `size` bytes long."""
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            raise storage_error(error, "truncate", self.path) from error

    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self._descriptor).st_size

    def sync_data(self) -> None:
        """Make the content durable. Raises SyncFailed, then and ever after."""
        if self._sync_failure is not None:
            raise SyncFailed(self._sync_failure)
        try:
            self._platform.sync_data(self._descriptor)
        except OSError as error:
            self._sync_failure = f"cannot sync {self.path}: {error.strerror or error}"
            raise SyncFailed(self._sync_failure) from error

    def is_cached(self, position: int, size: int) -> bool:
        """Whether a read of the range would not wait for the disk, as far as a few probes tell."""
        try:
            return self._platform.is_cached(self._descriptor, position, size)
        except OSError as error:
            raise storage_error(error, "read", self.path) from error

    def fileno(self) -> int:
        """The descriptor; valid as long as this object lives."""
        return self._descriptor


@attrs.define(eq=False)
class OsFileSystem:
    """The file systems of this machine."""

    platform: Platform = attrs.field(factory=native_platform)
    shared_files: int = 256
    """How many descriptors `open_shared` keeps. Files in use beyond them stay open through their users."""
    _shared: dict[str, OsFile] = attrs.field(init=False, factory=dict)
    """By path, the one that was asked for last at the end."""
    _witness: OsFile | None = attrs.field(init=False, default=None)
    """Open since the lock was taken: a `syncfs` tells of the errors since its descriptor was opened."""

    def open(self, path: str, *, create: bool = False) -> OsFile:
        """Open for reading and writing; `create` makes an empty file if there is none."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        with _translated("open", path):
            return OsFile(path, os.open(path, flags, 0o644), self.platform)

    def open_shared(self, path: str) -> OsFile:
        """Open an existing file through a least-recently-used cache."""
        # Other threads rename and remove files, so each step must bear that an entry has just gone.
        file = self._shared.pop(path, None) or self.open(path)
        self._shared[path] = file
        if len(self._shared) > self.shared_files:
            with contextlib.suppress(StopIteration):
                self._shared.pop(next(iter(self._shared)), None)
        return file

    def read(self, path: str) -> bytes:
        """Return the whole content of a small file."""
        with _translated("read", path), open(path, "rb") as file:
            return file.read()

    def list_sizes(self, path: str) -> dict[str, int]:
        """Names of the regular files in a directory, with their sizes in bytes."""
        with _translated("list", path), os.scandir(path) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}

    def list_directories(self, path: str) -> list[str]:
        """Names of the directories in a directory, sorted."""
        with _translated("list", path), os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory; raises StorageError where the system cannot tell."""
        with _translated("examine", path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.stat(path)
            return True
        return False

    def modified_ms(self, path: str) -> int:
        """Wall clock time of the last change of the content, in ms."""
        with _translated("examine", path):
            return os.stat(path).st_mtime_ns // 1_000_000

    def rename(self, old: str, new: str) -> None:
        """Move, replacing what was at `new`."""
        self._forget(old)
        self._forget(new)
        with _translated("rename", old):
            os.rename(old, new)

    def unlink(self, path: str) -> None:
        """Remove a file; nothing happens if there is none."""
        self._forget(path)
        with _translated("remove", path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def mkdir(self, path: str) -> None:
        """Make a directory, not its parents; nothing happens if it exists."""
        with _translated("make directory", path), contextlib.suppress(FileExistsError):
            os.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        with _translated("remove directory", path):
            os.rmdir(path)

    def sync_directory(self, path: str) -> None:
        """Make the entries of a directory durable, with all else if no descriptor is left for it. Raises SyncFailed."""
        try:
            self._sync_through(path, self.platform.sync_names)
        except (SyncFailed, MissingFile):
            raise
        except StorageError:
            if self._witness is None or not self.can_sync_all:
                raise
            self.sync_all(path)

    @property
    def can_sync_all(self) -> bool:
        """Whether `sync_all` exists here and reports errors."""
        return self.platform.sync_all is not None

    def sync_all(self, path: str) -> None:
        """Make everything on the file system that holds the directory `path` durable. Raises SyncFailed."""
        if self.platform.sync_all is None:
            raise StorageError("this system cannot sync a whole file system and tell of errors")
        self._sync_through(path, self.platform.sync_all, self._witness)

    def free_bytes(self, path: str) -> int:
        """Bytes that can still be written on the file system of `path` by an ordinary user.

        0 where hardly a file can be made to hold them: many small ones fill a disk too.
        """
        with _translated("examine", path):
            status = os.statvfs(path)
        if status.f_favail < min(RESERVE_FILES, status.f_files // 50):  # 0 of 0: there is no limit
            return 0
        return status.f_bavail * status.f_frsize

    def total_bytes(self, path: str) -> int:
        """Size of the file system of `path`."""
        with _translated("examine", path):
            status = os.statvfs(path)
        return status.f_blocks * status.f_frsize

    def lock(self, path: str) -> object:
        """Take the lock file until the returned object goes. Raises DirectoryInUse."""
        file = self.open(path, create=True)
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DirectoryInUse(f"{path} is locked by another process") from error
        except OSError as error:
            raise storage_error(error, "lock", path) from error
        self._witness = self.open(path)
        return file

    def _forget(self, path: str) -> None:
        """A name is about to mean something else, and so is every name below it."""
        for shared in list(self._shared):
            if shared == path or shared.startswith(path + "/"):
                self._shared.pop(shared, None)

    def _sync_through(self, directory: str, call: Callable[[int], None], file: OsFile | None = None) -> None:
        if file is None:
            with _translated("open", directory):
                file = OsFile(directory, os.open(directory, os.O_RDONLY | os.O_CLOEXEC), self.platform)
        try:
            call(file.fileno())
        except OSError as error:
            raise SyncFailed(f"cannot sync {directory}: {error.strerror or error}") from error


@contextlib.contextmanager
def _translated(action: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(error, action, path) from error


def replace_file(fs: FileSystem, path: str, content: bytes) -> None:
    """Write a small file so that after any crash either the old content or the new is there, whole."""
    aside = path + ".tmp"
    file = fs.open(aside, create=True)
    file.truncate(0)
    file.pwrite(content, 0)
    file.sync_data()
    fs.rename(aside, path)
    fs.sync_directory(parent_directory(path))


def parent_directory(path: str) -> str:
    """The directory that holds a name."""
    return os.path.dirname(path) or "."


def make_directories(fs: FileSystem, path: str) -> None:
    """Make a directory and its missing parents, each durable in its own parent."""
    if fs.exists(path):
        return
    parent = os.path.dirname(os.path.abspath(path))
    make_directories(fs, parent)
    fs.mkdir(path)
    fs.sync_directory(parent)
