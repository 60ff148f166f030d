"""Damage to any file of a data directory: no wrong byte is served, and nothing whole is lost.

One bit, some zeros, two blocks that changed places, a file that ends too early. Damage in anything but a log costs
nothing; damage in a log costs the batches that it touches. Only damage to the log that says which topics there are keeps
a broker from starting.

The same where a broker was killed whose last checkpoint is old. There damage in the log may look like its end: it costs
what lies behind it as well, and the broker goes on: it deletes, makes topics again and writes, and a restart finds that.
"""

import random

import pytest
import trio

from minibroker.config.load import structure
from minibroker.protocol.errors import KafkaError
from minibroker.records.batch import verify_crc
from minibroker.records.record import read_records
from minibroker.storage.damages import damage_of
from minibroker.storage.errors import NewerFormat, StorageError
from minibroker.storage.log import Log
from minibroker.storage.walk import walk_batches
from minibroker.topics.names import CLUSTER_METADATA
from minibroker.topics.opening import Data
from tests.simulation.broker_life import SETTINGS, STABLE, Cast, Lives
from tests.simulation.disk import Directory, Inode, SimulatedDisk, clone
from tests.simulation.history import Place
from tests.simulation.inspection import open_disk, recover
from tests.simulation.isolation import one_thread, quiet
from tests.soak.rows import Deadline

COUNT, LATE_COUNT = 250, 60
"""Damages to the directory that one seed makes, before which all is checkpointed, or much is not."""

MAX_CHECKS = 10_000
"""Of one log, which has some hundred records."""

Records = dict[int, bytes | None]


def lived(seed: int) -> Lives:
    """A data directory with some past, recovered and checkpointed."""
    lives = Lives(seed, cast=Cast.USERS, examined_per_cut=0, cut_share=0)
    lives.run(5)
    with one_thread(), quiet():
        data = open_disk(lives.disk, lives.settings, lives.world.now_ms_of_life(0))
        for log in data.logs():
            log.flush()
        data.save_checkpoint()
    lives.disk.root.sync()
    return lives


def killed(seed: int) -> Lives:
    """The data directory of a broker that was killed, and whose only checkpoint is from its start."""
    settings = structure(SETTINGS | {"log.flush.offset.checkpoint.interval.ms": "3600000"})
    lives = Lives(seed, cast=Cast.USERS, settings=settings, examined_per_cut=0, cut_share=0, seconds=(0.1,))
    lives.run(3, is_killed=True)
    return lives


def files_of(disk: SimulatedDisk) -> dict[str, Inode]:
    """All files of the data directory, by path."""
    found = {}
    data = disk.root.entries["data"]
    assert isinstance(data, Directory)
    for name, node in data.entries.items():
        if isinstance(node, Inode):
            found[f"/data/{name}"] = node
        elif "." not in name:  # else it is being removed
            found |= {f"/data/{name}/{file}": inode for file, inode in node.entries.items() if isinstance(inode, Inode)}
    return found


def harm(inode: Inode, rng: random.Random) -> tuple[int, int]:
    """Damage a file somehow; return the range of bytes that may not be what they were."""
    content, size = inode.content, len(inode.content)
    start = rng.randrange(size)
    end = min(size, start + rng.choice((1, 16, 512)))
    kind = rng.randrange(4)
    if kind == 0:
        content[start] ^= 1 << rng.randrange(8)
        return start, start + 1
    if kind == 1:
        content[start:end] = bytes(end - start)
    elif kind == 2:
        other = rng.randrange(size - (end - start) + 1)
        block = content[start:end]
        content[start:end] = content[other : other + end - start]
        content[other : other + end - start] = block
        return min(start, other), max(start, other) + end - start
    else:
        del content[start:]
        return start, size
    return start, end


