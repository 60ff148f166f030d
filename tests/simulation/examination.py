"""Many disks that power cuts may leave: each is recovered by a fresh process and held against what had been told.

A `Moment` is a disk before one of its steps, together with the history up to then. From it come the disks that a power
cut at this moment could leave, and the one that a kill leaves, with all that is in the page cache. A recovery changes
the disk too, so each of its steps is a moment of its own, from which more disks come: nested power cuts, to any depth.
Once a recovery is through, what it found is served: a cut after that may take none of it away.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import attrs
import trio

from minibroker.config.settings import BrokerSettings
from tests.simulation.disk import SimulatedDisk, clone, survivors
from tests.simulation.history import Anomaly, History, Scan
from tests.simulation.inspection import read_all, recover

NESTED = 0.5
"""How likely it is that one step of a recovery is examined, too. With the next, less than one: it comes to an end."""
RECOVERY_STEPS = 40
"""Out of how many that one is chosen; few recoveries have more."""
AFTERWARDS = 0.1
"""How likely it is that the power is cut after a recovery, before anything else happens."""


@attrs.frozen(kw_only=True, repr=False)
class Remains:
    """A disk that was left, to be examined. It is changed by that."""

    disk: SimulatedDisk
    history: History
    now_ms: int
    where: str
    was_cut: bool = True
    """False after a kill."""


@attrs.define(eq=False, repr=False)
class Examiner:
    """Examines what is left, and what is left of that. `examine` raises AssertionError with what was broken."""

    settings: BrokerSettings
    rng: random.Random
    cuts: int = 0
    """Disks that a power cut left and that were recovered and checked."""
    nested: int = 0
    """How many of these cuts came in a recovery, or after it."""
    kills: int = 0
    """The same after a kill."""
    _waiting: list[Remains] = attrs.field(factory=list)

    def after_cut(self, disk: SimulatedDisk, history: History, now_ms: int, where: str, count: int = 1) -> None:
        """Note some of the disks that a power cut could leave now."""
        for _ in range(count):
            left = survivors(disk, self.rng)
            self._waiting.append(Remains(disk=left, history=history, now_ms=now_ms, where=where))

    def after_kill(self, disk: SimulatedDisk, history: History, now_ms: int, where: str) -> None:
        """Note the disk, with its cache, that the end of the process would leave now."""
        remains = Remains(disk=clone(disk), history=history, now_ms=now_ms, where=where, was_cut=False)
        self._waiting.append(remains)

    def examine(self) -> None:
        """Everything that was noted, and what comes of it."""
        trio.run(self._examine_all)

    async def _examine_all(self) -> None:
        while self._waiting:
            await self._examine(self._waiting.pop())

    async def _examine(self, remains: Remains) -> None:
        if remains.was_cut:
            self.cuts += 1
        else:
            self.kills += 1
        found = await self._recover(remains)
        anomalies = remains.history.check(found)
        assert not anomalies, f"{remains.where}: {describe(anomalies)}"
        if not remains.was_cut or self.rng.random() < AFTERWARDS:
            history = remains.history.copy()
            history.witness(found)
            self.nested += 1
            self.after_cut(remains.disk, history, remains.now_ms, f"{remains.where}, then after the recovery")

    async def _recover(self, remains: Remains) -> Scan:
        """Recover, and note what a cut at some of the steps would leave."""
        disk = remains.disk
        chosen = self.rng.randrange(RECOVERY_STEPS) if self.rng.random() < NESTED else -1

        def before_step(action: str, path: str) -> None:
            if disk.steps - 1 == chosen:
                self.nested += 1
                where = f"{remains.where}, then before step {chosen} of the recovery ({action} {path})"
                self.after_cut(disk, remains.history, remains.now_ms, where)

        disk.on_step = before_step
        try:
            return await read_all(await recover(disk, self.settings, remains.now_ms))
        except Exception as error:
            raise AssertionError(f"{remains.where}: {error!r}") from error
        finally:
            disk.on_step = None


def describe(anomalies: Sequence[Anomaly]) -> str:
    """The first few."""
    return "; ".join(f"{anomaly.kind}: {anomaly.detail}" for anomaly in anomalies[:5])
