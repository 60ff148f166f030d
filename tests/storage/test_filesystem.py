"""The door to the operating system, with its native calls and with the portable ones."""

import errno
import os
import weakref
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest

from minibroker.storage.errors import DirectoryInUse, DiskFull, MissingFile, StorageError, SyncFailed, Unreadable
from minibroker.storage.filesystem import (
    PORTABLE,
    OsFileSystem,
    Platform,
    make_directories,
    native_platform,
    replace_file,
)


@pytest.fixture(params=[native_platform(), PORTABLE], ids=["native", "portable"])
def fs(request: pytest.FixtureRequest) -> OsFileSystem:
    return OsFileSystem(request.param)


def failing(number: int) -> Platform:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    return attrs.evolve(PORTABLE, sync_data=fail, sync_all=fail)


def test_write_and_read(fs: OsFileSystem, tmp_path: Path) -> None:
    """What was written at a position is read there, short at the end."""
    file = fs.open(f"{tmp_path}/f", create=True)
    file.pwrite(b"hello", 0)
    file.pwrite(memoryview(bytearray(b"world")), 5)
    assert file.pread(100, 3) == b"loworld"
    assert file.size() == 10
    file.truncate(4)
    assert file.pread(100, 0) == b"hell"
    file.sync_data()
    assert fs.read(f"{tmp_path}/f") == b"hell"


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.write` may take less than it is given."""
    file = OsFileSystem().open(f"{tmp_path}/f", create=True)
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, position: pwrite(fd, memoryview(data)[:3], position))
    file.pwrite(b"0123456789", 2)
    assert file.pread(100, 0) == b"\0\0" + b"0123456789"


def test_a_short_read_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.pread` may return less than there is."""
    file = OsFileSystem().open(f"{tmp_path}/f", create=True)
    file.pwrite(b"0123456789", 0)
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, position: pread(fd, min(size, 3), position))
    assert file.pread(100, 0) == b"0123456789"


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, StorageError)]
)
def test_failures_of_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[StorageError]
) -> None:
    """A full disk is told from a failing one."""
    file = OsFileSystem().open(f"{tmp_path}/f", create=True)

    def fail(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(error, match="cannot write"):
        file.pwrite(b"x", 0)


def test_a_failed_sync_is_never_repeated(tmp_path: Path) -> None:
    """The second call would be called a success by the kernel: it must fail here without asking."""
    calls = []

    def fail_once(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(errno.EIO, "gone")

    file = OsFileSystem(attrs.evolve(PORTABLE, sync_data=fail_once)).open(f"{tmp_path}/f", create=True)
    for _ in range(2):
        with pytest.raises(SyncFailed):
            file.sync_data()
    assert len(calls) == 1


def test_a_failed_sync_of_everything(tmp_path: Path) -> None:
    """Is a SyncFailed like that of a file."""
    with pytest.raises(SyncFailed):
        OsFileSystem(failing(errno.EIO)).sync_all(str(tmp_path))


def test_sync_all(fs: OsFileSystem, tmp_path: Path) -> None:
    """Works where it is offered, and is refused elsewhere."""
    if fs.can_sync_all:
        fs.sync_all(str(tmp_path))
    else:
        with pytest.raises(StorageError):
            fs.sync_all(str(tmp_path))


def test_everything_is_synced_through_a_descriptor_as_old_as_the_lock(tmp_path: Path) -> None:
    """`syncfs` tells of the errors since its descriptor was opened: one opened for the occasion would know of none."""
    seen: list[int] = []
    fs = OsFileSystem(attrs.evolve(PORTABLE, sync_all=seen.append))
    lock = fs.lock(f"{tmp_path}/.lock")
    for name in ("a", "b"):
        fs.mkdir(f"{tmp_path}/{name}")
        fs.sync_all(f"{tmp_path}/{name}")
    assert os.fstat(seen[0]).st_ino == os.stat(tmp_path / ".lock").st_ino
    assert seen[0] == seen[1]
    del lock
    assert OsFileSystem().lock(f"{tmp_path}/.lock")  # the other descriptor does not hold it


def test_a_directory_is_synced_though_no_descriptor_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything else then; a directory that is not there is no such case."""
    seen: list[int] = []
    fs = OsFileSystem(attrs.evolve(PORTABLE, sync_all=seen.append))
    _lock = fs.lock(f"{tmp_path}/.lock")
    with pytest.raises(MissingFile):
        fs.sync_directory(f"{tmp_path}/nowhere")

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", refuse)
    fs.sync_directory(str(tmp_path))
    assert len(seen) == 1


def test_a_missing_file(fs: OsFileSystem, tmp_path: Path) -> None:
    """Has its own exception; removing it is no error."""
    path = f"{tmp_path}/f"
    for call in (fs.open, fs.open_shared, fs.read, fs.list_sizes, fs.modified_ms):
        with pytest.raises(MissingFile):
            call(path)
    fs.unlink(path)
    assert not fs.exists(path)