def served(log: Log) -> Records:
    """What consumers get: everything that can be read, around what is refused."""
    found: Records = {}
    offset, checks = log.log_start_offset, 0
    while offset < log.log_end_offset:
        try:
            part = log.read(offset, 1 << 20, log.log_end_offset)
            if part is None:
                break
            if not part.checked:
                checks += 1
                assert checks < MAX_CHECKS, f"{log.name}: what is found at {offset} is never noted"
                log.finish_check(part, part.find_damage())
                continue
            for _, header, batch in walk_batches(part.file, part.position, part.position + part.size_bytes):
                verify_crc(batch)
                found |= {record.offset: record.value for record in read_records(batch, max_bytes=1 << 24)}
                offset = header.next_offset
        except (StorageError, KafkaError):
            damage = damage_of(log, offset)
            offset = damage.end_offset if damage is not None else offset + 1
    return found


def whole(data: Data) -> dict[Place, Records]:
    """Everything that every partition serves."""
    return {(partition.topic, partition.index): served(partition.log) for partition in data.catalog.partitions()}


def touched(lives: Lives, path: str, start: int, end: int) -> set[int]:
    """The offsets in the batches of a log file that a range of it touches."""
    if not path.endswith(".log"):
        return set()
    file = clone(lives.disk).open(path)
    return {
        offset
        for position, header, batch in walk_batches(file, 0, file.size())
        if position < end and start < position + len(batch)
        for offset in range(header.base_offset, header.next_offset)
    }


def is_behind_an_offset(lives: Lives, path: str, start: int) -> bool:
    """Whether damage begins behind the base offset of a batch and before what its CRC covers.

    Then it may have put another batch there, whole, and nothing tells: the base offset is under no CRC.
    """
    file = clone(lives.disk).open(path)
    return any(position + 8 <= start <= position + 17 for position, _, _ in walk_batches(file, 0, file.size()))


def run_damages(seed: int, count: int) -> None:
    """Damage one file after the other, each in a fresh copy.

    A deletion that nobody was told of may be undone: without the checkpoint only the log of topics tells of deletions.
    """
    lives, rng = lived(seed), random.Random(seed)
    with one_thread(), quiet():
        before = whole(open_disk(clone(lives.disk), lives.settings, lives.world.now_ms_of_life(0)))
        for number in range(count):
            copy = clone(lives.disk)
            path, inode = rng.choice([(path, inode) for path, inode in files_of(copy).items() if inode.content])
            start, end = harm(inode, rng)
            inode.durable = bytes(inode.content)
            where = f"seed {seed}, damage {number}: {path} from {start} to {end}"
            lost = touched(lives, path, start, end)
            try:
                after = whole(open_disk(copy, lives.settings, lives.world.now_ms_of_life(0)))
            except StorageError as error:
                if path == "/data/format" and isinstance(error, NewerFormat):
                    continue  # nothing tells a damaged number from that of a later version
                if path.startswith(f"/data/{CLUSTER_METADATA}-0/") and path.endswith(".log"):
                    continue  # without it nobody knows which topics there are
                raise AssertionError(where) from error
            for place, records in before.items():
                hit = lost if f"/{place[0]}-{place[1]}/" in path else set()
                found = after.get(place, {})
                sent = lives.world.history.place(place).sent
                wrong = {
                    offset
                    for offset, value in found.items()
                    if records.get(offset, b"") != value
                    and not (offset < min(records, default=1 << 62) and value in sent)
                }
                if hit and is_behind_an_offset(lives, path, start):
                    wrong = {offset for offset in wrong if found[offset] not in records.values()}
                assert not wrong, f"{where}: {place} serves something else at {sorted(wrong)}"
                missing = records.keys() - found.keys() - hit
                assert not missing, f"{where}: {place} no longer serves {sorted(missing)}"


async def go_on(data: Data, name: str) -> dict[Place, Records]:
    """Delete a topic, make it again, and write a record into every partition that takes one; returns these."""
    catalog, written = data.catalog, dict[Place, Records]()
    catalog.delete_topic(name)
    await data.flusher.drain()
    catalog.create_topic(name, 1)
    for topic, partitions, _ in STABLE:
        for index in range(partitions if topic != name else 1):
            value = f"later {topic} {index}".encode()
            appended = catalog.partition(topic, index).append_records([(b"later", value)], data.clock.now_ms())
            written[topic, index] = {appended.base_offset: value}
    await data.flusher.drain()
    return written


