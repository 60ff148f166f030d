"""Lives of a whole broker: its real code over a simulated disk, with clients in memory, a virtual clock, and one seed.

A life is one Trio run: the broker starts, clients do what they like, and it ends by a power cut before a random step of
the disk (in a recovery, in the middle of a flush round, of a compaction, of a checkpoint), by a kill that leaves the page
cache, or in an orderly way. Clients outlive it: what they were not told, they ask the next one.

After each power cut several of the disks that it may have left are examined: a fresh process recovers each, perhaps
with the power cut again in the middle, and the history is checked against what is there. On one of them life goes on.
The same seed gives the same trace: `Lives(seed).run(LIVES)` is all it takes to see a failure again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock
from uuid import UUID

import attrs
import trio
import trio.testing
from trio._core import _run

from minibroker.config.load import structure
from minibroker.config.settings import BrokerSettings
from minibroker.server.broker import serve
from minibroker.storage.errors import StorageError
from minibroker.storage.filesystem import FileSystem
from minibroker.storage.log import FlushPoint
from minibroker.topics.clock import Clock
from tests.simulation.clients import Administrator, Consumer, IdempotentProducer, PlainProducer
from tests.simulation.disk import Directory, Inode, Node, PowerCut, SimulatedDisk, survivors
from tests.simulation.history import Anomaly, Place
from tests.simulation.inspection import open_disk, scan
from tests.simulation.members import Committer
from tests.simulation.world import Client, World

SETTINGS = {
    "log.dirs": "/data",
    "offsets.topic.num.partitions": "2",
    "offsets.topic.segment.bytes": "1024",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    "log.segment.bytes": "1024",
    "log.index.interval.bytes": "200",
    "log.retention.check.interval.ms": "40",
    "log.flush.offset.checkpoint.interval.ms": "30",
    "log.cleaner.backoff.ms": "50",
    "log.cleaner.min.cleanable.ratio": "0.1",
    "num.partitions": "1",
    "queued.max.requests": "20",
}
STABLE: Sequence[tuple[str, int, dict[str, str]]] = (
    ("a", 2, {}),
    ("d", 1, {}),
    ("c", 1, {"cleanup.policy": "compact"}),
)
PLAIN_PLACES: list[Place] = [("a", 0), ("a", 1), ("d", 0)]
COMPACTED: Place = ("c", 0)


@attrs.define(eq=False)
class MainsDisk(SimulatedDisk):
    """A simulated disk that stays off once the power was cut."""

    is_off: bool = False

    def step(self, action: str, path: str) -> None:
        """See SimulatedDisk."""
        if self.is_off:
            raise PowerCut("the power is off")
        try:
            super().step(action, path)
        except PowerCut:
            self.is_off = True
            raise

    @classmethod
    def of(cls, disk: SimulatedDisk) -> MainsDisk:
        """The same platter with the power on."""
        return cls(disk.root, now_ms=disk.now_ms)


@attrs.define(eq=False)
class SlowSyncer:
    """A Syncer that takes its time between one file and the next, so that appends go on while a round runs."""

    fs: FileSystem
    rng: random.Random

    def try_sync_now(self, points: Sequence[FlushPoint]) -> bool:
        """See Syncer: sometimes the disk is quick."""
        if self.rng.random() < 0.8:
            return False
        for file in dict.fromkeys(file for point in points for file in point.files):
            file.sync_data()
        for directory in dict.fromkeys(directory for point in points for directory in point.directories):
            self.fs.sync_directory(directory)
        return True

    async def sync(self, points: Sequence[FlushPoint]) -> None:
        """See Syncer."""
        for file in dict.fromkeys(file for point in points for file in point.files):
            await self._pause()
            file.sync_data()
        for directory in dict.fromkeys(directory for point in points for directory in point.directories):
            await self._pause()
            self.fs.sync_directory(directory)
        await self._pause()

    async def _pause(self) -> None:
        await trio.sleep(self.rng.choice((0, 0, 0.001, 0.004)))

    def close(self) -> None:
        """See Syncer."""


@attrs.define(eq=False)
class Lives:
    """One simulation. `run` raises AssertionError with what was broken."""

    seed: int
    settings: BrokerSettings = attrs.field(factory=lambda: structure(SETTINGS))
    examined_per_cut: int = 8
    steps_per_life: int = 200
    seconds: Sequence[float] = (0.05, 0.3, 1.0)
    """How long a life may last that nothing cuts short."""
    steps_clock: bool = False
    """Whether the wall clock is set wrong and right again, and the machine suspended, in each life."""
    failures: dict[int, int] = attrs.field(factory=dict)
    """Step of the next life's disk -> the error number that it fails with."""
    rng: random.Random = attrs.field(init=False)
    world: World = attrs.field(init=False)
    clients: list[Client] = attrs.field(init=False)
    disk: MainsDisk = attrs.field(factory=MainsDisk)
    cuts: int = 0
    """Disks that a power cut left, or a kill, and that were recovered and checked."""
    _clock: trio.testing.MockClock | None = None
    _wrong_by_ms: int = 0

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.world = World(random.Random(self.rng.getrandbits(32)), has_power=lambda: not self.disk.is_off)
        self.world.history.place(COMPACTED).compacted = True
        world = self.world
        self.clients = [
            IdempotentProducer(world, "producer1", PLAIN_PLACES),
            IdempotentProducer(world, "producer2", PLAIN_PLACES[:1]),
            IdempotentProducer(world, "producer3", [COMPACTED], keyed=True),
            PlainProducer(world, "producer4", PLAIN_PLACES),
            Consumer(world, "consumer1", dict.fromkeys([*PLAIN_PLACES, COMPACTED], 0)),
            Consumer(world, "consumer2", dict.fromkeys(PLAIN_PLACES[:2], 0)),
            Committer(world, "member1", "group", ("a", 0), is_member=True),
            Committer(world, "member2", "group", ("a", 1), is_member=True),
            Committer(world, "committer", "alone", ("a", 0), is_member=False),
            Administrator(world, "admin", ("d", 0)),
        ]

    def run(self, lives: int) -> None:
        """Live, die, be examined, `lives` times."""
        # Small blocks of producer ids, so that they are often reserved.
        with one_thread(), quiet(), mock.patch("minibroker.topics.producer_ids.BLOCK", 2):
            try:
                self._prepare()
                for _ in range(lives):
                    self.live()
                    self.end()
            except (Exception, BaseExceptionGroup) as error:
                causes = ", ".join(repr(leaf) for leaf in leaves(error) if not isinstance(leaf, PowerCut))
                raise AssertionError(f"seed {self.seed}: {causes}") from error

    def _prepare(self) -> None:
        data = open_disk(self.disk, self.settings, self.world.now_ms_of_life(0))
        for name, partitions, configs in STABLE:
            data.catalog.create_topic(name, partitions, configs)
            self.world.history.expect_topic(name, True)
        for log in data.logs():
            log.flush()
        self.disk = MainsDisk.of(self.disk.restarted())

    # -- one life

    def live(self) -> None:
        """Run a broker and its clients until something ends it."""
        self._wrong_by_ms = 0
        clock = self._clock = trio.testing.MockClock(autojump_threshold=0)
        self.disk.cut_at = self.rng.randrange(1, self.steps_per_life)
        self.disk.failures, self.failures = self.failures, {}
        self.world.storage_may_fail = bool(self.disk.failures)
        if self.world.storage_may_fail:
            self.disk.cut_at = None
        _run._r = random.Random(self.rng.getrandbits(32))
        with mock.patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True):
            try:
                trio.run(self._live, clock=clock)
            except BaseException as error:
                if not all(self._may_end(leaf) for leaf in leaves(error)):
                    raise

    def _may_end(self, error: BaseException) -> bool:
        """Whether a broker may end with this: a disk that fails can no longer be trusted."""
        return isinstance(error, PowerCut) or (self.world.storage_may_fail and isinstance(error, StorageError))

    async def _live(self) -> None:
        ids = random.Random(self.rng.getrandbits(32))

        def new_id() -> UUID:
            return UUID(int=ids.getrandbits(128))

        with mock.patch("minibroker.handlers.join_group.uuid4", new_id):
            async with trio.open_nursery() as nursery:
                self.world.broker = None
                self.world.broker = await nursery.start(self._serve, new_id)
                self.world.nursery = nursery
                for client in self.clients:
                    nursery.start_soon(client.run)
                if self.steps_clock:
                    await self._step_clock()
                await trio.sleep(self.rng.choice(self.seconds))
                if self.rng.random() < 0.5:
                    running, self.world.broker = self.world.broker, None
                    assert running is not None
                    running.stop()
                    await trio.sleep(60)
                nursery.cancel_scope.cancel()

    async def _step_clock(self) -> None:
        """The broker's date is wrong for a while; then the machine sleeps, perhaps beyond any session timeout.

        Back it goes by less than an hour: records from the far future are refused, as they should be.
        """
        step_ms = self.rng.choice((-1, -1800, 1, 3600, 86400 * 30, 86400 * 3650)) * 1000
        await trio.sleep(self.rng.random() * 0.1)
        self._wrong_by_ms = step_ms
        await trio.sleep(self.rng.random() * 0.3)
        self._wrong_by_ms = 0
        assert self._clock is not None
        self._clock.jump(self.rng.choice((0, 5, 60, 3600)))

    async def _serve(self, new_id: Any, *, task_status: Any) -> None:
        await serve(
            self.settings,
            fs=self.disk,
            clock=Clock(now_ms=lambda: self.world.now_ms() + self._wrong_by_ms),
            syncer=SlowSyncer(self.disk, random.Random(self.rng.getrandbits(32))),
            bind=lambda wanted, told: [],
            new_id=new_id,
            task_status=task_status,
        )

    # -- between lives

    def end(self) -> None:
        """Examine what may be left, and choose where to go on."""
        self.world.wall_offset_ms += 10_000
        self.world.trace_between_lives(self.disk.steps, self.disk.is_off)
        is_cut = self.disk.is_off or self.world.storage_may_fail
        if not is_cut:
            left = [self.disk.restarted()]
        else:
            left = [survivors(self.disk, self.rng) for _ in range(self.examined_per_cut)]
        for disk in left:
            self.examine(disk)
        self.disk = MainsDisk.of(survivors(left[-1], self.rng) if is_cut else left[-1].restarted())

    def examine(self, disk: SimulatedDisk) -> None:
        """Recover a copy, perhaps with more power cuts on the way, and hold what is there against the history."""
        copy = clone(disk)
        while True:
            self.cuts += 1
            copy = MainsDisk.of(copy)
            copy.cut_at = self.rng.randrange(1, 40) if self.rng.random() < 0.3 else None
            try:
                found = scan(open_disk(copy, self.settings, self.world.now_ms_of_life(0)))
            except PowerCut:
                copy = survivors(copy, self.rng)
                continue
            break
        anomalies = self.world.history.check(found)
        assert not anomalies, describe(anomalies)


