"""Lives of a few logs on a simulated disk, each ended by a power cut or a kill, and the law they must obey.

What is recovered is a prefix of what was appended that holds everything that was ever promised: flushed (hence
acknowledged, hence served), or recovered and flushed before. What DeleteRecords removed stays removed. Producers are
known as the log itself tells. Recovering twice gives the same.
"""

import random
import uuid

import attrs

from minibroker.records.batch import BatchHeader, assign, decode_header
from minibroker.records.builder import BatchBuilder
from minibroker.storage.directory import DataDirectory
from minibroker.storage.log import Log
from minibroker.storage.producer_state import ProducerState
from minibroker.storage.settings import LogSettings
from tests.simulation.disk import PowerCut, SimulatedDisk, survivors

NOW = 1_700_000_000_000
DATA = "/data"
SETTINGS = LogSettings(segment_bytes=900, index_interval_bytes=200)


def make_batch(
    rng: random.Random, base_offset: int, producer: tuple[int, int, int] = (-1, -1, -1)
) -> tuple[memoryview, BatchHeader]:
    """A batch of one to three records with its place in the log."""
    builder = BatchBuilder(producer_id=producer[0], producer_epoch=producer[1], base_sequence=producer[2])
    for _ in range(rng.randint(1, 3)):
        builder.append(NOW + rng.randrange(1000), None, rng.randbytes(rng.choice((0, 10, 100, 400))))
    batch = memoryview(builder.build())
    assign(batch, base_offset, 0)
    return batch, decode_header(batch)


@attrs.define(eq=False)
class Ledger:
    """What must, and what may, be in one log."""

    topic_id: uuid.UUID
    appended: list[tuple[BatchHeader, bytes]] = attrs.field(factory=list)
    promised: int = 0
    """Everything below must be there."""
    durable_start: int = 0
    """Everything below must be gone."""
    requested_start: int = 0
    """Nothing from here on may be gone."""
    is_durable: bool = False
    """Whether the directory must be there."""
    sequences: dict[int, int] = attrs.field(factory=dict)

    def check(self, log: Log) -> None:
        """Hold a recovered log to the law."""
        ends = {0, self.requested_start, *(header.next_offset for header, _ in self.appended)}
        assert log.log_end_offset in ends, (log.log_end_offset, sorted(ends))
        assert log.log_end_offset >= self.promised, (log.log_end_offset, self.promised)
        assert self.durable_start <= log.log_start_offset <= self.requested_start
        expected = [
            (header, batch)
            for header, batch in self.appended
            if header.next_offset > log.log_start_offset and header.next_offset <= log.log_end_offset
        ]
        found = [(header, bytes(batch)) for header, batch in log.read_batches(log.log_start_offset, log.log_end_offset)]
        assert found == expected
        assert not log.damaged
        self.check_producers(log)

    def check_producers(self, log: Log) -> None:
        """The state is that of a replay, but may have fewer than five batches if a crash took the last ones."""
        replayed = ProducerState()
        for header, _ in self.appended:
            if header.next_offset <= log.log_end_offset:
                replayed.update(header, NOW)
        entries = log.producer_state.entries
        assert entries.keys() == replayed.entries.keys()
        for producer_id, entry in entries.items():
            model = replayed.entries[producer_id]
            assert entry.epoch == model.epoch
            assert entry.batches
            assert entry.batches == model.batches[-len(entry.batches) :]

    def settle(self, log: Log) -> None:
        """From now on the recovered log is the truth: it was flushed, and may be served."""
        self.appended = [entry for entry in self.appended if entry[0].next_offset <= log.log_end_offset]
        self.promised = log.log_end_offset
        self.requested_start = log.log_start_offset
        self.is_durable = not log.is_unmade
        self.sequences = {
            producer_id: entry.batches[-1][1] + 1 for producer_id, entry in log.producer_state.entries.items()
        }


