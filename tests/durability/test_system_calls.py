"""kill -9 of a real broker at every system call that changes something: before it, after it, in the middle of a write.

The scripted life has three phases, each from one start of a broker to its end. A case is one call of one phase: a broker
that kills itself there lives on what the phase before has left; another takes over on the same directory, and the script
goes on with the step that was interrupted. In the end everything is read from the files and held against what the client
was told.

The default run takes a sample, chosen anew each time; `python -m tests.soak syscalls` takes them all.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from tests.durability.killed_broker import Call
from tests.durability.process import BrokerProcess
from tests.durability.scripted_life import LOST, PHASES, SETTINGS, Client, Phase
from tests.durability.verdict import judge, read_directory

SAMPLE = 0.05
BLOCK = 40
"""Cases that a unit of the long run takes."""
CHANGES = {"write", "fdatasync", "fsync", "syncfs", "create", "rename", "mkdir", "truncate", "unlink", "rmdir"}
"""What the script has to bring about."""


@attrs.frozen
class Case:
    """Where one broker dies."""

    phase: int
    number: int
    when: str
    call: Call

    def __str__(self) -> str:
        action, path = self.call
        return f"{self.when} the {action} of {Path(path).name}, call {self.number} of {PHASES[self.phase].name!r}"


@attrs.define(eq=False)
class Script:
    """What each phase begins with, and what it calls."""

    directory: Path
    clients: list[Client] = attrs.field(factory=list)
    """As they are when a phase begins."""
    calls: list[list[Call]] = attrs.field(factory=list)

    def template(self, phase: int) -> Path:
        """The data directory when a phase begins."""
        return self.directory / f"before-{phase}"

    def prepare(self) -> None:
        """Live through it once, without any harm."""
        self.template(0).mkdir()
        client = Client()
        for number, phase in enumerate(PHASES):
            self.clients.append(client.copy())
            shutil.copytree(self.template(number), self.template(number + 1))
            self.calls.append(_live(self.template(number + 1), client, phase, None))
        judge(client.history, read_directory(self.template(len(PHASES)), SETTINGS))

    def cases(self) -> list[Case]:
        """Every call of every phase, in each way."""
        return [
            Case(phase, number, when, call)
            for phase, calls in enumerate(self.calls)
            for number, call in enumerate(calls)
            for when in (("before", "half", "after") if call[0] == "write" else ("before", "after"))
        ]

    def run(self, case: Case) -> bool:
        """Die there, go on, and be judged. Returns whether the broker got as far as that call."""
        client = self.clients[case.phase].copy()
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            directory = Path(name)
            shutil.copytree(self.template(case.phase), directory, dirs_exist_ok=True)
            calls = _live(directory, client, PHASES[case.phase], case)
            judge(client.history, read_directory(directory, SETTINGS))
        return not calls


def _live(directory: Path, client: Client, phase: Phase, case: Case | None) -> list[Call]:
    """Live through a phase, with a second broker if the first dies; what the first has called, if it does not."""
    broker = BrokerProcess(directory, SETTINGS, sync_all_files=phase.sync_all_files, syncs=False)
    steps = phase.steps()
    died = False
    try:
        if case is None:
            broker.start()
        else:
            broker.start(case.number, case.when)
        try:
            _begin(broker, client)
            while steps:
                steps[0](client, broker)
                steps.pop(0)
            calls = _end(broker, client, phase)
        except LOST:
            assert case is not None, f"the broker died by itself; see {directory}/broker.log"
            client.disconnect()
            broker.wait_killed()
            died = True
        if died:
            broker.start()
            _begin(broker, client)
            for step in steps:
                step(client, broker)
            _end(broker, client, phase)
        return [] if died else calls
    finally:
        client.disconnect()
        broker.close()


def _begin(broker: BrokerProcess, client: Client) -> None:
    broker.wait_listening()
    client.connect(broker.address)


def _end(broker: BrokerProcess, client: Client, phase: Phase) -> list[Call]:
    if phase.stops:
        client.disconnect()
        return broker.stop()
    calls = broker.calls()
    broker.kill()
    client.disconnect()
    return calls


def run_cases(script: Script, cases: list[Case], deadline: Callable[[], bool]) -> Iterator[bool]:
    """Whether the broker got there, for each case."""
    for case in cases:
        if deadline():
            return
        try:
            yield script.run(case)
        except Exception as error:
            block = script.cases().index(case) // BLOCK
            raise AssertionError(f"block {block}: killed {case}: {error!r}") from error


def test_a_kill_at_any_system_call_loses_nothing(tmp_path: Path) -> None:
    """Whatever call a broker dies at, the next one has all that was told, once, and the script goes on."""
    script = Script(tmp_path)
    script.prepare()
    assert {action for calls in script.calls for action, _ in calls} == CHANGES
    cases = script.cases()
    sample = random.sample(cases, round(len(cases) * SAMPLE))
    died = list(run_cases(script, sample, lambda: False))
    # Syncs of several files at once end in any order, so the last calls of a phase may not be reached.
    assert sum(died) >= 0.9 * len(sample)


def soak(seed: int, deadline: Callable[[], bool]) -> int:
    """A block of the cases; 0 beyond the last one."""
    with tempfile.TemporaryDirectory(prefix="minibroker-") as name:
        script = Script(Path(name))
        script.prepare()
        cases = script.cases()[seed * BLOCK : (seed + 1) * BLOCK]
        return len(list(run_cases(script, cases, deadline)))
