"""Making batches and logs for the tests of this floor."""

import uuid
from collections.abc import Callable, Iterable
from functools import partial

from minibroker.records.batch import LEADER_EPOCH, BatchHeader, assign, decode_header
from minibroker.records.builder import BatchBuilder
from minibroker.records.compression import Codec
from minibroker.storage.filesystem import FileSystem
from minibroker.storage.log import Log
from minibroker.storage.settings import LogSettings
from minibroker.storage.timestamps import OffsetAndTime, Search, Step
from tests.simulation.disk import SimulatedDisk

NOW = 1_700_000_000_000
TOPIC_ID = uuid.UUID(int=0x1234)
PATH = "/t-0"
NO_PRODUCER = (-1, -1, -1)


def make_batch(
    base_offset: int,
    count: int = 1,
    *,
    size: int = 10,
    timestamps: Iterable[int] | None = None,
    codec: Codec = Codec.NONE,
    producer: tuple[int, int, int] = NO_PRODUCER,
) -> tuple[memoryview, BatchHeader]:
    """A batch of `count` records of `size` bytes with its place in the log; producer is (id, epoch, first sequence)."""
    builder = BatchBuilder(codec, producer_id=producer[0], producer_epoch=producer[1], base_sequence=producer[2])
    for timestamp in timestamps or [NOW] * count:
        builder.append(timestamp, None, bytes(size))
    batch = memoryview(builder.build())
    assign(batch, base_offset, LEADER_EPOCH)
    return batch, decode_header(batch)


def append(log: Log, count: int = 1, **options: object) -> BatchHeader:
    """Append one batch."""
    batch, header = make_batch(log.log_end_offset, count, **options)  # type: ignore[arg-type]
    log.append(batch, header, NOW)
    return header


def make_log(fs: FileSystem | None = None, path: str = PATH, **settings: object) -> Log:
    """A new log, on a simulated disk unless told otherwise."""
    return Log.create(fs or SimulatedDisk(), path, LogSettings(**settings), TOPIC_ID, NOW)  # type: ignore[arg-type]


def contents(log: Log, start: int | None = None) -> list[tuple[BatchHeader, bytes]]:
    """Every batch, as `read_batches` finds them."""
    first = log.log_start_offset if start is None else start
    return [(header, bytes(batch)) for header, batch in log.read_batches(first, log.log_end_offset)]


def checkpoint(log: Log) -> None:
    """Flush, and complete a checkpoint."""
    log.flush()
    state = log.begin_checkpoint()
    if state is not None:
        log.complete_checkpoint(state)


def at_once(search: Search) -> OffsetAndTime | None:
    """What a lookup finds if it is left alone."""
    resume: Callable[[], Step] = partial(next, search)
    try:
        while True:
            step = resume()
            resume = partial(next, search)
            if not isinstance(step, int):
                try:
                    resume = partial(search.send, step())
                except Exception as error:
                    resume = partial(search.throw, error)
    except StopIteration as end:
        found: OffsetAndTime | None = end.value
        return found
