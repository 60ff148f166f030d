"""What the checkpoint file says of one log, as a value and as JSON.

Everything in it is as it was at the durable end it names: never at a later log end, for what lies between may be lost,
and other records may then get the same offsets.
"""

import uuid
from operator import attrgetter
from typing import Any

import attrs
import orjson

from minibroker.storage.index import SavedIndex
from minibroker.storage.integrity import Damage
from minibroker.storage.producer_state import ProducerSnapshot
from minibroker.storage.segment import Segment


@attrs.frozen
class LogPosition:
    """A batch boundary: an offset and where in which segment it lies."""

    offset: int
    segment: int
    """Base offset of the segment."""
    position: int


ORIGIN = LogPosition(0, 0, 0)


@attrs.frozen
class SegmentState:
    """A segment without its files. The fields are Segment's."""

    base_offset: int
    size_bytes: int
    max_timestamp_ms: int
    max_timestamp_offset: int
    first_timestamp_ms: int | None
    created_ms: int
    compacted: bool
    bytes_since_index: int
    offset_index: SavedIndex | None
    """None: rebuild it."""
    time_index: SavedIndex | None
    last_indexed_timestamp_ms: int

    @classmethod
    def of(cls, segment: Segment) -> "SegmentState":
        """The state of a segment, whose index entries are written out."""
        values = [*_plain(segment), *segment.save_indexes(), segment.time_index.last_timestamp_ms]
        return cls(*values)

    def apply(self, segment: Segment) -> None:
        """Give a new Segment object this state."""
        for name in _PLAIN:
            setattr(segment, name, getattr(self, name))
        segment.offset_index.saved = self.offset_index
        segment.time_index.saved = self.time_index
        segment.time_index.last_timestamp_ms = self.last_indexed_timestamp_ms


_PLAIN = [field.name for field in attrs.fields(SegmentState)][:-3]
"""The fields that are attributes of the segment itself."""
_plain = attrgetter(*_PLAIN)


@attrs.frozen
class Capture:
    """What a log knew when it ended at a position: together with the files this is all that a restart needs."""

    end: LogPosition
    active: SegmentState
    """The segment that holds the end."""
    producers: ProducerSnapshot


@attrs.frozen(kw_only=True)
class LogCheckpoint:
    """One log."""

    topic_id: uuid.UUID | None = None
    """None: of a log that was never in a checkpoint."""
    log_start_offset: int = 0
    durable: LogPosition = ORIGIN
    """Everything below is on the disk."""
    compacted_offset: int = 0
    segments: tuple[SegmentState, ...] = ()
    """Those below the durable end; the last one is cut there, however long it is by now."""
    producers: ProducerSnapshot = ()
    damaged: tuple[Damage, ...] = ()

    def encode(self) -> bytes:
        """As one line of JSON; arrays in place of objects where there are many."""
        assert self.topic_id is not None
        content = {
            "topic_id": str(self.topic_id),
            "log_start_offset": self.log_start_offset,
            "durable": (self.durable.offset, self.durable.segment, self.durable.position),
            "compacted_offset": self.compacted_offset,
            "segments": [_segment_to_json(segment) for segment in self.segments],
            "producers": self.producers,
            "damaged": [attrs.asdict(damage) for damage in self.damaged],
        }
        return orjson.dumps(content)

    @classmethod
    def decode(cls, line: bytes) -> "LogCheckpoint":
        """Read what `encode` wrote; its CRC was checked, so whatever is wrong is our bug."""
        content: dict[str, Any] = orjson.loads(line)
        return cls(
            topic_id=uuid.UUID(content["topic_id"]),
            log_start_offset=content["log_start_offset"],
            durable=LogPosition(*content["durable"]),
            compacted_offset=content["compacted_offset"],
            segments=tuple(_segment_from_json(fields) for fields in content["segments"]),
            producers=content["producers"],
            damaged=tuple(Damage(**fields) for fields in content["damaged"]),
        )


def _segment_to_json(state: SegmentState) -> list[object]:
    indexes = [saved and (saved.size_bytes, saved.crc) for saved in (state.offset_index, state.time_index)]
    return [*_plain(state), *indexes, state.last_indexed_timestamp_ms]


def _segment_from_json(fields: list[Any]) -> SegmentState:
    *plain, offset_index, time_index, last_indexed_timestamp_ms = fields
    indexes = [saved and SavedIndex(*saved) for saved in (offset_index, time_index)]
    values = [*plain, *indexes, last_indexed_timestamp_ms]
    return SegmentState(*values)


NEVER_CHECKPOINTED = LogCheckpoint()
"""Of a log younger than an undamaged checkpoint file: nothing of it is known to be durable, and it never had more."""