def run_later_damages(seed: int, count: int) -> None:
    """Damage one file after the other, each in a fresh copy, where much is known to no checkpoint, and go on."""
    lives, rng = killed(seed), random.Random(seed)
    now_ms = lives.world.now_ms_of_life(0)
    with one_thread(), quiet():
        before = whole(open_disk(clone(lives.disk), lives.settings, now_ms))
        for number in range(count):
            copy = clone(lives.disk)
            files = files_of(copy)
            path = rng.choice([path for path, inode in files.items() if inode.content])
            start, end = harm(files[path], rng)
            where = f"seed {seed}, late damage {number}: {path} from {start} to {end}"
            if path == "/data/format" or path.startswith(f"/data/{CLUSTER_METADATA}-0/"):
                continue  # with the end of that log topics are gone, or there again
            if _is_a_gap(lives, copy, path, start, end):
                continue
            trio.run(_go_on_after, copy, lives, before, touched(lives, path, start, end), path, rng, where)


def _is_a_gap(lives: Lives, damaged: SimulatedDisk, path: str, start: int, end: int) -> bool:
    """Whether the damage has given a batch of a compacted log another offset that it may well have: no CRC covers it."""
    if not path.endswith(".log") or not path.startswith(("/data/c-0/", "/data/__consumer_offsets-")):
        return False
    file, found = clone(lives.disk).open(path), damaged.open(path)
    batches = [(position, header) for position, header, _ in walk_batches(file, 0, file.size())]
    last = max([header.last_offset for _, header in batches])
    return any(
        position < end
        and start < position + 8
        and 0 <= int.from_bytes(found.pread(8, position), "big", signed=True) <= last
        for position, _ in batches
    )


async def _go_on_after(
    disk: SimulatedDisk,
    lives: Lives,
    before: dict[Place, Records],
    lost: set[int],
    path: str,
    rng: random.Random,
    where: str,
) -> None:
    now_ms = lives.world.now_ms_of_life(0)
    data = await recover(disk, lives.settings, now_ms)
    after = whole(data)
    for place, records in before.items():
        is_hit, found = f"/{place[0]}-{place[1]}/" in path, after.get(place, {})
        wrong = {offset for offset, value in found.items() if records.get(offset, b"") != value}
        missing = {
            offset for offset in records.keys() - found.keys() if not is_hit or offset < min(lost, default=1 << 62)
        }
        assert not wrong, f"{where}: {place} serves something else at {sorted(wrong)}"
        assert not missing, f"{where}: {place} no longer serves {sorted(missing)}"
    name = rng.choice([name for name, _, _ in STABLE])
    written = await go_on(data, name)
    later = whole(await recover(disk.restarted(), lives.settings, now_ms + 1000))
    for place, records in after.items():
        if place[0] != CLUSTER_METADATA:
            expected = (records if place[0] != name else {}) | written.get(place, {})
            assert later.get(place, {}) == expected, f"{where}, and {name} made again: {place}"


def soak(seed: int, deadline: Deadline) -> int:
    """Damages of two directories: of one whose broker ended in order, and of one whose broker was killed."""
    run_damages(seed, COUNT)
    run_later_damages(seed, LATE_COUNT)
    return COUNT + LATE_COUNT


@pytest.mark.parametrize("seed", range(8))
def test_damage_costs_what_it_touches_and_no_more(seed: int) -> None:
    """Everything else is served, and nothing wrong is."""
    run_damages(seed, COUNT)


@pytest.mark.parametrize("seed", range(4))
def test_a_broker_goes_on_after_damage_beyond_its_checkpoint(seed: int) -> None:
    """It costs what it touches and what lies behind that in the same log; what comes later is whole."""
    run_later_damages(seed, LATE_COUNT)
