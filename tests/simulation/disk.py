"""A disk in memory that forgets what was not synced.

The fault model, in words:

- A write, a truncation, a new or removed or renamed name is seen at once by everybody, and survives the end of the
  process, but not a power cut: until it is synced it may be on the platter or not, independently of what came before
  or after it; of a write each sector may be there or not.
- A file may have grown without its data: the hole then holds zeros or the garbage of an earlier file.
- `sync_data` makes the content of a file durable, not its name. `sync_directory` makes names durable, not contents. A
  rename within a directory is atomic.
- A failed sync drops what was pending: the cache shows it for as long as the power is on, the platter never gets it,
  and the next sync succeeds. If it was of names, the file system has given up its journal and must be mounted anew: no
  process ever sees again what was in the cache alone.
- A step may fail with an error number, and the power may be cut before any step.
"""

import errno
import os
import random
from collections.abc import Callable, Iterator, Mapping

import attrs

from minibroker.storage.errors import DirectoryInUse, MissingFile, StorageError, SyncFailed, storage_error
from minibroker.storage.filesystem import Buffer, File

SECTOR_BYTES = 512


class PowerCut(BaseException):
    """The power is gone. Not an Exception: nobody may catch it."""


@attrs.frozen
class Write:
    """Bytes that are not on the platter yet."""

    position: int
    data: bytes

    def apply(self, content: bytearray) -> None:
        """Put them there."""
        if len(content) < self.position:
            content.extend(bytes(self.position - len(content)))
        content[self.position : self.position + len(self.data)] = self.data


@attrs.frozen
class Truncate:
    """A change of size that is not on the platter yet."""

    size: int

    def apply(self, content: bytearray) -> None:
        """Do it."""
        del content[self.size :]
        content.extend(bytes(self.size - len(content)))


@attrs.define(eq=False, repr=False)
class Inode:
    """A file: what everybody sees, and what is on the platter."""

    durable: bytes = b""
    pending: list[Write | Truncate] = attrs.field(factory=list)
    _content: bytearray | None = None
    """None as long as it is what is on the platter: most of the files of most disks are never changed."""

    @property
    def content(self) -> bytearray:
        """What everybody sees, to be changed in place."""
        if self._content is None:
            self._content = bytearray(self.durable)
        return self._content

    @property
    def seen(self) -> bytes | bytearray:
        """The same for readers."""
        return self.durable if self._content is None else self._content

    def sync(self) -> None:
        """Bring what is pending to the platter."""
        if self.pending:
            durable = bytearray(self.durable)
            for change in self.pending:
                change.apply(durable)
            self.durable = bytes(durable)
            self.pending.clear()

    def twin(self) -> "Inode":
        """The same file in other memory."""
        return Inode(self.durable, self.pending.copy(), None if self._content is None else self._content.copy())


@attrs.define(eq=False, repr=False)
class Directory:
    """Names, seen and durable. A pending change sets and removes names atomically."""

    entries: "dict[str, Node]" = attrs.field(factory=dict)
    durable: "dict[str, Node]" = attrs.field(factory=dict)
    pending: "list[dict[str, Node | None]]" = attrs.field(factory=list)

    def change(self, names: "dict[str, Node | None]") -> None:
        """Set names, or remove them where the node is None."""
        _apply_names(self.entries, names)
        self.pending.append(names)

    def sync(self) -> None:
        """Make all names durable."""
        for names in self.pending:
            _apply_names(self.durable, names)
        self.pending.clear()


Node = Inode | Directory


def _apply_names(entries: dict[str, Node], names: dict[str, Node | None]) -> None:
    for name, node in names.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


