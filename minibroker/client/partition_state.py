"""How far a consumer has read one partition, and what it has fetched ahead. No I/O: bytes in, records out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple
from uuid import UUID

import attrs

from minibroker.client.metadata import NO_ID, TopicPartition
from minibroker.protocol.errors import CorruptMessage, KafkaError
from minibroker.records.batch import BatchHeader, iter_batches, verify_crc
from minibroker.records.record import Headers, Record, read_records

MAX_DECOMPRESSED_BYTES = 1 << 30
"""What one batch may grow to: the bound against bombs."""

ABORT_MARKER = b"\0\0"
"""The type in the key of a control record, behind a 2-byte version: 0 is abort, 1 commit (KIP-98)."""


class ConsumerRecord(NamedTuple):
    """A record as a consumer hands it out. A tuple, because there are hundreds of thousands a second."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Start(Enum):
    """Where to begin in a partition."""

    EARLIEST = "earliest"
    LATEST = "latest"
    ERROR = "error"
    """Nowhere: NoOffset is raised."""
    COMMITTED = "committed"
    """Where the group stopped; if it never was there, as `auto_offset_reset` says."""
    TIME = "time"
    """At the first record at or after a time."""
    LAST = "last"
    """So many offsets before the end."""
    OFFSET = "offset"
    """At a given offset."""


@attrs.frozen
class Seek:
    """A position that has yet to be looked up."""

    start: Start
    value: int = 0
    """For TIME ms since the epoch, for LAST how many, for OFFSET the offset."""


class Fetched(NamedTuple):
    """A batch that was fetched; without bytes, one that holds nothing for the application."""

    header: BatchHeader
    batch: memoryview | None


@attrs.define(eq=False)
class PartitionState:
    """One assigned partition."""

    partition: TopicPartition
    topic_id: UUID = NO_ID
    seek: Seek | None = None
    """Pending; while there is one, the position is not known."""
    done: int = -1
    """Up to where the application is done: what was handed out before it came back for more. What is committed."""
    fetch_offset: int = -1
    """What to fetch next."""
    epoch: int = 0
    """Counts the seeks, so that the answer to an older fetch is recognised."""
    paused: bool = False
    retry_at: float = 0.0
    """Not fetched before; a time of the Trio clock."""
    error: KafkaError | None = None
    """To be raised to the application."""
    high_watermark: int = -1
    last_stable_offset: int = -1
    log_start_offset: int = -1
    buffered_bytes: int = 0
    _buffer: deque[Fetched] = attrs.Factory(deque)
    records: Sequence[Record] = ()
    """The batch that is being handed out, and the index of the next one of it."""
    next: int = 0
    _after_records: int = -1
    """The position once they are handed out."""

    @property
    def position(self) -> int:
        """The offset of the next record to hand out; -1 while it is not known."""
        return self.records[self.next].offset if self.next < len(self.records) else self._after_records

    def move_to(self, seek: Seek) -> None:
        """Forget the position; it will be looked up."""
        self._reset(-1)
        self.seek = seek

    def move_to_offset(self, offset: int) -> None:
        """Go on at an offset."""
        self._reset(offset)
        self.seek = None

    def _reset(self, offset: int) -> None:
        self.epoch += 1
        self.error = None
        self.retry_at = 0.0
        self._drop(offset)
        self.done = offset

    def clear(self) -> None:
        """Drop what was fetched ahead, to fetch it again."""
        self._drop(self.position)

    def _drop(self, position: int) -> None:
        self._buffer.clear()
        self.buffered_bytes = 0
        self.records, self.next, self._after_records = (), 0, position
        self.fetch_offset = position

    def add(self, records: memoryview, aborted: Iterable[tuple[int, int]] = ()) -> None:
        """Take the batches of a fetch response. `aborted`: (first offset, producer id) of aborted transactions.

        Raises CorruptMessage for what is no batch.
        """
        pending = sorted(aborted, reverse=True)
        active: set[int] = set()
        for header, batch in iter_batches(records):
            if header.next_offset <= self.fetch_offset:
                continue  # a fetch in the middle of a batch returns the whole of it, and those compacted away before
            while pending and pending[-1][0] <= header.last_offset:
                active.add(pending.pop()[1])
            hidden = header.is_control or (header.is_transactional and header.producer_id in active)
            if header.is_control and header.producer_id in active and _is_abort(batch):
                active.discard(header.producer_id)
            self._buffer.append(Fetched(header, None if hidden else batch))
            self.buffered_bytes += header.size_bytes
            self.fetch_offset = header.next_offset

    def take(self, max_records: int) -> Sequence[Record]:
        """Hand out the next records, at most so many and of one batch at most; empty if there are none.

        Raises CorruptMessage, InvalidRecord, UnsupportedCompressionType; the position stays before the bad batch.
        """
        while self.next >= len(self.records):
            if not self._buffer:
                return ()
            self._decode_next()
        records, start = self.records, self.next
        if start or len(records) > max_records:
            records = records[start : start + max_records]
        self.next = start + len(records)
        return records

    def _decode_next(self) -> None:
        header, batch = self._buffer[0]
        records: list[Record] = []
        if batch is not None:
            try:
                verify_crc(batch)
                records = read_records(batch, max_bytes=MAX_DECOMPRESSED_BYTES)
            except KafkaError as error:
                raise type(error)(f"{self.partition}, batch at offset {header.base_offset}: {error.message}") from error
            if header.base_offset < self.position:
                records = [record for record in records if record.offset >= self.position]
        self._buffer.popleft()
        self.buffered_bytes -= header.size_bytes
        self.records, self.next, self._after_records = records, 0, header.next_offset


def _is_abort(batch: memoryview) -> bool:
    try:
        records = read_records(batch, max_bytes=MAX_DECOMPRESSED_BYTES)
    except CorruptMessage:
        return False
    return bool(records) and (records[0].key or b"")[2:4] == ABORT_MARKER
