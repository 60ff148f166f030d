"""A log and the simplest thing that behaves like one, side by side: a list of batches and three offsets."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from minibroker.records.batch import BatchHeader, iter_batches
from minibroker.records.compression import Codec
from minibroker.storage.log import FlushPoint, Log
from minibroker.storage.log_checkpoint import NEVER_CHECKPOINTED, LogCheckpoint
from minibroker.storage.settings import LogSettings
from tests.simulation.disk import SimulatedDisk, everything, only_synced
from tests.storage.logs import NOW, PATH, TOPIC_ID, at_once, make_batch

SETTINGS = LogSettings(segment_bytes=1000, index_interval_bytes=150, retention_ms=500, retention_bytes=3000)


class LogMachine(RuleBasedStateMachine):
    """Rules are what a broker does to a log; invariants what it may rely on."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = SimulatedDisk()
        self.log = Log.create(self.disk, PATH, SETTINGS, TOPIC_ID, NOW)
        self.batches: list[tuple[BatchHeader, bytes, list[int]]] = []
        self.flushing: FlushPoint | None = None
        self.durable = 0
        self.start = 0
        self.saved: LogCheckpoint = NEVER_CHECKPOINTED

    @property
    def end(self) -> int:
        return self.batches[-1][0].next_offset if self.batches else 0

    @rule(
        sizes=st.integers(0, 300),
        timestamps=st.lists(st.integers(0, 1000), min_size=1, max_size=4),
        codec=st.sampled_from(Codec),
    )
    def append(self, sizes: int, timestamps: list[int], codec: Codec) -> None:
        times = [NOW + delta for delta in timestamps]
        batch, header = make_batch(self.end, size=sizes, timestamps=times, codec=codec)
        self.log.append(batch, header, NOW)
        self.batches.append((header, bytes(batch), times))

    @rule()
    def roll(self) -> None:
        self.log.roll(NOW)

    @rule()
    @precondition(lambda self: self.flushing is None)
    def begin_flush(self) -> None:
        self.flushing = self.log.begin_flush()

    @rule()
    @precondition(lambda self: self.flushing is not None)
    def complete_flush(self) -> None:
        assert self.flushing is not None
        for file in self.flushing.files:
            file.sync_data()
        for directory in self.flushing.directories:
            self.disk.sync_directory(directory)
        self.log.complete_flush(self.flushing)
        self.durable, self.flushing = self.flushing.end_offset, None

    @rule()
    def checkpoint(self) -> None:
        state = self.log.begin_checkpoint()
        if state is not None:
            self.saved = LogCheckpoint.decode(state.encode())
            assert self.saved == state or self.saved.encode() == state.encode()
            self.log.complete_checkpoint(state)

    @rule(share=st.floats(0, 1))
    def delete_records(self, share: float) -> None:
        offset = self.start + int((self.durable - self.start) * share)
        self.log.advance_log_start(offset)
        self.start = offset

    @rule(later=st.integers(0, 2000))
    def retain(self, later: int) -> None:
        self.log.delete_old_segments(NOW + later)
        assert self.start <= self.log.log_start_offset <= self.durable
        self.start = self.log.log_start_offset

    @rule(power_cut=st.booleans())
    def restart(self, power_cut: bool) -> None:
        """The log start of the checkpoint holds, and everything durable is there; without a power cut, everything is."""
        self.disk = only_synced(self.disk) if power_cut else everything(self.disk)
        if not self.disk.exists(PATH):
            self.__init__()  # type: ignore[misc]
            return
        self.log, _ = Log.open(self.disk, PATH, SETTINGS, self.saved, NOW, topic_id=TOPIC_ID)
        assert self.log.log_end_offset in {0, *(header.next_offset for header, _, _ in self.batches)}
        assert self.durable <= self.log.log_end_offset
        assert power_cut or self.log.log_end_offset == self.end
        assert self.saved.log_start_offset <= self.log.log_start_offset <= self.start
        self.batches = [entry for entry in self.batches if entry[0].next_offset <= self.log.log_end_offset]
        self.start, self.flushing = self.log.log_start_offset, None
        self.log.flush()
        self.durable = self.log.durable_end_offset

    @rule(share=st.floats(0, 1), max_bytes=st.integers(1, 3000), durable=st.booleans(), at_least_one=st.booleans())
    def read(self, share: float, max_bytes: int, durable: bool, at_least_one: bool) -> None:
        end = self.durable if durable else self.end
        offset = self.start + int((self.end - self.start) * share)
        part = self.log.read(offset, max_bytes, end, min_one_batch=at_least_one)
        if part is not None and not part.checked:
            self.log.finish_check(part, part.find_damage())
            part = self.log.read(offset, max_bytes, end, min_one_batch=at_least_one)
            assert part is not None
            assert part.checked
        expected = [
            batch for header, batch, _ in self.batches if header.next_offset > offset and header.next_offset <= end
        ]
        found = [bytes(batch) for _, batch in iter_batches(part.read())] if part is not None else []
        assert found == expected[: len(found)]
        assert found or not expected or (not at_least_one and len(expected[0]) > max_bytes)
        if len(found) > 1:
            assert sum(map(len, found)) <= max_bytes

    @rule(after=st.integers(-1, 1001), durable=st.booleans())
    def look_up_a_time(self, after: int, durable: bool) -> None:
        end = self.durable if durable else self.end
        times = [
            (header.base_offset + delta, timestamp)
            for header, _, timestamps in self.batches
            if header.next_offset <= end
            for delta, timestamp in enumerate(timestamps)
            if header.base_offset + delta >= self.start
        ]
        later = [found for found in times if found[1] >= NOW + after]
        assert at_once(self.log.offset_for_timestamp(NOW + after, end)) == (later[0] if later else None)
        newest = max(times, key=lambda found: found[1], default=None)
        assert at_once(self.log.offset_of_max_timestamp(end)) == newest

    @rule()
    def forget_what_is_loaded(self) -> None:
        self.log.release_idle()

    @invariant()
    def offsets_agree(self) -> None:
        assert self.log.log_end_offset == self.end
        assert self.log.durable_end_offset == self.durable
        assert self.log.log_start_offset == self.start
        assert not self.log.damaged
        assert [segment.base_offset for segment in self.log.segments] == sorted(
            {segment.base_offset for segment in self.log.segments}
        )

    def teardown(self) -> None:
        expected = [(header, batch) for header, batch, _ in self.batches if header.next_offset > self.start]
        assert [(header, bytes(batch)) for header, batch in self.log.read_batches(self.start, self.end)] == expected


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_long_life() -> None:
    """The same rules in one long, seeded sequence, so that logs grow beyond what the search tries."""
    rng = random.Random(7)
    machine = LogMachine()
    for _ in range(1500):
        kind = rng.randrange(12)
        if kind < 6:
            machine.append(rng.randrange(300), [rng.randrange(1000) for _ in range(rng.randint(1, 4))], Codec.NONE)
        elif kind == 6:
            if machine.flushing is None:
                machine.begin_flush()
            if machine.flushing is not None:
                machine.complete_flush()
        elif kind == 7:
            machine.read(rng.random(), rng.randrange(1, 3000), rng.random() < 0.5, True)
        elif kind == 8:
            machine.look_up_a_time(rng.randrange(1000), rng.random() < 0.5)
        elif kind == 9:
            machine.checkpoint()
        elif kind == 10 and rng.random() < 0.1:
            machine.restart(power_cut=rng.random() < 0.5)
        elif kind == 11 and rng.random() < 0.1:
            machine.retain(rng.randrange(1000))
        machine.offsets_agree()
    machine.teardown()
