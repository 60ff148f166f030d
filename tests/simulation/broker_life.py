"""Lives of a whole broker: its real code over a simulated disk, with clients in memory, a virtual clock, and one seed.

A life is one Trio run: the broker starts, clients do what they like, and it ends by a power cut before a random step of
the disk (in a recovery, in the middle of a flush round, of a compaction, of a checkpoint), by a kill that leaves the page
cache, or in an orderly way. Clients outlive it: what they were not told, they ask the next one.

Lives are dear, and the disks that a cut may leave are cheap. So before every few steps of a life it is noted what a cut
at this moment would leave, and what had been told; afterwards each of these disks is examined (`examination`). On
one of those of the last cut life goes on. The same seed gives the same trace: `Lives(seed).run(LIVES)` is all it takes to
see a failure again. The seed also decides who lives with the broker: users, or somebody who changes its topics, or its
settings (`Cast`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any
from unittest import mock
from uuid import UUID

import attrs
import trio
import trio.testing

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
from tests.simulation.isolation import one_thread, quiet, seeded_members, seeded_schedule
from tests.simulation.ledgers import Keyed, Retained
from tests.simulation.members import Committer
from tests.simulation.operators import (
    SYNCED,
    Configurer,
    Grower,
    KeyedProducer,
    OffsetKeeper,
    TopicReuser,
)
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
    ("a", 2, SYNCED),
    ("d", 1, {**SYNCED, "message.timestamp.type": "LogAppendTime"}),
    ("c", 1, {"cleanup.policy": "compact"}),
)
CHANGING: Sequence[tuple[str, int, dict[str, str]]] = (
    ("k", 1, {**SYNCED, "cleanup.policy": "compact", "delete.retention.ms": "10"}),
    ("r", 1, {**SYNCED, "retention.bytes": "2000"}),
    ("s", 1, {**SYNCED, "retention.ms": "300", "message.timestamp.type": "LogAppendTime"}),
    ("lazy", 1, {}),
)
"""Those whose settings are changed."""
GROWING: Sequence[tuple[str, int, dict[str, str]]] = (("g", 1, SYNCED),)
BUSY = {
    "log.cleaner.backoff.ms": "12",
    "log.retention.check.interval.ms": "10",
    "log.flush.offset.checkpoint.interval.ms": "200",
}
"""Settings with which lives see compaction and retention, and much that no checkpoint knows, before the power is cut."""
DAY_MS = 86_400_000
CLOCK_STEPS_MS = (-30 * DAY_MS, -10 * DAY_MS, -1_800_000, -1_000, 1_000, 3_600_000, 30 * DAY_MS, 3650 * DAY_MS)
OF_WRONG_DATES = BUSY | {
    "offsets.retention.check.interval.ms": "20",
    "log.message.timestamp.after.max.ms": str(2**62),  # a date in the past makes a future of ours
}
KILL_SHARE = 0.1
"""How often it is also examined what a kill would leave where a power cut is."""
PLAIN_PLACES: list[Place] = [("a", 0), ("a", 1), ("d", 0)]
COMPACTED: Place = ("c", 0)
KEYED: Place = ("k", 0)


class Cast(StrEnum):
    """Who lives with a broker."""

    USERS = "users"
    TOPICS = "topics"
    """Topics are made again under their names, partitions are added, groups and their offsets deleted."""
    SETTINGS = "settings"
    """Settings are changed, keys deleted, and records go by themselves."""
    KEYS = "keys"
    """Batches of equal size are written and compacted, over and over."""


MORE = {Cast.TOPICS: GROWING, Cast.SETTINGS: CHANGING, Cast.KEYS: CHANGING[:1]}
CASTS = (Cast.USERS, Cast.TOPICS, Cast.USERS, Cast.SETTINGS)
"""By seed."""


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
    cast: Cast = attrs.field(default=attrs.Factory(lambda self: CASTS[self.seed % len(CASTS)], takes_self=True))
    steps_clock: bool = False
    """Whether the date is wrong at the start or set wrong, and set right again, and the machine sleeps, in each life."""
    settings: BrokerSettings = attrs.field()
    examined_per_cut: int = 3
    """Of the disks that a power cut could leave."""
    cut_share: float = attrs.field()
    """Of the steps of the disk, before how many the power is cut for those who examine, while life goes on."""
    steps_per_life: int = attrs.field()
    seconds: Sequence[float] = (0.05, 0.3, 1.0)
    """How long a life may last that nothing cuts short."""
    failures: dict[int, int] = attrs.field(factory=dict)
    """Step of the next life's disk -> the error number that it fails with."""
    failing_calls: dict[int, str] = attrs.field(factory=dict)
    """Call from which on the first of its kind fails in the next life: see SimulatedDisk."""
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
        self.world.history.forgets_groups = self.steps_clock  # in which expiry runs all the time
        casts = {
            Cast.USERS: self._users,
            Cast.TOPICS: self._topics,
            Cast.SETTINGS: self._settings,
            Cast.KEYS: self._keys,
        }
        self.clients = casts[self.cast]()

    def _users(self) -> list[Client]:
        world = self.world
        world.history.place(COMPACTED).compacted = True
        return [
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

    def _topics(self) -> list[Client]:
        world = self.world
        reuser = TopicReuser(world, "admin", ("d", 0))
        reused = [(name, 0) for name in reuser.names]
        return [
            reuser,
            IdempotentProducer(world, "producer1", PLAIN_PLACES),
            PlainProducer(world, "producer2", reused, may_be_gone=True),
            PlainProducer(world, "producer3", reused, may_be_gone=True),
            Consumer(world, "consumer1", dict.fromkeys(PLAIN_PLACES, 0)),
            Committer(world, "member1", "group", ("a", 0), is_member=True),
            Grower(world, "producer4", "g"),
            OffsetKeeper(world, "keeper1", "kept1", ("a", 0)),
            OffsetKeeper(world, "keeper2", "kept2", ("a", 0)),
        ]

    def _settings(self) -> list[Client]:
        world, history = self.world, self.world.history
        history.place(KEYED).keyed = Keyed()
        for name, retained in (("r", Retained(keeps_bytes=900)), ("s", Retained(keeps_ms=300))):
            history.place((name, 0)).retained = retained
            history.place((name, 0)).deletions = 1 << 60
        return [
            IdempotentProducer(world, "producer1", PLAIN_PLACES),
            PlainProducer(world, "producer2", [("r", 0), ("s", 0)]),
            PlainProducer(world, "producer3", [("lazy", 0)], acks=(1,)),
            KeyedProducer(world, "producer4", KEYED),
            KeyedProducer(world, "producer5", KEYED),
            Consumer(world, "consumer1", dict.fromkeys(PLAIN_PLACES, 0)),
            Committer(world, "committer", "alone", ("a", 0), is_member=False),
            Configurer(world, "configurer"),
        ]

    def _keys(self) -> list[Client]:
        world = self.world
        world.history.place(KEYED).keyed = Keyed()
        return [
            *(KeyedProducer(world, f"producer{number}", KEYED, equal=True) for number in range(5)),
            PlainProducer(world, "producer5", PLAIN_PLACES),
            Committer(world, "committer", "alone", ("a", 0), is_member=False),
            Consumer(world, "consumer1", dict.fromkeys(PLAIN_PLACES, 0)),
        ]

    @cut_share.default
    def _cut_share_of_the_cast(self) -> float:
        return 0.2 if self.cast is Cast.USERS else 0.1

    @steps_per_life.default
    def _steps_of_the_cast(self) -> int:
        return 200 if self.cast is Cast.USERS else 500

    @settings.default
    def _settings_of_the_cast(self) -> BrokerSettings:
        more = OF_WRONG_DATES if self.steps_clock else BUSY if self.cast in (Cast.SETTINGS, Cast.KEYS) else {}
        return structure(SETTINGS | more)

    def run(self, lives: int, *, is_killed: bool = False) -> None:
        """Live, die, be examined, `lives` times; the last time with power, to be killed when its time is over."""
        # Small blocks of producer ids, so that they are often reserved.
        with one_thread(), quiet(), mock.patch("minibroker.topics.producer_ids.BLOCK", 2):
            try:
                self._prepare()
                for number in range(1, lives + 1):
                    self.live(is_killed=is_killed and number == lives)
                    self.end()
            except (Exception, BaseExceptionGroup) as error:
                causes = ", ".join(repr(leaf) for leaf in leaves(error) if not isinstance(leaf, PowerCut))
                raise AssertionError(f"seed {self.seed}: {causes}") from error

    def _prepare(self) -> None:
        data = open_disk(self.disk, self.settings, self.world.now_ms_of_life(0))
        for name, partitions, configs in (*STABLE, *MORE.get(self.cast, ())):
            data.catalog.create_topic(name, partitions, configs)
            self.world.history.expect_topic(name, True)
            self.world.history.partitions[name] = partitions
        for log in data.logs():
            log.flush()
        self.disk = MainsDisk.of(self.disk.restarted())

    # -- one life

    def live(self, *, is_killed: bool = False) -> None:
        """Run a broker and its clients until something ends it."""
        self._wrong_by_ms = -30 * DAY_MS if self.steps_clock and self.rng.random() < 0.3 else 0
        self.lived += 1
        self.disk.on_step = self._before_step
        clock = self._clock = trio.testing.MockClock(autojump_threshold=0)
        self.disk.cut_at = self.rng.randrange(1, self.steps_per_life)
        self.disk.failures, self.failures = self.failures, {}
        self.disk.failing_calls, self.failing_calls = self.failing_calls, {}
        self.world.storage_may_fail = bool(self.disk.failures or self.disk.failing_calls)
        if self.world.storage_may_fail or is_killed:
            self.disk.cut_at = None
        with seeded_schedule(random.Random(self.rng.getrandbits(32))):
            try:
                trio.run(self._live, is_killed, clock=clock)
            except BaseException as error:
                if not all(self._may_end(leaf) for leaf in leaves(error)):
                    raise

    def _may_end(self, error: BaseException) -> bool:
        """Whether a broker may end with this: a disk that fails can no longer be trusted."""
        return isinstance(error, PowerCut) or (self.world.storage_may_fail and isinstance(error, StorageError))

    async def _live(self, is_killed: bool) -> None:
        ids = random.Random(self.rng.getrandbits(32))

        def new_id() -> UUID:
            return UUID(int=ids.getrandbits(128))

        with seeded_members(new_id):
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
                if not is_killed and self.rng.random() < 0.5:
                    running, self.world.broker = self.world.broker, None
                    assert running is not None
                    running.stop()
                    await trio.sleep(60)
                nursery.cancel_scope.cancel()

    async def _rest(self, running: RunningBroker) -> None:
        rng = random.Random(self.rng.getrandbits(32))
        while not running._stop.is_set():  # else the broker would wait for this, too, at its end
            await trio.sleep(rng.choice((0.001, 0.005, 0.02)))
            running.services.flusher.run_round_now()

    async def _step_clock(self) -> None:
        """The broker's date is wrong for a while; then the machine sleeps, perhaps beyond any session timeout.

        All of it takes less than a day, so that nothing is old that is kept for days.
        """
        await trio.sleep(self.rng.random() * 0.1)
        self._wrong_by_ms = self.rng.choice(CLOCK_STEPS_MS)
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
        assert self._clock is not None
        self.world.wall_offset_ms += self._clock.current_time() * 1000 + 10_000
        self.world.trace_between_lives(self.disk.steps, self.disk.is_off)
        where = f"life {self.lived}, at its end (step {self.disk.steps - 1})"
        now_ms, history = self.world.now_ms_of_life(0), self.world.history
        history.at_ms = now_ms
        has_failed = self.world.storage_may_fail
        self.failed += sum(step < self.disk.steps for step in self.disk.failures) + len(self.disk.failed_calls)
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
        now_ms = self.world.history.at_ms = self.world.now_ms()
        history = self.world.history.copy()
        self.examiner.after_cut(self.disk, history, now_ms, where, self.examined_per_cut)
        if self._chance.random() < KILL_SHARE:
            self.examiner.after_kill(self.disk, history, now_ms, where)


def lives_of_failing_calls(seed: int) -> Lives:
    """For two lives: a long one in which some calls fail that open, read, or remove a file, and what comes of it."""
    rng = random.Random(seed)
    calls = {rng.randrange(100, 2000): rng.choice(("open", "open", "read", "stat", "unlink")) for _ in range(6)}
    cast = (Cast.KEYS, Cast.SETTINGS, Cast.KEYS, Cast.TOPICS)[seed % 4]
    return Lives(seed, cast=cast, examined_per_cut=1, cut_share=0.002, seconds=(0.5,), failing_calls=calls)


def lives_of_wrong_dates(seed: int) -> Lives:
    """Lives in each of which the date is wrong, and set right again, and the machine sleeps."""
    return Lives(seed, steps_clock=True, examined_per_cut=1, cut_share=0, steps_per_life=600, seconds=(0.05,))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, or the one that is none."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
