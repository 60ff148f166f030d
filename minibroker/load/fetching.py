"""Fetch requests: made once, their partition and offset patched before each is sent."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import attrs

from minibroker.load.errors import LoadError
from minibroker.load.frames import positions_of, ready_frame
from minibroker.load.lanes import Lane, run_lanes
from minibroker.load.measurement import Measurement, Stopwatch, Tally
from minibroker.load.producing import share_out
from minibroker.load.specs import FetchSpec
from minibroker.load.topics import EARLIEST, LATEST, end_offsets
from minibroker.protocol.errors import ErrorCode, error_for
from minibroker.protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from minibroker.records.batch import HEADER_BYTES, LOG_OVERHEAD_BYTES, verify_crc

VERSION: Final = 11
"""The last without tagged fields: everything in front of the records has a fixed place."""

MAX_WAIT_MS: Final = 500
_PATCHED: Final = struct.Struct(">iiq")  # partition, leader epoch, offset
_PLACEHOLDER: Final = _PATCHED.pack(0x5EED, -1, 0x5EED)
_HEAD: Final = struct.Struct(">iihi")  # correlation id, throttle time, error code, session id
_PARTITION: Final = struct.Struct(">ihqqqiii")  # …, aborted transactions (none), preferred replica, size of the records
_BATCH: Final = struct.Struct(">qi11xi30xi")  # base offset, length, last offset delta, record count
_NO_SESSION: Final = 0
_FINAL_EPOCH: Final = -1


def run_fetch(spec: FetchSpec) -> Measurement:
    """Fetch as the spec says. Raises LoadError for errors, gaps, and a first batch that fails its CRC."""
    stopwatch = Stopwatch(spec.span, spec.pid)
    starts, ends = (end_offsets(spec.address, spec.topic, spec.partitions, at) for at in (EARLIEST, LATEST))
    if starts is None or ends is None or starts == ends:
        raise LoadError(f"{spec.topic} has nothing to read")
    lanes = []
    for leader, own in share_out(spec.address, spec.topic, spec.partitions, spec.connections):
        readers = [Reader(index, starts[index], ends[index]) for index in own if starts[index] < ends[index]]
        if readers:
            lanes.append(Lane(leader, FetchConversation(spec, readers, stopwatch.tally), stopwatch))
    run_lanes(lanes)
    return stopwatch.measurement()


@attrs.define
class Reader:
    """Where one connection is in one partition."""

    index: int
    start: int
    end: int
    position: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.position = self.start

    @property
    def is_at_end(self) -> bool:
        """Whether everything has been read that was there at the beginning."""
        return self.position >= self.end


@attrs.define(eq=False)
class FetchConversation:
    """Reads one partition after the other, each from its beginning to its end."""

    spec: FetchSpec
    readers: Sequence[Reader]
    tally: Tally
    _current: int = attrs.field(default=0, init=False)
    _checked: bool = attrs.field(default=False, init=False)
    _frame: bytearray = attrs.field(init=False)
    _patch_at: int = attrs.field(init=False)
    _head_bytes: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        index, _, offset = _PATCHED.unpack(_PLACEHOLDER)
        partition = FetchPartition(
            partition=index, fetch_offset=offset, partition_max_bytes=self.spec.partition_max_bytes
        )
        request = FetchRequest(
            max_wait_ms=MAX_WAIT_MS,
            min_bytes=1,
            max_bytes=self.spec.partition_max_bytes,
            session_id=_NO_SESSION,
            session_epoch=_FINAL_EPOCH,
            topics=[FetchTopic(topic=self.spec.topic, partitions=[partition])],
        )
        self._frame = ready_frame(request, VERSION)
        (self._patch_at,) = positions_of(_PLACEHOLDER, self._frame, 1)
        self._head_bytes = _HEAD.size + 4 + 2 + len(self.spec.topic.encode()) + 4

    def next_request(self) -> memoryview | None:
        """The frame, asking for what follows; None at the end, unless the spec says to start over."""
        reader = self.readers[self._current]
        if reader.is_at_end:
            reader.position = reader.start
            self._current = (self._current + 1) % len(self.readers)
            if not self._current and not self.spec.repeat:
                return None
            reader = self.readers[self._current]
        _PATCHED.pack_into(self._frame, self._patch_at, reader.index, -1, reader.position)
        return memoryview(self._frame)

    def on_response(self, frame: memoryview) -> None:
        """Count the whole batches. Raises LoadError for an error, or records that do not follow what was read."""
        reader = self.readers[self._current]
        self.tally.requests += 1
        _, _, error, _ = _HEAD.unpack_from(frame)
        self._refuse(error, reader)
        _, error, _, _, _, aborted, _, size = _PARTITION.unpack_from(frame, self._head_bytes)
        self._refuse(error, reader)
        if aborted > 0:
            raise LoadError(f"{self.spec.topic} holds transactions: expected plain records")
        position = self._head_bytes + _PARTITION.size
        end = position + max(size, 0)
        if not self._checked and end > position:
            (length,) = struct.unpack_from(">i", frame, position + 8)
            verify_crc(frame[position : position + LOG_OVERHEAD_BYTES + length])
            self._checked = True
        while end - position >= HEADER_BYTES:
            base, length, delta, records = _BATCH.unpack_from(frame, position)
            if (after := position + LOG_OVERHEAD_BYTES + length) > end:
                break
            if base > reader.position or base + delta < reader.position:
                raise LoadError(f"{self.spec.topic}-{reader.index}: expected offset {reader.position}, found {base}")
            reader.position = base + delta + 1
            self.tally.records += records
            self.tally.bytes += after - position
            position = after

    def _refuse(self, code: int, reader: Reader) -> None:
        if code != ErrorCode.NONE:
            raise LoadError(f"fetching {self.spec.topic}-{reader.index} at {reader.position}: {error_for(code)}")