def test_what_cannot_be_examined_is_not_missing(
    fs: OsFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing disk is no proof that nothing is there."""
    assert fs.exists(str(tmp_path))
    assert not fs.exists(f"{tmp_path}/f")
    fs.open(f"{tmp_path}/f", create=True)
    assert not fs.exists(f"{tmp_path}/f/in a file")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", fail)
        with pytest.raises(StorageError, match="cannot examine"):
            fs.exists(f"{tmp_path}/f")


def test_a_bad_block_has_its_own_exception(fs: OsFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what can be made again is."""
    file = fs.open(f"{tmp_path}/f", create=True)

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(Unreadable):
        file.pread(1, 0)


def test_names_are_synced_as_the_platform_wants_it(tmp_path: Path) -> None:
    """On macOS through the drive's cache, as contents are."""
    seen: list[int] = []
    OsFileSystem(attrs.evolve(PORTABLE, sync_names=seen.append)).sync_directory(str(tmp_path))
    assert len(seen) == 1


def test_listing(fs: OsFileSystem, tmp_path: Path) -> None:
    """Files with sizes, directories by name."""
    fs.open(f"{tmp_path}/f", create=True).pwrite(b"123", 0)
    fs.mkdir(f"{tmp_path}/b")
    fs.mkdir(f"{tmp_path}/a")
    fs.mkdir(f"{tmp_path}/a")
    assert fs.list_sizes(str(tmp_path)) == {"f": 3}
    assert fs.list_directories(str(tmp_path)) == ["a", "b"]
    fs.rmdir(f"{tmp_path}/b")
    fs.sync_directory(str(tmp_path))
    assert fs.list_directories(str(tmp_path)) == ["a"]


def test_the_file_outlives_its_name(fs: OsFileSystem, tmp_path: Path) -> None:
    """Whoever holds a file reads it after it was removed."""
    path = f"{tmp_path}/f"
    fs.open(path, create=True).pwrite(b"123", 0)
    shared = fs.open_shared(path)
    fs.unlink(path)
    assert shared.pread(3, 0) == b"123"


def test_descriptors_close_with_the_last_reference(tmp_path: Path) -> None:
    """The cache keeps so many, and a file beyond them closes when nobody uses it any more."""
    fs = OsFileSystem(shared_files=2)
    for number in range(4):
        fs.open(f"{tmp_path}/{number}", create=True)
    dropped = weakref.ref(fs.open_shared(f"{tmp_path}/0"))
    kept = fs.open_shared(f"{tmp_path}/1")
    for number in (2, 3):
        fs.open_shared(f"{tmp_path}/{number}")
    assert dropped() is None
    assert os.fstat(kept.fileno())


def test_the_least_recently_used_goes(tmp_path: Path) -> None:
    """Asking for a file again keeps it."""
    fs = OsFileSystem(shared_files=2)
    files = []
    for name in ("a", "b"):
        fs.open(f"{tmp_path}/{name}", create=True)
        files.append(weakref.ref(fs.open_shared(f"{tmp_path}/{name}")))
    fs.open_shared(f"{tmp_path}/a")
    fs.open(f"{tmp_path}/c", create=True)
    fs.open_shared(f"{tmp_path}/c")
    assert files[0]() is not None
    assert files[1]() is None


@pytest.mark.parametrize("change", ["rename away", "rename over", "unlink", "rename directory"])
def test_a_name_that_means_something_else(fs: OsFileSystem, tmp_path: Path, change: str) -> None:
    """The cache of descriptors follows renames and removals, also of a parent."""
    fs.mkdir(f"{tmp_path}/d")
    path = f"{tmp_path}/d/f"
    fs.open(path, create=True).pwrite(b"old", 0)
    assert fs.open_shared(path).pread(3, 0) == b"old"
    if change == "rename over":
        fs.open(path + "2", create=True).pwrite(b"new", 0)
        fs.rename(path + "2", path)
    else:
        if change == "rename directory":
            fs.rename(f"{tmp_path}/d", f"{tmp_path}/e")
            fs.mkdir(f"{tmp_path}/d")
        elif change == "rename away":
            fs.rename(path, path + "2")
        else:
            fs.unlink(path)
        fs.open(path, create=True).pwrite(b"new", 0)
    assert fs.open_shared(path).pread(3, 0) == b"new"


def test_the_lock(fs: OsFileSystem, tmp_path: Path) -> None:
    """One holder at a time, until the object goes."""
    path = f"{tmp_path}/lock"
    held = fs.lock(path)
    with pytest.raises(DirectoryInUse):
        fs.lock(path)
    del held
    assert fs.lock(path)


def test_is_cached(fs: OsFileSystem, tmp_path: Path) -> None:
    """What was just written is; the portable answer is always yes."""
    file = fs.open(f"{tmp_path}/f", create=True)
    file.pwrite(bytes(300_000), 0)
    assert file.is_cached(0, 300_000)
    assert file.is_cached(5, 1)


def test_free_bytes(fs: OsFileSystem, tmp_path: Path) -> None:
    """Tells something plausible."""
    assert fs.free_bytes(str(tmp_path)) > 0


@pytest.mark.parametrize(
    ("files", "left", "is_full"), [(0, 0, False), (10**6, 2000, False), (10**6, 1999, True), (1000, 20, False)]
)
def test_a_disk_without_room_for_files_is_full(
    fs: OsFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, left: int, is_full: bool
) -> None:
    """However many bytes are free; but not one whose file system knows no limit, or is small."""
    status = SimpleNamespace(f_bavail=5, f_frsize=100, f_files=files, f_favail=left)
    monkeypatch.setattr(os, "statvfs", lambda _: status)
    assert fs.free_bytes(str(tmp_path)) == (0 if is_full else 500)


def test_replace_file(fs: OsFileSystem, tmp_path: Path) -> None:
    """The content is replaced and nothing is left aside."""
    for content in (b"long content", b"short"):
        replace_file(fs, f"{tmp_path}/f", content)
        assert fs.read(f"{tmp_path}/f") == content
    assert fs.list_sizes(str(tmp_path)) == {"f": 5}


def test_make_directories(fs: OsFileSystem, tmp_path: Path) -> None:
    """With their parents; a file in the way is an error."""
    make_directories(fs, f"{tmp_path}/a/b/c")
    assert fs.exists(f"{tmp_path}/a/b/c")
    fs.open(f"{tmp_path}/f", create=True)
    with pytest.raises(StorageError):
        make_directories(fs, f"{tmp_path}/f/x")