@attrs.define(eq=False, repr=False)
class SimulatedFile:
    """An open file of a SimulatedDisk."""

    path: str
    disk: "SimulatedDisk"
    inode: Inode
    _sync_failure: str | None = None

    def pread(self, size: int, position: int) -> bytes:
        """See File."""
        self.disk.call("read", self.path)
        return bytes(self.inode.seen[position : position + size])

    def pwrite(self, data: Buffer, position: int) -> None:
        """See File. A failing write gets half of its bytes into the file."""
        data = bytes(data)
        try:
            self.disk.step("write", self.path)
            self.disk.use_space(max(0, position + len(data) - len(self.inode.seen)), self.path)
        except StorageError:
            self._write(data[: len(data) // 2], position)
            raise
        self._write(data, position)

    def _write(self, data: bytes, position: int) -> None:
        self._change(Write(position, data))

    def _change(self, change: Write | Truncate) -> None:
        change.apply(self.inode.content)
        self.inode.pending.append(change)

    def truncate(self, size: int) -> None:
        """See File."""
        self.disk.step("truncate", self.path)
        self._change(Truncate(size))

    def size(self) -> int:
        """See File."""
        return len(self.inode.seen)

    def sync_data(self) -> None:
        """See File."""
        if self._sync_failure is not None:
            raise SyncFailed(self._sync_failure)
        try:
            self.disk.step("sync", self.path)
        except StorageError as error:
            self.inode.pending.clear()
            self._sync_failure = str(error)
            raise SyncFailed(str(error)) from error
        self.inode.sync()

    def is_cached(self, position: int, size: int) -> bool:
        """See File."""
        return True

    def fileno(self) -> int:
        """There is none: read instead of sending from a descriptor."""
        raise StorageError("a simulated file has no descriptor")


@attrs.define(eq=False, repr=False)
class SimulatedDisk:
    """A FileSystem. Paths are absolute; the root is an empty directory at first."""

    root: Directory = attrs.field(factory=Directory)
    steps: int = 0
    """How many changing calls there were."""
    cut_at: int | None = None
    """The power is cut instead of this step, counted from 0."""
    failures: dict[int, int] = attrs.field(factory=dict)
    """Step -> error number."""
    free: int | None = None
    """Bytes that can still be written, if that is limited."""
    now_ms: int = 0
    must_be_mounted_anew: bool = False
    """A sync of names has failed."""
    calls: int = 0
    """The same with those that open a file or read from one."""
    failing_calls: Mapping[int, str] = attrs.field(factory=dict)
    """Number of a call -> an action ("open", "read", "stat", "unlink"): the first one from then on fails."""
    failed_calls: set[int] = attrs.field(factory=set)
    """Those of them that have."""
    on_step: Callable[[str, str], None] | None = None
    """Called with (action, path) before each changing call."""
    _locks: set[str] = attrs.field(factory=set)
    _found: dict[str, Directory] = attrs.field(factory=dict)
    """Directories by path, as long as none is renamed or removed."""

    # -- Faults

    def step(self, action: str, path: str) -> None:
        """Count a changing call; fail or cut the power if it is its turn."""
        number, self.steps = self.steps, self.steps + 1
        if self.on_step is not None:
            self.on_step(action, path)
        if number == self.cut_at:
            raise PowerCut(f"before step {number}: {action} {path}")
        if number in self.failures:
            code = self.failures[number]
            raise storage_error(OSError(code, os.strerror(code)), action, path)
        self.call(action, path)

    def call(self, action: str, path: str) -> None:
        """Count a call that may fail; let it fail if it is its turn: no descriptor is left, or a block is bad."""
        self.calls += 1
        for number, kind in self.failing_calls.items():
            if kind == action and number < self.calls and number not in self.failed_calls:
                self.failed_calls.add(number)
                code = errno.EMFILE if action == "open" else errno.EIO
                raise storage_error(OSError(code, os.strerror(code)), action, path)

    def use_space(self, size: int, path: str) -> None:
        """Take bytes from the free space."""
        if self.free is None:
            return
        if size > self.free:
            raise storage_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "write", path)
        self.free -= size

    def restarted(self) -> "SimulatedDisk":
        """The same disk for a new process: nothing is open or locked, the cache is still there."""
        return SimulatedDisk(self.root, now_ms=self.now_ms)

    # -- FileSystem

    def open(self, path: str, *, create: bool = False) -> SimulatedFile:
        """See FileSystem."""
        parent, name = self._parent(path)
        node = parent.entries.get(name)
        if node is not None or create:
            self.call("open", path)
        if node is None and create:
            self.step("create", path)
            node = Inode()
            parent.change({name: node})
        if not isinstance(node, Inode):
            raise MissingFile(f"cannot open {path}")
        return SimulatedFile(path, self, node)

    def open_shared(self, path: str) -> SimulatedFile:
        """See FileSystem."""
        return self.open(path)

    def read(self, path: str) -> bytes:
        """See FileSystem."""
        file = self.open(path)
        self.call("read", path)
        return bytes(file.inode.seen)

    def list_sizes(self, path: str) -> dict[str, int]:
        """See FileSystem."""
        entries = self._directory(path).entries
        return {name: len(node.seen) for name, node in entries.items() if isinstance(node, Inode)}

    def list_directories(self, path: str) -> list[str]:
        """See FileSystem."""
        return sorted(name for name, node in self._directory(path).entries.items() if isinstance(node, Directory))

    def exists(self, path: str) -> bool:
        """See FileSystem."""
        self.call("stat", path)
        return self._find(path) is not None

    def modified_ms(self, path: str) -> int:
        """See FileSystem."""
        self.open(path)
        return self.now_ms

    def rename(self, old: str, new: str) -> None:
        """See FileSystem; within one directory only. Of directories only an empty one is replaced."""
        parent, name = self._parent(old)
        new_parent, new_name = self._parent(new)
        assert parent is new_parent
        node = parent.entries.get(name)
        if node is None:
            raise MissingFile(f"cannot rename {old}")
        replaced = parent.entries.get(new_name)
        if isinstance(replaced, Directory) and replaced.entries:
            raise storage_error(OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY)), "rename", old)
        self.step("rename", old)
        self._found.clear()
        parent.change({name: None, new_name: node})

    def unlink(self, path: str) -> None:
        """See FileSystem."""
        parent, name = self._parent(path)
        if name in parent.entries:
            self.step("unlink", path)
            parent.change({name: None})

    def mkdir(self, path: str) -> None:
        """See FileSystem."""
        parent, name = self._parent(path)
        if name not in parent.entries:
            self.step("mkdir", path)
            parent.change({name: Directory()})

    def rmdir(self, path: str) -> None:
        """See FileSystem."""
        parent, name = self._parent(path)
        assert not self._directory(path).entries
        self.step("rmdir", path)
        self._found.clear()
        parent.change({name: None})

    def sync_directory(self, path: str) -> None:
        """See FileSystem."""
        directory = self._directory(path)
        try:
            self.step("sync directory", path)
        except StorageError as error:
            directory.pending.clear()
            self.must_be_mounted_anew = True
            raise SyncFailed(str(error)) from error
        directory.sync()

    @property
    def can_sync_all(self) -> bool:
        """See FileSystem."""
        return True

    def sync_all(self, path: str) -> None:
        """See FileSystem."""
        nodes = list(_all_nodes(self.root))
        try:
            self.step("sync all", path)
        except StorageError as error:
            for node in nodes:
                node.pending.clear()
            self.must_be_mounted_anew = True
            raise SyncFailed(str(error)) from error
        for node in nodes:
            node.sync()

    def free_bytes(self, path: str) -> int:
        """See FileSystem."""
        return 2**40 if self.free is None else self.free

    def total_bytes(self, path: str) -> int:
        """See FileSystem."""
        return 2**40

    def lock(self, path: str) -> object:
        """See FileSystem. Held until the process ends (`restarted`)."""
        if path in self._locks:
            raise DirectoryInUse(f"{path} is locked")
        self._locks.add(path)
        return self.open(path, create=True)

    def _find(self, path: str) -> Node | None:
        node: Node | None = self.root
        for part in path.split("/"):
            if part:
                node = node.entries.get(part) if isinstance(node, Directory) else None
        return node

    def _directory(self, path: str) -> Directory:
        found = self._found.get(path)
        if found is None:
            node = self._find(path)
            if not isinstance(node, Directory):
                raise MissingFile(f"no directory {path}")
            found = self._found[path] = node
        return found

    def _parent(self, path: str) -> tuple[Directory, str]:
        parent, _, name = path.rpartition("/")
        return self._directory(parent), name


