"""The topic `__consumer_offsets`: which partition a group belongs to, how records get there and back.

Kafka's tools and every other broker find a group's records by the same rule: Java's hash of the group id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

import attrs
import trio

from minibroker.config.settings import BrokerSettings
from minibroker.groups import formats
from minibroker.groups.machine import MAX_NAME_CHARACTERS
from minibroker.groups.records import GroupsRecord
from minibroker.protocol.errors import CoordinatorNotAvailable, KafkaError, ProtocolError
from minibroker.records.batch import HEADER_BYTES
from minibroker.records.record import read_records
from minibroker.storage.errors import CorruptLog
from minibroker.topics.catalog import Catalog
from minibroker.topics.clock import Clock
from minibroker.topics.names import CONSUMER_OFFSETS
from minibroker.topics.partition import Partition

logger = logging.getLogger(__name__)

RECORDS_PER_TURN: Final = 1_000
"""So many records are read, or decoded, before other tasks get their turn: some milliseconds."""

RECORD_BYTES: Final = 20
"""Of a record in the log beside its key and value, at most."""


@lru_cache(maxsize=1_000)
def java_hash(text: str) -> int:
    """Java's String.hashCode, made positive as Kafka does it: 0 for the one number that has no positive twin."""
    value = 0
    units = text.encode("utf-16-be", "surrogatepass")
    for high, low in zip(units[::2], units[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value if value < 2**31 else (2**32 - value) & 0x7FFFFFFF


@attrs.define(eq=False)
class OffsetsTopic:
    """The broker's side of the topic, which is made when the first group needs it."""

    catalog: Catalog
    settings: BrokerSettings
    clock: Clock
    _partitions: list[Partition] | None = None
    _tickets: dict[int, int] = attrs.field(factory=dict)
    """The round that covers the last append to a partition: other `flush.messages` than 1 are no matter here."""

    def partitions(self) -> list[Partition]:
        """All partitions, as many as there were when the broker first saw the topic; none as long as it does not exist.

        Partitions that are added in service come to their own at the next start: until then no group may move.
        """
        if self._partitions is None and CONSUMER_OFFSETS in self.catalog.topics:
            self._partitions = list(self.catalog.topics[CONSUMER_OFFSETS].partitions)
        return self._partitions or []

    def create(self) -> None:
        """Make the topic if it is not there. Raises CoordinatorNotAvailable."""
        if self.partitions():
            return
        configs = {
            "cleanup.policy": "compact",
            "compression.type": "producer",
            "flush.messages": "1",
            "segment.bytes": str(self.settings.offsets_topic_segment_bytes),
        }
        try:
            self.catalog.create_topic(CONSUMER_OFFSETS, self.settings.offsets_topic_num_partitions, configs)
        except KafkaError as error:
            raise CoordinatorNotAvailable(f"{CONSUMER_OFFSETS} cannot be made: {error.message}") from error

    def index_of(self, group_id: str) -> int:
        """The partition that a group belongs to; of no meaning while there is no topic."""
        # Longer ids are refused, but not before it is known whether their partition is loaded.
        return java_hash(group_id[:MAX_NAME_CHARACTERS]) % (len(self.partitions()) or 1)

    def ticket(self, group_id: str) -> int:
        """The flush round that makes durable what the log says of a group; 0 if it is."""
        return self._outstanding(self._tickets.get(self.index_of(group_id), 0))

    def last_ticket(self) -> int:
        """The flush round that makes durable what the log says of all groups, none of which need be hashed; 0 if it is."""
        return self._outstanding(max(self._tickets.values(), default=0))

    def _outstanding(self, ticket: int) -> int:
        return ticket if ticket > self.catalog.flusher.completed else 0

    def by_partition(self, records: Iterable[GroupsRecord]) -> Iterable[list[GroupsRecord]]:
        """The records of each partition."""
        shares: dict[int, list[GroupsRecord]] = {}
        for record in records:
            shares.setdefault(self.index_of(record.group_id), []).append(record)
        return shares.values()

    def append(self, records: Sequence[GroupsRecord]) -> None:
        """Write `records`, at least one and all of one partition, in one batch. Raises CoordinatorNotAvailable.

        So it does when the disk is all but full, except for tombstones: these are few, and make room.
        """
        self.create()
        encoded = list(map(formats.encode, records))
        size = HEADER_BYTES + sum([RECORD_BYTES + len(key) + len(value or b"") for key, value in encoded])
        if size > self.catalog.room_bytes and any(record.value is not None for record in records):
            raise CoordinatorNotAvailable("the disk is full: try again later")
        index = self.index_of(records[0].group_id)
        partition = self.partitions()[index]
        try:
            partition.append_records(encoded, self.clock.now_ms())
        except KafkaError as error:
            raise CoordinatorNotAvailable(error.message) from error
        self.catalog.room_bytes -= size
        self._tickets[index] = partition.flush_now()


async def read_latest(partition: Partition) -> Mapping[bytes, bytes | None]:
    """The last value of every key in a partition, with nothing decoded that a later record has replaced.

    Raises StorageError and KafkaError if any of it cannot be read: a group whose last commit is missing could skip
    records, and which groups those would be is not known.
    """
    log, latest, seen = partition.log, dict[bytes, bytes | None](), 0
    if log.failure is not None:
        raise log.failure
    max_bytes = log.settings.max_decompressed_bytes
    for header, batch in log.read_batches(log.log_start_offset, log.log_end_offset):
        if header.is_control or header.is_transactional:
            continue  # commits in transactions, which only another broker can have written
        for _, _, key, value, _ in read_records(batch, max_bytes=max_bytes, header=header):
            if key is not None:
                latest[key] = value
        seen += header.record_count
        if seen >= RECORDS_PER_TURN:
            seen = 0
            _refuse_damaged(partition)
            await trio.lowlevel.checkpoint()
    _refuse_damaged(partition)
    return latest


def _refuse_damaged(partition: Partition) -> None:
    """The reading goes around damage, and takes note of what it finds, as long as compaction does not replace the file."""
    if partition.log.damaged:
        raise CorruptLog(f"{partition} is damaged: {partition.log.damaged[0]}")


def decode_all(partition: Partition, latest: Mapping[bytes, bytes | None]) -> Iterator[GroupsRecord]:
    """The records of `latest`; what is none, or of a kind we do not know, is passed over."""
    for key, value in latest.items():
        try:
            record = formats.decode(key, value)
        except ProtocolError as error:
            logger.error("a record of %s is passed over: %s", partition, error)
        else:
            if record is not None:
                yield record
