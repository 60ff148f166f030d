"""Lookups by time, exact to the record even inside a compressed batch.

The time index leads to where a timestamp was first reached; from there on headers tell which batch to look into. A
header may lie, so any number of batches may have to be looked into: a lookup goes in steps. A batch that cannot be
unpacked (nobody unpacks what a producer compressed) is taken by its header.
"""

from collections.abc import Callable, Generator, Iterator
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from minibroker.protocol.errors import CorruptMessage, KafkaError
from minibroker.records.batch import BatchHeader, TimestampType, verify_crc
from minibroker.records.record import read_payload
from minibroker.records.scan import scan_times
from minibroker.storage import damages
from minibroker.storage.filesystem import File
from minibroker.storage.reading import Located, read_headers
from minibroker.storage.segment import Segment

if TYPE_CHECKING:
    from minibroker.storage.log import Log

OffsetAndTime = tuple[int, int]
"""(offset, timestamp in ms)."""
Times = Iterator[OffsetAndTime]
Step = int | Callable[[], object]
"""How much was done, in microseconds about; or what another thread may do: its result is to be sent back, or its error
thrown."""
Search = Generator[Step, Any, OffsetAndTime | None]
"""Others may change the log between two steps."""

STEPS_PER_HEADER = 5
STEPS_PER_BATCH = 50
LONGEST_STEP = 500
LARGE_BYTES = 16_384


def offset_for_timestamp(log: "Log", timestamp_ms: int, end_offset: int) -> Search:
    """`Log.offset_for_timestamp`."""
    offset = log.log_start_offset
    while True:
        steps = 0
        # No walk goes on behind a rest: segments may have been removed or replaced meanwhile.
        for located in _candidates(log, offset, timestamp_ms, end_offset):
            offset = located[2].next_offset
            steps += STEPS_PER_HEADER
            if located[2].max_timestamp >= timestamp_ms:
                steps += STEPS_PER_BATCH
                found, rested = yield from _visit(log, located, partial(_first_at, timestamp_ms, log.log_start_offset))
                if found is not None:
                    return found
                if rested:
                    break
            if steps > LONGEST_STEP:
                break
        else:
            return None
        yield steps


def _candidates(log: "Log", start_offset: int, timestamp_ms: int, end_offset: int) -> Iterator[Located]:
    """The batches from an offset on, without those that the indexes know to be older."""
    for segment in log.segments[log.segment_slot(start_offset) :]:
        if segment.base_offset >= end_offset:
            return
        if segment.max_timestamp_ms >= timestamp_ms:
            start = max(start_offset, _first_candidate(log, segment, timestamp_ms))
            yield from read_headers(log, start, min(end_offset, log.next_base_offset(segment)))


def _first_at(timestamp_ms: int, start_offset: int, times: Times) -> OffsetAndTime | None:
    return next((found for found in times if found[1] >= timestamp_ms and found[0] >= start_offset), None)


def _first_candidate(log: "Log", segment: Segment, timestamp_ms: int) -> int:
    """The first offset of a segment that may have a timestamp: everything before is older."""
    damages.ensure_index(log, segment, segment.time_index)
    slot = segment.time_index.last_below(timestamp_ms)
    return segment.base_offset + (segment.time_index.entry(slot)[1] + 1 if slot >= 0 else 0)


def offset_of_max_timestamp(log: "Log", end_offset: int) -> Search:
    """`Log.offset_of_max_timestamp`."""
    best: OffsetAndTime | None = None
    for segment in list(log.segments):
        if segment.base_offset >= end_offset:
            break
        if segment.max_timestamp_ms < 0 or (best is not None and segment.max_timestamp_ms <= best[1]):
            continue
        for located in _max_candidates(log, segment, end_offset):
            if best is not None and located[2].max_timestamp <= best[1]:
                continue
            newest, _ = yield from _visit(log, located, partial(_newest, log.log_start_offset))
            if newest is not None and (best is None or newest[1] > best[1]):
                best = newest
    return best


def _max_candidates(log: "Log", segment: Segment, end_offset: int) -> list[Located]:
    """Batches among which the one with a segment's largest timestamp is, of those that can be read."""
    end = min(end_offset, log.next_base_offset(segment))
    start = segment.base_offset
    if start >= log.log_start_offset:  # else the record with the largest may be gone, and the index knows no other
        if segment.max_timestamp_offset < end:
            start = segment.max_timestamp_offset
            end = start + 1
        else:
            damages.ensure_index(log, segment, segment.time_index)
            slot = segment.time_index.last_before_offset(end - segment.base_offset)
            start += segment.time_index.entry(slot)[1] if slot >= 0 else 0
    candidates: list[Located] = []
    newest_ms = -1
    for located in read_headers(log, start, end):
        if not located[2].record_count:
            continue  # compaction has emptied it
        if located[2].base_offset < log.log_start_offset:
            candidates.append(located)  # the record that has its largest timestamp may be gone
        elif located[2].max_timestamp > newest_ms:
            candidates.append(located)
            newest_ms = located[2].max_timestamp
    return candidates


def _newest(start_offset: int, times: Times) -> OffsetAndTime | None:
    return max((found for found in times if found[0] >= start_offset), key=itemgetter(1), default=None)  # the first


def _visit(
    log: "Log", located: Located, pick: Callable[[Times], OffsetAndTime | None]
) -> Generator[Step, Any, tuple[OffsetAndTime | None, bool]]:
    """What `pick` makes of a batch's records, and whether there was a rest. A large batch is work for another thread."""
    segment, position, header = located
    work = partial(_pick, segment.file(), position, header, log.settings.max_decompressed_bytes, pick)
    is_large = header.is_compressed or header.size_bytes > LARGE_BYTES  # nothing has been checked yet
    try:
        return (yield work) if is_large else work(), is_large
    except CorruptMessage:
        if segment in log.segments:
            damages.inspect(log, segment, position)
        return None, is_large


def _pick(
    file: File, position: int, header: BatchHeader, max_bytes: int, pick: Callable[[Times], OffsetAndTime | None]
) -> OffsetAndTime | None:
    """Read a batch and visit its records. Safe in any thread. Raises CorruptMessage for one that is damaged."""
    batch = file.pread(header.size_bytes, position)
    verify_crc(batch)
    return pick(_times(batch, header, max_bytes))


def _times(batch: bytes, header: BatchHeader, max_bytes: int) -> Times:
    """Offset and time of each record of a batch, by its header where it cannot be unpacked."""
    seen = -1
    try:
        payload = read_payload(batch, header, max_bytes)
        if header.timestamp_type is TimestampType.LOG_APPEND_TIME:
            for seen, _ in scan_times(payload, header):
                yield seen, header.max_timestamp
        else:
            for seen, timestamp_ms in scan_times(payload, header):
                yield seen, timestamp_ms
    except KafkaError:
        if seen < 0:
            yield header.base_offset, header.max_timestamp
