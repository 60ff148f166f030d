"""What may go from the beginning of a log, and when.

The log start moves first, durably in the checkpoint; only then are files removed (`Log.complete_checkpoint`). So a
crash in between leaves files that the next start removes, never a log with a hole.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

from minibroker.protocol.errors import OffsetOutOfRange
from minibroker.storage.log_checkpoint import LogCheckpoint
from minibroker.storage.segment import Segment

if TYPE_CHECKING:
    from minibroker.storage.log import Log

CATCH_UP = 2
"""How much faster than real time a RetentionClock follows a wall clock that is ahead of it."""
DOUBTED_S = 3600.0
DOUBTED_SHARE = 0.01
"""How long the time between two lives is doubted: this long, or this share of it if that is longer."""


@attrs.define
class RetentionClock:
    """The date for whatever deletes by age: the wall clock, but a date that is wrong does not delete data.

    A step forward is followed at twice the speed of real time. A clock that was wrong and then set right by a year thus
    grants old segments a year; one that is set back, or that jumped by mistake and comes back before the data was due, has
    done no harm. The time that seems to have passed between two lives is not believed at first: until it is, somebody,
    or NTP, may set the clock right.
    """

    reached_ms: int
    """The latest date that was believed; the wall clock may be behind it, and is obeyed then. To be told the next life."""
    _seen_s: float
    """The monotonic clock when this was last looked at."""
    doubted_ms: int = 0
    """By so much the date is later than the last life's, which may be an error."""
    _began_s: float = attrs.field()

    @_began_s.default
    def _begin(self) -> float:
        return self._seen_s

    @classmethod
    def after(cls, last_ms: int | None, wall_ms: int, monotonic_s: float) -> "RetentionClock":
        """The clock of a life whose predecessor has last believed in `last_ms`; None if nobody knows."""
        if last_ms is None:
            return cls(wall_ms, monotonic_s)
        return cls(last_ms, monotonic_s, max(wall_ms - last_ms, 0))

    @property
    def doubted_s(self) -> float:
        """How long a life must have lasted until what is doubted is believed."""
        return max(DOUBTED_S, self.doubted_ms / 1000 * DOUBTED_SHARE)

    def now_ms(self, wall_ms: int, monotonic_s: float) -> int:
        """The date, given both clocks."""
        elapsed_ms = max(monotonic_s - self._seen_s, 0) * 1000
        self._seen_s = monotonic_s
        latest_ms = self.reached_ms + int(elapsed_ms if self.doubted_ms else CATCH_UP * elapsed_ms)
        if monotonic_s - self._began_s >= self.doubted_s:
            latest_ms, self.doubted_ms = latest_ms + self.doubted_ms, 0
        self.reached_ms = max(self.reached_ms, min(wall_ms, latest_ms))
        self.doubted_ms = min(self.doubted_ms, max(wall_ms - self.reached_ms, 0))  # less if the clock was set right
        return min(wall_ms, self.reached_ms)


def advance_log_start(log: "Log", offset: int) -> None:
    """`Log.advance_log_start`."""
    if offset > log.durable_end_offset:
        raise OffsetOutOfRange(f"offset {offset} of {log.name}, whose durable end is {log.durable_end_offset}")
    if offset < log.log_start_offset:
        return
    if offset > log.log_start_offset:
        log.log_start_offset = offset
        log.needs_checkpoint = True
    drop_segments(log)


def drop_segments(log: "Log") -> None:
    """Forget segments, and all else, that lies wholly below the log start."""
    start = log.log_start_offset
    while len(log.segments) > 1 and log.segments[1].base_offset <= start:
        log.removed.append(log.segments.pop(0))
    first = log.segments[0].base_offset
    log.damaged = [damage for damage in log.damaged if damage.segment >= first and not damage.holds_only_below(start)]
    while len(log.epochs) > 1 and log.epochs[1][1] <= start:
        del log.epochs[0]
    log.hints = {offset: hint for offset, hint in log.hints.items() if offset >= start}


def delete_old_segments(log: "Log", now_ms: int) -> list[str]:
    """`Log.delete_old_segments`, in Kafka's way: the active segment too, if all its records are too old."""
    reasons: list[str] = []
    if "delete" in log.settings.cleanup_policy and log.failure is None:
        while (reason := _reason_to_delete(log, log.segments[0], now_ms)) is not None:
            first = log.segments[0]
            if first is log.active:
                log.roll(now_ms)
            reasons.append(f"{log.name}: segment {first.base_offset} deleted: {reason}")
            advance_log_start(log, log.segments[1].base_offset)
    log.release_idle()
    return reasons


def _reason_to_delete(log: "Log", segment: Segment, now_ms: int) -> str | None:
    if not segment.size_bytes or log.next_base_offset(segment) > log.durable_end_offset:
        return None
    settings = log.settings
    if settings.retention_ms >= 0:
        newest_ms = segment.max_timestamp_ms
        if newest_ms < 0:
            newest_ms = log.fs.modified_ms(segment.log_path)
        if now_ms - newest_ms > settings.retention_ms:
            return f"its newest record is {now_ms - newest_ms} ms old, retention.ms is {settings.retention_ms}"
    if settings.retention_bytes >= 0:
        excess = log.size_bytes - settings.retention_bytes
        if excess >= segment.size_bytes:
            return f"the log has {log.size_bytes} bytes, retention.bytes is {settings.retention_bytes}"
    return None


def remove_files(log: "Log", checkpoint: LogCheckpoint) -> None:
    """Remove the files that lie below both the log start and the durable end of a checkpoint that is durable."""
    end_offset = min(checkpoint.log_start_offset, checkpoint.durable.segment)
    for segment, following in pairwise([*log.removed, log.segments[0]]):
        if following.base_offset > end_offset:
            break
        for path in segment.paths:
            log.fs.unlink(path)
        log.removed.remove(segment)
