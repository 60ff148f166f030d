"""Reading a partition through as a consumer would, and finding what of it cannot be read, is damaged, or is missing.

The broker answers only up to the next batch it cannot read. Where that begins to be readable again it does not say, so
that is searched: in steps that grow by an eighth of the way, and then back by halving. Good records between two bad
ranges may be passed over where they are fewer than such a step; what is called good has been read.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from minibroker.client.cluster import Cluster
from minibroker.client.metadata import TopicPartition
from minibroker.client.offsets import EARLIEST, LATEST, list_offsets, why_no_leader
from minibroker.client.partition_state import MAX_DECOMPRESSED_BYTES
from minibroker.protocol.errors import (
    CorruptMessage,
    ErrorCode,
    InvalidRecord,
    KafkaError,
    KafkaStorageError,
    OffsetOutOfRange,
    UnsupportedCompressionType,
    error_for,
)
from minibroker.protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from minibroker.records.batch import BatchHeader, iter_batches, verify_crc
from minibroker.records.compression import Buffer
from minibroker.records.record import read_payload
from minibroker.records.scan import scan_records

LAST_VERSION_WITH_NAMES = 12
FETCH_BYTES = 8 << 20
STEP = 8
"""The search goes on by this part of what it has come."""

UNREADABLE = (KafkaStorageError, CorruptMessage, InvalidRecord, UnsupportedCompressionType)
"""What the broker says of a damaged range, or what comes of one that it sends."""

FINAL = frozenset({ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, *(error.code for error in UNREADABLE)})
"""Some of these a consumer tries again, since it cannot go on without; here they are what was looked for."""

Advance = Callable[[int, int], None]
"""Told of every batch: (records, bytes)."""


@attrs.frozen(kw_only=True)
class BadRange:
    """Offsets that are there and cannot be had."""

    start_offset: int
    end_offset: int
    """Behind the last."""
    reason: str

    def __str__(self) -> str:
        return f"offsets {self.start_offset} to {self.end_offset - 1}: {self.reason}"


@attrs.define(kw_only=True)
class PartitionCheck:
    """What was read of a partition, and what is wrong with it."""

    partition: TopicPartition
    begin: int = 0
    end: int = 0
    batches: int = 0
    records: int = 0
    size_bytes: int = 0
    bad: list[BadRange] = attrs.Factory(list)
    error: str = ""
    """Why it could not be read to its end; empty if it could."""

    @property
    def is_good(self) -> bool:
        """Whether all of it was read, and nothing found."""
        return not self.bad and not self.error


async def check_partition(
    cluster: Cluster, partition: TopicPartition, *, gaps_allowed: bool, advance: Advance
) -> PartitionCheck:
    """Read all that a partition holds now. `gaps_allowed` if it is compacted, where offsets may be missing."""
    found = PartitionCheck(partition=partition)
    reader = _Reader(cluster, found, gaps_allowed, advance)
    try:
        await reader.read()
    except KafkaError as error:
        found.error = str(error)
    return found


@attrs.define
class _Reader:
    """Goes through one partition."""

    cluster: Cluster
    found: PartitionCheck
    gaps_allowed: bool
    advance: Advance
    offset: int = 0
    """Up to here all is done."""
    limit: int = 0
    """The end as the last answer gave it: it moves on while somebody produces."""

    async def read(self) -> None:
        found = self.found
        found.end = await self._limit(LATEST)
        found.begin = self.offset = await self._limit(EARLIEST)
        while self.offset < found.end:
            start = self.offset
            try:
                data = await self._fetch(start, FETCH_BYTES)
                if not data and self.gaps_allowed:
                    return  # the last that were there have been compacted away
                for header, batch in iter_batches(data):
                    self._take(header, batch)
                if self.offset == start:
                    raise CorruptMessage(f"the broker sends {len(data)} bytes that hold no batch")
            except UNREADABLE as error:
                await self._pass_over(error)
            except OffsetOutOfRange as error:
                await self._follow_retention(error)

    def _take(self, header: BatchHeader, batch: memoryview) -> None:
        """Check a batch, and go on behind it. Raises CorruptMessage or InvalidRecord if it is none to read."""
        if header.next_offset <= self.offset:
            return  # a fetch may begin with what was compacted away before
        count = self._count(header, batch)
        if not self.gaps_allowed:
            missing = header.last_offset_delta + 1 - count
            if header.base_offset > self.offset:
                self._note(header.base_offset, "missing, and it is not compacted")
            if missing:
                self._note(header.next_offset, f"{missing} of {count + missing} records are missing")
        self.offset = header.next_offset
        self.found.end = max(self.found.end, self.offset)
        self.found.batches += 1
        self.found.records += count
        self.found.size_bytes += len(batch)
        self.advance(count, len(batch))

    def _count(self, header: BatchHeader, batch: memoryview) -> int:
        """The records of a batch, each looked at. Raises CorruptMessage or InvalidRecord."""
        if header.next_offset > self.limit:
            last = header.last_offset
            raise CorruptMessage(f"a batch of offsets {header.base_offset} to {last}, where {self.limit} is the end")
        verify_crc(batch)
        return len(scan_records(read_payload(batch, header, MAX_DECOMPRESSED_BYTES), header))

    def _note(self, end_offset: int, reason: str) -> None:
        self.found.bad.append(BadRange(start_offset=self.offset, end_offset=end_offset, reason=reason))

    async def _follow_retention(self, error: KafkaError) -> None:
        """What was to be read next has been deleted meanwhile. Raises the error if it has not."""
        begin = await self._limit(EARLIEST)
        if begin <= self.offset:
            raise error
        self.offset = begin

    async def _pass_over(self, error: KafkaError) -> None:
        """Go on where the partition can be read again."""
        bad, good = self.offset, self.found.end
        while bad + 1 < good:
            probe = min(bad + 1 + (bad - self.offset) // STEP, good - 1)
            base = await self._base_at(probe)
            if base is not None:
                good = max(base, bad + 1)
                break
            bad = probe
        while bad + 1 < good:
            middle = (bad + good) // 2
            base = await self._base_at(middle)
            if base is None:
                bad = middle
            else:
                good = max(base, bad + 1)
        self._note(good, error.message or error.code.meaning)
        self.offset = good

    async def _base_at(self, offset: int) -> int | None:
        """The first offset that comes with an offset, which is in a batch or before one; None if it cannot be read."""
        try:
            for header, batch in iter_batches(await self._fetch(offset, 1)):
                if header.next_offset > offset:
                    self._count(header, batch)
                    return min(header.base_offset, offset)
        except UNREADABLE:
            pass
        return None

    async def _limit(self, which: int) -> int:
        """Where the partition begins or ends."""
        where = self.found.partition
        return (await list_offsets(self.cluster, {where: which}))[where].offset

    async def _fetch(self, offset: int, max_bytes: int) -> Buffer:
        """Whole batches from one offset on, and perhaps part of another. Raises KafkaError."""
        where = self.found.partition
        wanted = FetchPartition(partition=where.partition, fetch_offset=offset, partition_max_bytes=max_bytes)
        request = FetchRequest(
            max_wait_ms=0,
            min_bytes=0,
            max_bytes=max_bytes,
            topics=[FetchTopic(topic=where.topic, partitions=[wanted])],
        )

        async def attempt() -> Buffer:
            node_id = self.cluster.info.leader(where)
            if node_id < 0:
                raise why_no_leader(self.cluster, where)
            response = await self.cluster.request(
                request, node_id=node_id, purpose="fetch", highest=LAST_VERSION_WITH_NAMES
            )
            if response.error_code:
                raise error_for(response.error_code)
            answer = response.responses[0].partitions[0]
            if answer.error_code:
                raise error_for(answer.error_code)
            self.limit = answer.high_watermark
            return answer.records or b""

        return await self.cluster.retrying(attempt, f"reading {where} at offset {offset}", FINAL)
