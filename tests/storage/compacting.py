"""Logs to be compacted, for the tests of compaction."""

import uuid
from pathlib import Path

import attrs

from minibroker.records.batch import BatchHeader, assign, decode_header
from minibroker.records.builder import BatchBuilder
from minibroker.records.compression import Codec
from minibroker.records.record import Record, read_records
from minibroker.storage.cleaning import Pace
from minibroker.storage.compaction import Compaction, CompactionReport, plan_compaction
from minibroker.storage.errors import LogOffline
from minibroker.storage.filesystem import FileSystem, OsFileSystem
from minibroker.storage.log import Log
from minibroker.storage.log_checkpoint import LogCheckpoint
from minibroker.storage.settings import LogSettings

NOW = 1_700_000_000_000
DAY_MS = 86_400_000
MIB = 1024 * 1024
SETTINGS = LogSettings(
    cleanup_policy=frozenset({"compact"}), segment_bytes=MIB, min_cleanable_dirty_ratio=0.0, delete_retention_ms=DAY_MS
)
PATIENT = Pace(rest_s=0)

Pair = tuple[bytes | None, bytes | None]


def make_log(directory: Path, fs: FileSystem | None = None, **settings: object) -> Log:
    fs = fs or OsFileSystem()
    return Log.create(fs, f"{directory}/topic-0", attrs.evolve(SETTINGS, **settings), uuid.uuid4(), NOW)


def append(
    log: Log,
    pairs: list[Pair],
    *,
    codec: Codec = Codec.NONE,
    timestamp_ms: int = NOW,
    producer: tuple[int, int, int] = (-1, -1, -1),
    is_control: bool = False,
) -> BatchHeader:
    """One batch; returns its header."""
    builder = BatchBuilder(
        codec, producer_id=producer[0], producer_epoch=producer[1], base_sequence=producer[2], is_control=is_control
    )
    for key, value in pairs:
        builder.append(timestamp_ms, key, value)
    batch = memoryview(builder.build())
    assign(batch, log.log_end_offset, 0)
    header = decode_header(batch)
    log.append(batch, header, NOW)
    return header


def save_checkpoint(log: Log) -> LogCheckpoint:
    log.needs_checkpoint = True
    checkpoint = log.begin_checkpoint()
    assert checkpoint is not None
    log.complete_checkpoint(checkpoint)
    return checkpoint


def close_segment(log: Log) -> None:
    """So that everything up to here may be compacted: the durable end that the checkpoint knows lies beyond."""
    log.roll(NOW)
    log.flush()
    save_checkpoint(log)
    checkpoint(log)


def checkpoint(log: Log) -> None:
    state = log.begin_checkpoint()
    if state is not None:
        log.complete_checkpoint(state)


def compact(log: Log, now_ms: int = NOW, budget_bytes: int = MIB) -> CompactionReport | None:
    plan = plan_compaction(log, now_ms, now_ms)
    if plan is None:
        return None
    compaction = Compaction(log, plan, budget_bytes, Pace(rest_s=0))
    for work in compaction.steps():
        work()
    assert compaction.report is not None
    return compaction.report


def batches_of(log: Log) -> list[tuple[BatchHeader, list[Record]]]:
    return [
        (header, read_records(bytes(batch), max_bytes=MIB))
        for header, batch in log.read_batches(log.log_start_offset, log.log_end_offset)
    ]


def hide(log: Log) -> None:
    """What becomes of the log of a topic that is deleted."""
    log.fail(LogOffline("deleted"))
    log.fs.rename(log.directory, f"{log.directory}.deleted")


def records_of(log: Log) -> list[Record]:
    return [record for _, records in batches_of(log) for record in records]


def reopened(log: Log) -> Log:
    log.close()
    again, _ = Log.open(log.fs, log.directory, log.settings, None, NOW)
    return again