@attrs.define(eq=False)
class Lives:
    """One disk and what happens on it."""

    rng: random.Random
    disk: SimulatedDisk = attrs.field(factory=SimulatedDisk)
    ledgers: dict[str, Ledger] = attrs.field(factory=dict)
    logs: dict[str, Log] = attrs.field(factory=dict)
    data: DataDirectory | None = None
    cuts: int = 0

    def run(self, lives: int) -> None:
        """Live, die, recover, `lives` times."""
        self.start()
        for _ in range(lives):
            self.live()
            self.recover()

    def start(self) -> None:
        """Open the data directory, creating what is not there."""
        self.data = DataDirectory.open(self.disk, DATA, "cluster")
        self.logs = {}
        for name in ("a-0", "b-0"):
            if not self.disk.exists(f"{DATA}/{name}"):
                assert name not in self.ledgers or not self.ledgers[name].is_durable
                self.ledgers[name] = Ledger(uuid.UUID(int=self.rng.getrandbits(128)))
                self.logs[name] = Log.create(self.disk, f"{DATA}/{name}", SETTINGS, self.ledgers[name].topic_id, NOW)
                continue
            self.logs[name] = self.open(name)

    def open(self, name: str) -> Log:
        """Open one log as a broker does."""
        assert self.data is not None
        state = self.data.checkpoint.of(name)
        path = f"{DATA}/{name}"
        return Log.open(self.disk, path, SETTINGS, state, NOW, topic_id=self.ledgers[name].topic_id)[0]

    def live(self) -> None:
        """Do things until the power is cut, or the process killed."""
        self.disk.cut_at = self.disk.steps + self.rng.randrange(1, 60)
        killed = self.rng.random() < 0.2
        try:
            for _ in range(60):
                self.act(self.rng.choice(list(self.logs)))
        except PowerCut:
            pass
        self.die(killed=killed)

    def die(self, *, killed: bool) -> None:
        """Lose what is not durable (or, killed, only what was in memory)."""
        self.cuts += 1
        self.disk = self.disk.restarted() if killed else survivors(self.disk, self.rng)

    def act(self, name: str) -> None:
        """One thing at random."""
        log, ledger, rng = self.logs[name], self.ledgers[name], self.rng
        action = rng.randrange(20)
        if action < 11:
            self.append(log, ledger)
        elif action < 15:
            self.flush(log, ledger)
        elif action == 15:
            log.roll(NOW)
        elif action < 19:
            self.save_checkpoint()
        else:
            log.advance_log_start(rng.randint(log.log_start_offset, log.durable_end_offset))
            ledger.requested_start = log.log_start_offset
            self.save_checkpoint()

    def append(self, log: Log, ledger: Ledger) -> None:
        """One batch, mostly of an idempotent producer."""
        producer_id = self.rng.randrange(-1, 3)
        producer = (-1, -1, -1)
        if producer_id >= 0:
            producer = (producer_id, 0, ledger.sequences.get(producer_id, 0))
        batch, header = make_batch(self.rng, log.log_end_offset, producer)
        ledger.appended.append((header, bytes(batch)))
        log.append(batch, header, NOW)
        if producer_id >= 0:
            ledger.sequences[producer_id] = header.last_sequence + 1

    def flush(self, log: Log, ledger: Ledger) -> None:
        """As the flusher does it: appends go on while the round runs."""
        point = log.begin_flush()
        if point is None:
            return
        self.append(log, ledger)
        for file in point.files:
            file.sync_data()
        for directory in point.directories:
            self.disk.sync_directory(directory)
        log.complete_flush(point)
        ledger.promised = log.durable_end_offset
        ledger.is_durable = True

    def save_checkpoint(self) -> None:
        """Of all logs."""
        assert self.data is not None
        pending = self.data.checkpoint.begin(self.logs.values())
        if pending is None:
            return
        self.data.checkpoint.write(pending)
        for log, state in pending.logs:
            ledger = self.ledgers[log.name]
            ledger.durable_start = state.log_start_offset
        self.data.checkpoint.complete(pending)

    def recover(self) -> None:
        """Start again, perhaps with the power cut in the middle of it, and check the law."""
        while True:
            self.disk.cut_at = self.disk.steps + self.rng.randrange(1, 40) if self.rng.random() < 0.4 else None
            try:
                self.start()
                before = {name: dump(log) for name, log in self.logs.items()}
                if self.rng.random() < 0.2:
                    self.disk = self.disk.restarted()
                    self.start()
                    assert {name: dump(log) for name, log in self.logs.items()} == before
                for name, log in self.logs.items():
                    self.ledgers[name].check(log)
                    log.flush()
                    self.ledgers[name].settle(log)
                break
            except PowerCut:
                self.die(killed=False)
        self.disk.cut_at = None


def dump(log: Log) -> object:
    """Everything a log knows."""
    return (
        log.log_start_offset,
        log.log_end_offset,
        [(segment.base_offset, segment.size_bytes, segment.max_timestamp_ms) for segment in log.segments],
        log.producer_state.snapshot(),
        log.damaged,
    )
