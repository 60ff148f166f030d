"""Lookups by time, exact to the record even inside a compressed batch.

The time index leads to where a timestamp was first reached; from there on headers tell which batch to look into. A
batch that cannot be unpacked (nobody unpacks what a producer compressed) is taken by its header.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from minibroker.protocol.errors import CorruptMessage, KafkaError
from minibroker.records.batch import TimestampType, verify_crc
from minibroker.records.record import read_payload
from minibroker.records.scan import scan_times
from minibroker.storage import damages
from minibroker.storage.reading import Located, read_headers
from minibroker.storage.segment import Segment

if TYPE_CHECKING:
    from minibroker.storage.log import Log

OffsetAndTime = tuple[int, int]
"""(offset, timestamp in ms)."""


def offset_for_timestamp(log: "Log", timestamp_ms: int, end_offset: int) -> OffsetAndTime | None:
    """`Log.offset_for_timestamp`."""
    for segment in list(log.segments):
        if segment.base_offset >= end_offset:
            break
        if segment.max_timestamp_ms < timestamp_ms:
            continue
        end = min(end_offset, log.next_base_offset(segment))
        for located in read_headers(log, _first_candidate(log, segment, timestamp_ms), end):
            if located[2].max_timestamp < timestamp_ms:
                continue
            for offset, record_ms in _times(log, located):
                if record_ms >= timestamp_ms and offset >= log.log_start_offset:
                    return offset, record_ms
    return None


def _first_candidate(log: "Log", segment: Segment, timestamp_ms: int) -> int:
    """The first offset of a segment that may have a timestamp: everything before is older."""
    damages.ensure_index(log, segment, segment.time_index)
    slot = segment.time_index.last_below(timestamp_ms)
    return segment.base_offset + (segment.time_index.entry(slot)[1] + 1 if slot >= 0 else 0)


def offset_of_max_timestamp(log: "Log", end_offset: int) -> OffsetAndTime | None:
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
            times = [found for found in _times(log, located) if found[0] >= log.log_start_offset]
            newest = max(times, key=lambda found: found[1], default=None)  # the first of equals
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
        if located[2].base_offset < log.log_start_offset:
            candidates.append(located)  # the record that has its largest timestamp may be gone
        elif located[2].max_timestamp > newest_ms:
            candidates.append(located)
            newest_ms = located[2].max_timestamp
    return candidates


def _times(log: "Log", located: Located) -> Iterator[OffsetAndTime]:
    """Offset and time of each record of a batch, by its header where it cannot be unpacked."""
    segment, position, header = located
    batch = segment.file().pread(header.size_bytes, position)
    try:
        verify_crc(batch)
    except CorruptMessage:
        damages.inspect(log, segment, position)
        return
    seen = -1
    try:
        payload = read_payload(batch, header, log.settings.max_decompressed_bytes)
        if header.timestamp_type is TimestampType.LOG_APPEND_TIME:
            for seen, _ in scan_times(payload, header):
                yield seen, header.max_timestamp
        else:
            for seen, timestamp_ms in scan_times(payload, header):
                yield seen, timestamp_ms
    except KafkaError:
        if seen < 0:
            yield header.base_offset, header.max_timestamp