def _all_nodes(directory: Directory) -> Iterator[Node]:
    yield directory
    for node in {**directory.entries, **directory.durable}.values():
        if isinstance(node, Directory):
            yield from _all_nodes(node)
        else:
            yield node


# -- After a power cut


@attrs.define
class Survival:
    """Decides what of the pending changes is on the platter; `survivor` builds the disk that is left."""

    keep: Callable[[], bool]
    """Whether one pending change made it, asked in the order of the changes."""
    tear: Callable[[bytes], list[tuple[int, bytes]]]
    """The pieces (position, bytes) of a write that made it."""
    grow: Callable[[int], bytes]
    """What is in a range of so many bytes by which a file grew without its data."""
    _seen: dict[int, Node] = attrs.field(factory=dict)

    def survivor(self, disk: SimulatedDisk) -> SimulatedDisk:
        """The disk after the power cut. The old one is left as it is."""
        root = self._node(disk.root)
        assert isinstance(root, Directory)
        return SimulatedDisk(root, now_ms=disk.now_ms)

    def _node(self, node: Node) -> Node:
        if id(node) not in self._seen:
            self._seen[id(node)] = self._inode(node) if isinstance(node, Inode) else self._directory(node)
        return self._seen[id(node)]

    def _directory(self, directory: Directory) -> Directory:
        entries = dict(directory.durable)
        for names in directory.pending:
            if self.keep():
                _apply_names(entries, names)
        entries = {name: self._node(node) for name, node in entries.items()}
        return Directory(dict(entries), entries)

    def _inode(self, inode: Inode) -> Inode:
        if not inode.pending:
            return Inode(inode.durable)
        content = bytearray(inode.durable)
        for change in inode.pending:
            if isinstance(change, Truncate):
                if self.keep():
                    change.apply(content)
                continue
            pieces = self.tear(change.data) if self.keep() else []
            end = change.position + len(change.data)
            if len(content) < end and (pieces or self.keep()):
                content += self.grow(end - len(content))
            for position, data in pieces:
                Write(change.position + position, data).apply(content)
        return Inode(bytes(content))


