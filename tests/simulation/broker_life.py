"""Lives of a whole broker: its real code over a simulated disk, with clients in memory, a virtual clock, and one seed.

A life is one Trio run: the broker starts, clients do what they like, and it ends by a power cut before a random step of
the disk (in a recovery, in the middle of a flush round, of a compaction, of a checkpoint), by a kill that leaves the page
cache, or in an orderly way. Clients outlive it: what they were not told, they ask the next one.

Lives are dear, and the disks that a cut may leave are cheap. So before every few steps of a life it is noted what a cut
at this moment would leave, and what had been told; afterwards each of these disks is examined (`examination`). On
one of those of the last cut life goes on. The same seed gives the same trace: `Lives(seed).run(LIVES)` is all it takes to
see a failure again.
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
from minibroker.server.broker import RunningBroker, serve
from minibroker.storage.errors import StorageError
from minibroker.storage.filesystem import FileSystem
from minibroker.storage.log import FlushPoint
from minibroker.topics.clock import Clock
from minibroker.topics.syncer import InlineSyncer
from tests.simulation.clients import Administrator, Consumer, IdempotentProducer, PlainProducer
from tests.simulation.disk import PowerCut, SimulatedDisk, survivors
from tests.simulation.examination import Examiner
from tests.simulation.history import Place
from tests.simulation.inspection import open_disk
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
KILL_SHARE = 0.1
"""How often it is also examined what a kill would leave where a power cut is."""
PLAIN_PLACES: list[Place] = [("a", 0), ("a", 1), ("d", 0)]
COMPACTED: Place = ("c", 0)


@attrs.define(eq=False, repr=False)
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


@attrs.define(eq=False, repr=False)
class SlowSyncer:
    """A Syncer that takes its time between one file and the next, so that appends go on while a round runs."""

    fs: FileSystem
    rng: random.Random

    def try_sync_now(self, points: Sequence[FlushPoint]) -> bool:
        """See Syncer: sometimes the disk is quick."""
        return self.rng.random() >= 0.5 and InlineSyncer(self.fs).try_sync_now(points)

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


@attrs.define(eq=False, repr=False)
class Lives:
    """One simulation. `run` raises AssertionError with what was broken."""

    seed: int
    settings: BrokerSettings = attrs.field(factory=lambda: structure(SETTINGS))
    examined_per_cut: int = 3
    """Of the disks that a power cut could leave."""
    cut_share: float = 0.2
    """Of the steps of the disk, before how many the power is cut for those who examine, while life goes on."""
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
    failed: int = 0
    """How many of the failures have come to pass."""
    lived: int = 0
    """How many lives have begun."""
    examiner: Examiner = attrs.field(init=False)
    _chance: random.Random = attrs.field(init=False)
    """Decides what is examined: nobody's life depends on it."""
    _clock: trio.testing.MockClock | None = None
    _wrong_by_ms: int = 0

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._chance = random.Random(self.seed + 1)
        self.examiner = Examiner(self.settings, self._chance)
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
        self.lived += 1
        self.disk.on_step = self._before_step
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
                # Where the poller would run, which does this when it has nothing else to do.
                self.world.broker.connections._nursery.start_soon(self._rest, self.world.broker)
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

    async def _rest(self, running: RunningBroker) -> None:
        rng = random.Random(self.rng.getrandbits(32))
        while True:
            await trio.sleep(rng.choice((0.001, 0.005, 0.02)))
            running.services.flusher.run_round_now()

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
        where = f"life {self.lived}, at its end (step {self.disk.steps - 1})"
        now_ms, history = self.world.now_ms_of_life(0), self.world.history
        has_failed = self.world.storage_may_fail
        self.failed += sum(step < self.disk.steps for step in self.disk.failures)
        if self.disk.is_off or self.disk.must_be_mounted_anew or (has_failed and self.rng.random() < 0.5):
            self.examiner.after_cut(self.disk, history, now_ms, where, self.examined_per_cut)
            self.disk = MainsDisk.of(survivors(self.disk, self.rng))
            self.examiner.after_cut(self.disk, history, now_ms, where)
        else:
            self.examiner.after_kill(self.disk, history, now_ms, where)
            self.disk = MainsDisk.of(self.disk)
        self.examiner.examine()

    def _before_step(self, action: str, path: str) -> None:
        """Perhaps the power is cut now: note what would be left, and live on in the other world, where it is not."""
        if self._chance.random() >= self.cut_share:
            return
        where = f"life {self.lived}, before step {self.disk.steps - 1} ({action} {path})"
        now_ms, history = self.world.now_ms_of_life(10), self.world.history.copy()
        self.examiner.after_cut(self.disk, history, now_ms, where, self.examined_per_cut)
        if self._chance.random() < KILL_SHARE:
            self.examiner.after_kill(self.disk, history, now_ms, where)


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
