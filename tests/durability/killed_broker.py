"""What runs in a broker's process: the real broker, told what to do over a pipe, over a file system that may kill it.

A `KilledFileSystem` is the real one. It counts the calls that change something, and at a chosen one it kills its own
process: before the call, after it, or in the middle of a write.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import attrs
import trio

from minibroker.cli.logs import set_up_logging
from minibroker.cli.serving import Stopper
from minibroker.config.load import structure
from minibroker.server.broker import RunningBroker, serve
from minibroker.server.maintenance import Maintenance
from minibroker.storage.filesystem import Buffer, OsFile, OsFileSystem
from minibroker.topics import syncer

Call = tuple[str, str]
"""What was done, to which path."""


@attrs.frozen(kw_only=True)
class Life:
    """What a broker's process is told when it begins."""

    settings: dict[str, str]
    log: str
    """A file for what it says."""
    dies_at: int | None = None
    """At which of the calls that change something, from 0 on."""
    dies: str = ""
    """before the call, after it, or half: of a write, half of the bytes are written."""
    sync_all_files: int | None = None
    """From how many dirty files on one syncfs does for all; None for the broker's own mind."""
    syncs: bool = True
    """False where nothing but kills happens, which leave the page cache: syncs are counted, and cost nothing."""


@attrs.define(eq=False)
class Trigger:
    """Counts calls, and kills at one of them. Calls come from several threads; appending to a list is atomic."""

    dies_at: int | None = None
    dies: str = ""
    syncs: bool = True
    calls: list[Call] = attrs.field(factory=list)

    @contextmanager
    def around(self, action: str, path: str) -> Iterator[bool]:
        """Make a call in this block; gives whether it shall be done by half."""
        self.calls.append((action, path))
        when = self.dies if len(self.calls) - 1 == self.dies_at else ""
        if when == "before":
            die()
        yield when == "half"
        if when:
            die()


def die() -> None:
    """`kill -9` of this process: no handler, no buffer, no `finally`."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # this thread goes no further, whichever thread the kernel ends first


@attrs.define(eq=False)
class KilledFile:
    """A file of the real file system."""

    file: OsFile
    trigger: Trigger

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def pwrite(self, data: Buffer, position: int) -> None:
        """See File."""
        with self.trigger.around("write", self.file.path) as half:
            self.file.pwrite(memoryview(data)[: len(data) // 2] if half else data, position)

    def truncate(self, size: int) -> None:
        """See File."""
        with self.trigger.around("truncate", self.file.path):
            self.file.truncate(size)

    def sync_data(self) -> None:
        """See File."""
        with self.trigger.around("fdatasync", self.file.path):
            if self.trigger.syncs:
                self.file.sync_data()


@attrs.define(eq=False)
class KilledFileSystem(OsFileSystem):
    """See the module."""

    trigger: Trigger = attrs.field(kw_only=True)

    def open(self, path: str, *, create: bool = False) -> Any:
        """See FileSystem."""
        if not create or self.exists(path):
            return KilledFile(super().open(path), self.trigger)
        with self.trigger.around("create", path):
            return KilledFile(super().open(path, create=True), self.trigger)

    def rename(self, old: str, new: str) -> None:
        """See FileSystem."""
        with self.trigger.around("rename", old):
            super().rename(old, new)

    def unlink(self, path: str) -> None:
        """See FileSystem."""
        with self.trigger.around("unlink", path):
            super().unlink(path)

    def mkdir(self, path: str) -> None:
        """See FileSystem."""
        with self.trigger.around("mkdir", path):
            super().mkdir(path)

    def rmdir(self, path: str) -> None:
        """See FileSystem."""
        with self.trigger.around("rmdir", path):
            super().rmdir(path)

    def sync_directory(self, path: str) -> None:
        """See FileSystem."""
        with self.trigger.around("fsync", path):
            if self.trigger.syncs:
                super().sync_directory(path)

    def sync_all(self, path: str) -> None:
        """See FileSystem."""
        with self.trigger.around("syncfs", path):
            if self.trigger.syncs:
                super().sync_all(path)


def live(life: Life, parent: Connection) -> None:
    """The life of the process. The parent hears None once connections are accepted, and in the end what was called."""
    descriptor = os.open(life.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    set_up_logging("info")
    if life.sync_all_files is not None:
        syncer.SYNC_ALL_FILES = life.sync_all_files
    trigger = Trigger(life.dies_at, life.dies, life.syncs)
    trio.run(_live, life.settings, parent, KilledFileSystem(trigger=trigger))
    parent.send(trigger.calls)


async def _live(settings: dict[str, str], parent: Connection, fs: KilledFileSystem) -> None:
    async with trio.open_nursery() as nursery:
        stopper = Stopper(nursery.cancel_scope)
        await nursery.start(stopper.watch_signals)
        async with trio.open_nursery() as broker_nursery:
            running = await broker_nursery.start(partial(serve, structure(settings), fs=fs))
            stopper.running = running
            parent.send(None)
            nursery.start_soon(_obey, parent, running, fs.trigger)
        nursery.cancel_scope.cancel()


async def _obey(parent: Connection, running: RunningBroker, trigger: Trigger) -> None:
    """Do what the parent asks for, one after the other, so that a script is the same each time; end when it has gone."""
    maintenance = Maintenance(running.data)
    while True:
        await trio.lowlevel.wait_readable(parent.fileno())
        try:
            wanted = parent.recv()
        except EOFError:
            die()
        if wanted == "calls":
            parent.send(trigger.calls)
        else:
            await getattr(maintenance, wanted)()
            parent.send(None)
