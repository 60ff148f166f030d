"""Bit rot: no wrong byte is served, no undamaged batch is lost, offsets are not given out twice.

Each case makes a log, damages one of its files below the durable end, opens it, reads everything as a consumer does, and
compares with what was appended.
"""

import random

import pytest

from minibroker.protocol.errors import OffsetOutOfRange
from minibroker.records.batch import iter_batches
from minibroker.records.compression import Codec
from minibroker.storage.errors import CorruptLog
from minibroker.storage.files import INDEX, LOG, TIME_INDEX
from minibroker.storage.log import Log
from minibroker.storage.log_checkpoint import LogCheckpoint
from minibroker.storage.settings import LogSettings
from tests.simulation.disk import SimulatedDisk
from tests.soak.rows import Deadline
from tests.storage.logs import NOW, PATH, TOPIC_ID, append, at_once, checkpoint, contents, make_batch

SETTINGS = LogSettings(segment_bytes=2500, index_interval_bytes=400)

Batches = dict[int, tuple[bytes, str, int]]
"""Base offset -> (bytes, path, position)."""


def make_damageable(rng: random.Random) -> tuple[SimulatedDisk, LogCheckpoint, Batches]:
    """A durable log of a few segments with its checkpoint, and where its batches lie."""
    disk = SimulatedDisk()
    log = Log.create(disk, PATH, SETTINGS, TOPIC_ID, NOW)
    batches: Batches = {}
    for number in range(rng.randint(5, 50)):
        times = [NOW + number * 10 + rng.randrange(30) for _ in range(rng.randint(1, 4))]
        batch, header = make_batch(
            log.log_end_offset, size=rng.choice((0, 20, 200, 900)), timestamps=times, codec=rng.choice(list(Codec))
        )
        log.append(batch, header, NOW)
        batches[header.base_offset] = (bytes(batch), log.active.log_path, log.active.size_bytes - len(batch))
    log.flush()
    state = log.begin_checkpoint()
    assert state is not None
    return disk, LogCheckpoint.decode(state.encode()), batches