def clone(disk: SimulatedDisk) -> SimulatedDisk:
    """The same names and contents, pending changes included, in other memory."""
    seen: dict[int, Node] = {}

    def names(entries: Mapping[str, Node]) -> dict[str, Node]:
        return {name: copy(node) for name, node in entries.items()}

    def copy(node: Node) -> Node:
        twin = seen.get(id(node))
        if twin is None:
            twin = seen[id(node)] = node.twin() if isinstance(node, Inode) else Directory()
            if isinstance(node, Directory) and isinstance(twin, Directory):
                twin.entries, twin.durable = names(node.entries), names(node.durable)
                twin.pending = [
                    {name: entry and copy(entry) for name, entry in change.items()} for change in node.pending
                ]
        return twin

    root = copy(disk.root)
    assert isinstance(root, Directory)
    return SimulatedDisk(root, now_ms=disk.now_ms)


def only_synced(disk: SimulatedDisk) -> SimulatedDisk:
    """Nothing pending made it."""
    return Survival(lambda: False, lambda data: [], bytes).survivor(disk)


def everything(disk: SimulatedDisk) -> SimulatedDisk:
    """All of it did."""
    return Survival(lambda: True, lambda data: [(0, data)], bytes).survivor(disk)


def all_but_one(disk: SimulatedDisk, missing: int) -> SimulatedDisk:
    """Every pending change made it, except one."""
    numbers = iter(range(1_000_000))
    return Survival(lambda: next(numbers) != missing, lambda data: [(0, data)], bytes).survivor(disk)


def random_survivor(disk: SimulatedDisk, rng: random.Random) -> SimulatedDisk:
    """Any subset, with torn writes, and garbage or zeros in what grew."""
    share = rng.choice((0.1, 0.5, 0.9))

    def tear(data: bytes) -> list[tuple[int, bytes]]:
        kind = rng.random()
        if kind < 0.5:
            return [(0, data)]
        if kind < 0.75:
            return [(0, data[: rng.randrange(len(data) + 1)])]
        sectors = range(0, len(data), SECTOR_BYTES)
        return [(at, data[at : at + SECTOR_BYTES]) for at in sectors if rng.random() < 0.5]

    def grow(size: int) -> bytes:
        return bytes(size) if rng.random() < 0.5 else rng.randbytes(size)

    return Survival(lambda: rng.random() < share, tear, grow).survivor(disk)


def survivors(disk: SimulatedDisk, rng: random.Random) -> SimulatedDisk:
    """One of the disks that a power cut could leave."""
    kind = rng.randrange(6)
    if kind == 0:
        return only_synced(disk)
    if kind == 1:
        return everything(disk)
    if kind == 2:
        return all_but_one(disk, rng.randrange(12))
    return random_survivor(disk, rng)


def as_file(file: SimulatedFile) -> File:
    """Hold the class to the protocol it stands in for."""
    return file
