"""What a partition remembers of its idempotent producers, to answer a retry instead of appending it twice.

Pure. Kafka's rules, in the order in which `check` applies them to a batch with a producer id:

1. an epoch below the one known: INVALID_PRODUCER_EPOCH;
2. the same epoch, first and last sequence as one of the last five batches: a duplicate, answered with its offsets;
3. a newer epoch must begin at sequence 0;
4. the same epoch must continue at the sequence after the last one, where 0 follows 2^31 - 1;
5. a producer this partition knows nothing of may begin anywhere.

A violation of 3 or 4 is OUT_OF_ORDER_SEQUENCE_NUMBER. Batches without a producer id concern nobody here; control
batches carry an epoch but no sequence. Five, because a producer keeps at most five requests in flight.

`check` decides and `update` remembers: the same `update` serves appends and the replay of a log at start-up.
"""

from collections.abc import Sequence

import attrs

from minibroker.protocol.errors import InvalidProducerEpoch, OutOfOrderSequenceNumber
from minibroker.records.batch import MAX_SEQUENCE, NO_PRODUCER_ID, BatchHeader

REMEMBERED_BATCHES = 5

KnownBatch = tuple[int, int, int, int, int]
"""(first sequence, last sequence, base offset, last offset, timestamp in ms); a tuple for the checkpoint's sake."""


ProducerSnapshot = Sequence[tuple[int, int, int, list[KnownBatch]]]
"""(producer id, epoch, last seen in ms, batches) of each producer, ready for JSON."""


@attrs.frozen
class DuplicateOf:
    """The batch that was appended when its twin first came."""

    base_offset: int
    last_offset: int
    timestamp_ms: int


@attrs.define
class ProducerEntry:
    """One producer, as this partition knows it."""

    epoch: int
    last_seen_ms: int
    """When it last appended here."""
    batches: list[KnownBatch] = attrs.field(factory=list)
    """The last five of this epoch, oldest first. Empty after a control batch of a new epoch."""


@attrs.define(eq=False)
class ProducerState:
    """All producers of one partition."""

    entries: dict[int, ProducerEntry] = attrs.field(factory=dict)

    def check(self, header: BatchHeader, now_ms: int) -> DuplicateOf | None:
        """Decide on a batch that a producer sent: None to append it, or the batch that it repeats.

        Raises InvalidProducerEpoch and OutOfOrderSequenceNumber.
        """
        entry = self.entries.get(header.producer_id)
        if header.producer_id == NO_PRODUCER_ID or entry is None:
            return None
        if header.producer_epoch < entry.epoch:
            raise InvalidProducerEpoch(
                f"epoch {header.producer_epoch} of producer {header.producer_id} is older than {entry.epoch}"
            )
        if header.is_control:
            return None
        if header.producer_epoch > entry.epoch:
            if header.base_sequence != 0:
                raise OutOfOrderSequenceNumber(
                    f"producer {header.producer_id} begins epoch {header.producer_epoch} at sequence "
                    f"{header.base_sequence}"
                )
            return None
        last_sequence = header.last_sequence
        for first, last, base_offset, last_offset, timestamp_ms in entry.batches:
            if first == header.base_sequence and last == last_sequence:
                return DuplicateOf(base_offset, last_offset, timestamp_ms)
        # Without a batch of this epoch (a control batch brought it) Kafka too takes only sequence 0, the one after -1.
        expected = (entry.batches[-1][1] + 1) & MAX_SEQUENCE if entry.batches else 0
        if header.base_sequence != expected:
            raise OutOfOrderSequenceNumber(
                f"producer {header.producer_id} sent sequence {header.base_sequence} where {expected} was expected"
            )
        return None

    def update(self, header: BatchHeader, now_ms: int) -> None:
        """Remember a batch that was appended, or found in the log."""
        if header.producer_id == NO_PRODUCER_ID:
            return
        entry = self.entries.get(header.producer_id)
        if entry is None:
            entry = self.entries[header.producer_id] = ProducerEntry(header.producer_epoch, now_ms)
        elif header.producer_epoch != entry.epoch:
            entry.epoch = header.producer_epoch
            entry.batches.clear()
        entry.last_seen_ms = now_ms
        if header.is_control or header.base_sequence < 0:
            return
        batches = entry.batches
        batches.append(
            (header.base_sequence, header.last_sequence, header.base_offset, header.last_offset, header.max_timestamp)
        )
        if len(batches) > REMEMBERED_BATCHES:
            del batches[0]

    def await_first(self, header: BatchHeader, now_ms: int) -> None:
        """A batch could not be written. If a producer has begun with it, those in flight behind it must not come first."""
        if header.producer_id != NO_PRODUCER_ID and header.base_sequence == 0:
            self.entries.setdefault(header.producer_id, ProducerEntry(header.producer_epoch, now_ms))

    def expire(self, now_ms: int, expiration_ms: int) -> None:
        """Forget producers not seen for `expiration_ms`. `now_ms` must be a clock that does not jump."""
        idle = [key for key, entry in self.entries.items() if now_ms - entry.last_seen_ms >= expiration_ms]
        for key in idle:
            del self.entries[key]

    def forget_oldest(self, most: int) -> None:
        """Keep no more than `most` producers: those that have been idle for longest go."""
        excess = len(self.entries) - most
        if excess > 0:
            for key in sorted(self.entries, key=lambda key: self.entries[key].last_seen_ms)[:excess]:
                del self.entries[key]

    def snapshot(self) -> ProducerSnapshot:
        """A copy of everything."""
        return [
            (producer_id, entry.epoch, entry.last_seen_ms, list(entry.batches))
            for producer_id, entry in self.entries.items()
        ]

    @classmethod
    def restore(cls, snapshot: ProducerSnapshot) -> "ProducerState":
        """The state that `snapshot` was taken of."""
        entries = {
            producer_id: ProducerEntry(epoch, seen_ms, [_known_batch(batch) for batch in batches])
            for producer_id, epoch, seen_ms, batches in snapshot
        }
        return cls(entries)


def _known_batch(fields: KnownBatch) -> KnownBatch:
    first, last, base_offset, last_offset, timestamp_ms = fields
    return first, last, base_offset, last_offset, timestamp_ms