def damage(rng: random.Random, content: bytearray) -> str:
    """Damage a file in one of the ways disks do."""
    kind = rng.choice(("bit", "byte", "bits", "zero block", "garbage block", "swapped blocks", "truncated", "shifted"))
    size = len(content)
    if not size:
        return "nothing"
    at = rng.randrange(size)
    block = 512
    if kind == "bit":
        content[at] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        content[at] = rng.randrange(256)
    elif kind == "bits":
        for _ in range(rng.randint(2, 5)):
            content[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind in ("zero block", "garbage block"):
        start = at // block * block
        length = len(content[start : start + block])
        content[start : start + block] = bytes(length) if kind == "zero block" else rng.randbytes(length)
    elif kind == "swapped blocks":
        first, second = (rng.randrange(size) // block * block for _ in range(2))
        blocks = bytes(content[first : first + block]), bytes(content[second : second + block])
        if len(blocks[0]) == len(blocks[1]):
            content[first : first + block], content[second : second + block] = blocks[1], blocks[0]
    elif kind == "truncated":
        del content[at:]
    else:
        content[at:at] = b"\0"
        del content[-1]
    return kind


def read_as_a_consumer(log: Log, limit: int) -> dict[int, bytes]:
    """Fetch from every offset that cannot be reached from the one before; CorruptLog is the only error."""
    served: dict[int, bytes] = {}
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        try:
            part = log.read(offset, limit, log.log_end_offset)
            if part is not None and not part.checked:
                log.finish_check(part, part.find_damage())
                continue
        except CorruptLog:
            offset += 1
            continue
        assert part is not None
        for header, batch in iter_batches(part.read()):
            assert header.next_offset > offset
            served[header.base_offset] = bytes(batch)
            offset = header.next_offset
    return served


def is_behind_the_offset(found: bytes, whole: bytes) -> bool:
    """Whether of a batch the base offset is left and the CRC is not: with another batch whole behind it, nothing tells."""
    return found[:8] == whole[:8] and found[17:21] != whole[17:21]


def hold_to_the_law(log: Log, batches: Batches, disk: SimulatedDisk, limit: int) -> None:
    """What is served is right, and what is whole is served."""
    served = read_as_a_consumer(log, limit)
    bodies = {batch[12:] for batch, _, _ in batches.values()}
    for base_offset, batch in served.items():
        whole, path, position = batches[base_offset]
        moved = batch[12:] in bodies and is_behind_the_offset(disk.read(path)[position:], whole)
        assert batch == whole or moved
    for base_offset, (batch, path, position) in batches.items():
        if disk.exists(path) and disk.read(path)[position : position + len(batch)] == batch:
            assert base_offset in served, base_offset
    assert {header.base_offset: batch for header, batch in contents(log)} == served


def run_case(seed: int) -> None:
    """One log, one fault."""
    rng = random.Random(seed)
    disk, state, batches = make_damageable(rng)
    end = state.durable.offset
    paths = [f"{PATH}/{name}" for name in disk.list_sizes(PATH)]
    path = rng.choice([path for path in paths if path.endswith(LOG)] if rng.random() < 0.8 else paths)
    if rng.random() < 0.05:
        disk.unlink(path)
    else:
        damage(rng, disk.open(path).inode.content)
    log, _ = Log.open(disk, PATH, SETTINGS, state, NOW, topic_id=TOPIC_ID)
    log.flush()
    assert log.log_end_offset == end
    limit = rng.choice((1, 1000, 5000))
    if rng.random() < 0.3:
        look_up_times(log, rng)
    hold_to_the_law(log, batches, disk, limit)
    append(log)
    assert log.log_end_offset == end + 1
    before = log.damaged
    checkpoint(log)
    log.needs_checkpoint = True
    again, _ = Log.open(disk.restarted(), PATH, SETTINGS, log.begin_checkpoint(), NOW, topic_id=TOPIC_ID)
    assert again.damaged == before
    if path.endswith((INDEX, TIME_INDEX)):
        assert not before


def look_up_times(log: Log, rng: random.Random) -> None:
    """Must not fail, whatever is damaged."""
    at_once(log.offset_for_timestamp(NOW + rng.randrange(500), log.log_end_offset))
    at_once(log.offset_of_max_timestamp(log.log_end_offset))


def soak(seed: int, deadline: Deadline) -> int:
    """Faults from five hundred seeds of `run_case`."""
    for case in range(seed * 500, (seed + 1) * 500):
        try:
            run_case(case)
        except Exception as error:
            raise AssertionError(f"case {case}: {error!r}") from error
    return 500


@pytest.mark.parametrize("block", range(4))
def test_no_wrong_byte_is_served_and_nothing_whole_is_lost(block: int) -> None:
    """Two thousand faults of eight kinds in logs and indexes."""
    assert soak(block, lambda: False) == 500


def test_reading_up_to_and_beyond_a_damaged_batch() -> None:
    """A slice ends before it, an offset in it is refused, the next one is served."""
    disk = SimulatedDisk()
    log = Log.create(disk, PATH, LogSettings(), TOPIC_ID, NOW)
    for _ in range(5):
        append(log, 10)
    checkpoint(log)
    log.needs_checkpoint = True
    state = log.begin_checkpoint()
    size = log.active.size_bytes // 5
    disk.open(log.active.log_path).inode.content[2 * size + 70] ^= 1
    log, report = Log.open(disk, PATH, LogSettings(), state, NOW)
    assert report.is_clean
    part = log.read(0, 10**6, 50)
    assert part is not None
    found = part.find_damage()
    assert [(damage.start_offset, damage.end_offset) for damage in found] == [(20, 30)]
    log.finish_check(part, found)
    part = log.read(0, 10**6, 50)
    assert part is not None
    assert (part.checked, part.size_bytes) == (True, 2 * size)
    for offset in (20, 29):
        with pytest.raises(CorruptLog, match="offsets 20 to 29"):
            log.read(offset, 10**6, 50)
    part = log.read(30, 10**6, 50)
    assert part is not None
    assert [header.base_offset for header, _ in iter_batches(part.read())] == [30, 40]
    with pytest.raises(OffsetOutOfRange):
        log.read(51, 10**6, 50)


def test_damage_is_forgotten_with_its_records() -> None:
    """Once the log start has passed it there is nothing left to miss."""
    disk = SimulatedDisk()
    log = Log.create(disk, PATH, LogSettings(), TOPIC_ID, NOW)
    for _ in range(3):
        append(log)
    log.flush()
    disk.open(log.active.log_path).inode.content[70] ^= 1
    assert len(contents(log)) == 2
    assert len(log.damaged) == 1
    log.advance_log_start(1)
    assert log.damaged == []