def describe(anomalies: Sequence[Anomaly]) -> str:
    """The first few."""
    return "; ".join(f"{anomaly.kind}: {anomaly.detail}" for anomaly in anomalies[:5])


def clone(disk: SimulatedDisk) -> SimulatedDisk:
    """The same names and contents, pending changes included, in other memory."""
    seen: dict[int, Node] = {}

    def copy(node: Node) -> Node:
        if id(node) not in seen:
            if isinstance(node, Inode):
                seen[id(node)] = Inode(bytearray(node.content), bytearray(node.durable), list(node.pending))
            else:
                twin = seen[id(node)] = Directory()
                twin.entries = {name: copy(entry) for name, entry in node.entries.items()}
                twin.durable = {name: copy(entry) for name, entry in node.durable.items()}
                twin.pending = [
                    {name: entry and copy(entry) for name, entry in names.items()} for names in node.pending
                ]
        return seen[id(node)]

    root = copy(disk.root)
    assert isinstance(root, Directory)
    return SimulatedDisk(root, now_ms=disk.now_ms)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, or the one that is none."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


async def _run_inline(call: Any, *arguments: Any, **options: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return call(*arguments)


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever the broker gives to worker threads runs in its own: threads have no seed."""
    with mock.patch.object(trio.to_thread, "run_sync", _run_inline):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Do not log: a hundred recoveries say a lot."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
