"""Produce requests: made once, sent again and again."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from minibroker.load.errors import LoadError
from minibroker.load.frames import positions_of, ready_frame
from minibroker.load.lanes import Lane, run_by_the_clock, run_lanes
from minibroker.load.measurement import Measurement, Stopwatch, Tally
from minibroker.load.specs import ProduceSpec
from minibroker.load.topics import expect_records, leaders, record_count
from minibroker.protocol.api import ApiKey
from minibroker.protocol.codec import decode_message
from minibroker.protocol.errors import ErrorCode, ProtocolError, error_for
from minibroker.protocol.framing import decode_response_header
from minibroker.protocol.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from minibroker.records.builder import BatchBuilder, max_record_bytes
from minibroker.records.compression import Codec

VERSION: Final = 7
"""The last but one without tagged fields or error messages: answers about the same partitions have the same size."""

TIMEOUT_MS: Final = 60_000
_INDEX: Final = struct.Struct(">i")
_ANSWER_HEAD_BYTES: Final = 4 + 4 + 2 + 4  # correlation id, count of topics, length of the name, count of partitions
_PARTITION_BYTES: Final = 4 + 2 + 8 + 8 + 8  # index, error code, base offset, append time, log start offset
_THROTTLE_BYTES: Final = 4


def run_produce(spec: ProduceSpec) -> Measurement:
    """Produce as the spec says, then count the log. Raises LoadError if a record is refused, missing or too many."""
    batch, records = make_batch(spec)
    stopwatch = Stopwatch(spec.span, spec.pid)
    lanes = [
        Lane(leader, ProduceConversation(spec, partitions, batch, records, stopwatch.tally), stopwatch, spec.in_flight)
        for leader, partitions in share_out(spec.address, spec.topic, spec.partitions, spec.connections)
    ]
    before = record_count(spec.address, spec.topic, spec.partitions)
    if spec.interval_s is None:
        run_lanes(lanes)
    else:
        run_by_the_clock(lanes[0], spec.interval_s)
    expect_records(spec.address, spec.topic, spec.partitions, before + stopwatch.tally.records)
    return stopwatch.measurement()


def make_batch(spec: ProduceSpec) -> tuple[bytes, int]:
    """The batch of a spec, at most ``batch_bytes`` before compression but at least one record, and its record count.

    Values are random letters, the same every time: they compress a little, as text does.
    """
    builder = BatchBuilder(Codec[spec.compression.upper()])
    now_ms = int(time.time() * 1000)
    source = random.Random(0)
    letters = bytes(range(ord("0"), ord("z") + 1))
    while (
        not builder.record_count
        or builder.size_bytes + max_record_bytes(None, b"") + spec.record_bytes <= spec.batch_bytes
    ):
        builder.append(now_ms, None, bytes(source.choices(letters, k=spec.record_bytes)))
    return bytes(builder.build()), builder.record_count


def share_out(address: str, topic: str, partitions: int, connections: int) -> Iterator[tuple[str, Sequence[int]]]:
    """Deal the partitions out to the connections; of one that has several leaders, make one for each leader."""
    by_index = leaders(address, topic, partitions)
    for connection in range(connections):
        own = range(connection, partitions, connections) or [connection % partitions]
        by_leader: dict[str, list[int]] = {}
        for index in own:
            by_leader.setdefault(by_index[index], []).append(index)
        yield from by_leader.items()


@attrs.define(eq=False)
class ProduceConversation:
    """One frame whose partition indexes are patched before it is sent again."""

    spec: ProduceSpec
    partitions: Sequence[int]
    batch: bytes
    records: int
    tally: Tally
    _frame: bytearray = attrs.field(init=False)
    _view: memoryview = attrs.field(init=False)
    _index_positions: list[int] = attrs.field(init=False)
    _next: int = attrs.field(default=0, init=False)
    _no_errors: bytes = attrs.field(init=False)
    _answer: tuple[int, slice, slice] = attrs.field(init=False)
    """The size of a good answer, and where in it the upper and the lower bytes of the error codes are."""

    def __attrs_post_init__(self) -> None:
        count = min(self.spec.partitions_per_request, len(self.partitions))
        data = [PartitionProduceData(index=self.partitions[at], records=self.batch) for at in range(count)]
        request = ProduceRequest(
            acks=self.spec.acks,
            timeout_ms=TIMEOUT_MS,
            topic_data=[TopicProduceData(name=self.spec.topic, partition_data=data)],
        )
        self._frame = ready_frame(request, VERSION)
        self._view = memoryview(self._frame)
        # Behind the length of the records, which is the same for all, lies the batch; in front of it, the index.
        self._index_positions = [at - 8 for at in positions_of(self.batch, self._frame, count)]
        first = _ANSWER_HEAD_BYTES + len(self.spec.topic.encode()) + _INDEX.size
        end = first + count * _PARTITION_BYTES
        size = end - _INDEX.size + _THROTTLE_BYTES
        self._answer = size, slice(first, end, _PARTITION_BYTES), slice(first + 1, end, _PARTITION_BYTES)
        self._no_errors = bytes(count)

    def next_request(self) -> memoryview:
        """The frame, addressed to the next partitions in turn."""
        if len(self.partitions) > len(self._index_positions):
            for position in self._index_positions:
                _INDEX.pack_into(self._frame, position, self.partitions[self._next])
                self._next = (self._next + 1) % len(self.partitions)
        return self._view

    def on_response(self, frame: memoryview) -> None:
        """Count what was acknowledged. Raises LoadError for anything else."""
        size, upper, lower = self._answer
        if len(frame) != size or frame[upper] != self._no_errors or frame[lower] != self._no_errors:
            raise LoadError(explain(frame))
        count = len(self._no_errors)
        self.tally.requests += 1
        self.tally.records += count * self.records
        self.tally.bytes += count * len(self.batch)


def explain(frame: memoryview) -> str:
    """What a Produce response says that is no acknowledgement."""
    try:
        _, position = decode_response_header(frame, ApiKey.PRODUCE, VERSION)
        response = decode_message(ProduceResponse, VERSION, frame, position)
    except ProtocolError as error:
        return f"a Produce response cannot be read: {error}"
    for topic in response.responses:
        for partition in topic.partition_responses:
            if partition.error_code != ErrorCode.NONE:
                return f"producing to {topic.name}-{partition.index}: {error_for(partition.error_code)}"
    return "a Produce response is not about what was sent"
