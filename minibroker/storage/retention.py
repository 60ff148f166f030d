"""What may go from the beginning of a log, and when.

The log start moves first, durably in the checkpoint; only then are files removed (`Log.complete_checkpoint`). So a
crash in between leaves files that the next start removes, never a log with a hole.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

from minibroker.protocol.errors import OffsetOutOfRange
from minibroker.storage.log_checkpoint import LogCheckpoint
from minibroker.storage.segment import Segment

if TYPE_CHECKING:
    from minibroker.storage.log import Log


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
    log.hints = {offset: hint for offset, hint in log.hints.items() if offset >= start}


def delete_old_segments(log: "Log", now_ms: int) -> list[str]:
    """`Log.delete_old_segments`, in Kafka's way: the active segment too, if all its records are too old."""
    reasons: list[str] = []
    if "delete" in log.settings.cleanup_policy and log.failure is None:
        # One without a byte, whose file was lost, goes with the next that has some.
        while (oldest := next((segment for segment in log.segments if segment.size_bytes), None)) is not None:
            reason = _reason_to_delete(log, oldest, now_ms)
            if reason is None:
                break
            if oldest is log.active:
                log.roll(now_ms)
            reasons.append(f"{log.name}: segment {oldest.base_offset} deleted: {reason}")
            advance_log_start(log, log.next_base_offset(oldest))
    log.release_idle()
    return reasons


def _reason_to_delete(log: "Log", segment: Segment, now_ms: int) -> str | None:
    if log.next_base_offset(segment) > log.durable_end_offset:
        return None
    settings = log.settings
    if settings.retention_ms >= 0:
        newest_ms = segment.max_timestamp_ms
        if newest_ms < 0:
            newest_ms = max(
                log.fs.modified_ms(segment.log_path), segment.created_ms
            )  # the file system knows no other date
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
