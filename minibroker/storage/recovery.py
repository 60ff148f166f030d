"""Opening a log: what is known to be durable is trusted, what lies beyond is read batch by batch.

    D, the durable end of the last checkpoint, divides the log:

    below D    not read. A segment that is missing or has another size than the checkpoint says is looked through, and
               what is damaged is quarantined.
    from D on  read batch by batch (`tail`).

Of a log that is exactly as its checkpoint says nothing is read. Every step may be killed and done
again; the result is the same.
"""

import contextlib
import logging
import uuid
from itertools import pairwise, product
from typing import TYPE_CHECKING

import attrs

from minibroker.storage import damages, retention
from minibroker.storage.errors import DiskFull, MissingFile, StorageError, Unreadable
from minibroker.storage.files import (
    CLEANED,
    COMPACTED,
    INDEX,
    LOG,
    PARTITION_METADATA,
    SWAP,
    TIME_INDEX,
    TORN,
    base_offset_of,
    decode_partition_metadata,
    encode_partition_metadata,
    segment_name,
)
from minibroker.storage.filesystem import FileSystem, parent_directory, replace_file
from minibroker.storage.integrity import Damage, check_range, missing_segment
from minibroker.storage.log_checkpoint import (
    NEVER_CHECKPOINTED,
    ORIGIN,
    Capture,
    LogCheckpoint,
    LogPosition,
)
from minibroker.storage.producer_state import ProducerState
from minibroker.storage.segment import Segment
from minibroker.storage.settings import LogSettings
from minibroker.storage.swap import recover_compaction
from minibroker.storage.tail import MAX_OFFSET, Recovered, RecoveryReport
from minibroker.storage.walk import BadBatch, walk_headers

if TYPE_CHECKING:
    from minibroker.storage.log import Log

logger = logging.getLogger(__name__)


def open_log(
    make: "type[Log]",
    fs: FileSystem,
    directory: str,
    settings: LogSettings,
    checkpoint: LogCheckpoint | None,
    now_ms: int,
    topic_id: uuid.UUID | None,
) -> "tuple[Log, RecoveryReport]":
    """`Log.open`."""
    report = RecoveryReport(name=directory.rpartition("/")[2], is_doubtful=checkpoint is None)
    sizes = fs.list_sizes(directory)
    if any(name.endswith((CLEANED, SWAP)) for name in sizes):
        report.completed_swaps = recover_compaction(fs, directory)
        sizes = fs.list_sizes(directory)
    was_cut = any(name.endswith(TORN) for name in sizes)
    if was_cut:
        # Perhaps by a recovery that was killed: the log may look like its checkpoint, but what was cut must not return.
        fs.sync_directory(directory)
    if topic_id is None:
        topic_id = topic_id_in(fs, directory) or uuid.UUID(int=0)  # only who knows the topic can tell then
    if checkpoint is not None and checkpoint.topic_id not in (None, topic_id):
        checkpoint = NEVER_CHECKPOINTED
    bases = _remove_empty(fs, directory, sizes, checkpoint)
    if checkpoint is not None:
        checkpoint, bases = _remove_leftovers(fs, directory, checkpoint, bases)
    first = bases[0] if bases else 0
    swaps = report.completed_swaps
    known = checkpoint or LogCheckpoint(log_start_offset=first, durable=LogPosition(first, first, 0))
    recovered = Recovered(
        fs=fs,
        directory=directory,
        settings=settings,
        now_ms=now_ms,
        in_doubt=checkpoint is None,
        was_cut=was_cut,
        was_compacted=COMPACTED in sizes or "compact" in settings.cleanup_policy,
        sizes=sizes,
        report=report,
        producer_state=ProducerState.restore(known.producers),
        # Damage in what a swap has replaced goes with the old files, which were whole when compaction read them.
        damaged=[item for item in known.damaged if not any(base <= item.segment < end for base, end in swaps)],
    )
    return _Recovery(recovered, known, bases).run(make, topic_id), report


def topic_id_in(fs: FileSystem, directory: str) -> uuid.UUID | None:
    """From `partition.metadata`; None if that is missing, damaged, or cannot be read. Raises other StorageErrors."""
    content = _content_of(fs, f"{directory}/{PARTITION_METADATA}")
    return None if content is None else decode_partition_metadata(content)


def _content_of(fs: FileSystem, path: str) -> bytes | None:
    try:
        return fs.read(path)
    except (MissingFile, Unreadable):
        return None


def _remove_empty(fs: FileSystem, directory: str, sizes: dict[str, int], checkpoint: LogCheckpoint | None) -> list[int]:
    """Remove what rolls that failed have left behind; returns the base offsets of the segments there are."""
    bases = sorted(base for name in sizes if (base := base_offset_of(name)) is not None)
    known = {state.base_offset for state in checkpoint.segments} if checkpoint else set()
    empty = [base for base in bases[:-1] if base not in known and not sizes[segment_name(base) + LOG]]
    for base in empty:
        fs.unlink(f"{directory}/{segment_name(base)}{LOG}")
    return [base for base in bases if base not in empty]


def _remove_leftovers(
    fs: FileSystem, directory: str, checkpoint: LogCheckpoint, bases: list[int]
) -> tuple[LogCheckpoint, list[int]]:
    """Remove segments that lie wholly below the log start: a crash came before their files went, or came to stay away.

    Those that cannot be removed are left alone, without a hole between them and the log.
    """
    end_offset = min(checkpoint.log_start_offset, checkpoint.durable.segment)
    old = [base for base, following in pairwise(bases) if following <= end_offset]
    try:
        for base, suffix in product(old, (LOG, INDEX, TIME_INDEX)):
            fs.unlink(f"{directory}/{segment_name(base)}{suffix}")
    except StorageError as error:
        logger.error("old files of %s stay until the next start: %s", directory, error)
    bases = bases[len(old) :]
    states = checkpoint.segments
    while len(states) > 1 and states[1].base_offset <= end_offset:
        states = states[1:]
    return attrs.evolve(checkpoint, segments=states), bases


def _capture_of(checkpoint: LogCheckpoint) -> Capture | None:
    if not checkpoint.segments:
        return None
    return Capture(checkpoint.durable, checkpoint.segments[-1], checkpoint.producers)


@attrs.define(eq=False)
class _Recovery:
    """One recovery of a log that is not as its checkpoint says."""

    log: Recovered
    checkpoint: LogCheckpoint
    bases: list[int]
    """Base offsets of the segments found."""
    suspicious: list[Segment] = attrs.field(factory=list)
    """To be looked through, once there is a log."""

    def run(self, make: "type[Log]", topic_id: uuid.UUID) -> "Log":
        """Recover and return the log; what was recovered is dirty."""
        recovered, checkpoint = self.log, self.checkpoint
        self._adopt_durable()
        durable = self._recover_tail()
        if checkpoint.topic_id is None or PARTITION_METADATA not in recovered.sizes:
            self._write_metadata(topic_id)
        log = make(
            fs=recovered.fs,
            directory=recovered.directory,
            settings=recovered.settings,
            topic_id=topic_id,
            segments=recovered.segments,
            log_start_offset=checkpoint.log_start_offset,
            log_end_offset=recovered.offset,
            durable=durable,
            producer_state=recovered.producer_state,
            damaged=recovered.damaged,
            compacted_offset=checkpoint.compacted_offset,
            checkpointed=ORIGIN if recovered.in_doubt else durable,
            captured=_capture_of(checkpoint) if durable == checkpoint.durable else None,
            needs_checkpoint=recovered.in_doubt or bool(self.suspicious) or not checkpoint.segments,
            unsynced_files=recovered.files,
            unsynced_directories=recovered.directories,
        )
        retention.drop_segments(log)
        for segment in self.suspicious:
            if segment in log.segments:
                self._look_through(log, segment)
        return log

    def _write_metadata(self, topic_id: uuid.UUID) -> None:
        """Write the topic's id again; in place only over itself, for a torn write could make another id of it."""
        recovered, content = self.log, encode_partition_metadata(topic_id)
        path = f"{recovered.directory}/{PARTITION_METADATA}"
        if _content_of(recovered.fs, path) == content:
            file = recovered.fs.open(path)
            file.pwrite(content, 0)
            recovered.files.append(file)
        else:
            with contextlib.suppress(DiskFull):  # the next start tries again
                replace_file(recovered.fs, path, content)
        recovered.directories += [recovered.directory, parent_directory(recovered.directory)]

    def _adopt_durable(self) -> None:
        """The segments below the one with the durable end; those that are not as they were are suspicious."""
        recovered, end = self.log, self.checkpoint.durable.segment
        known = {state.base_offset: state for state in self.checkpoint.segments if state.base_offset < end}
        found = {base for base in self.bases if base < end}
        merged_end: int | None = None
        for base in sorted(known.keys() | found):
            state = known.get(base)
            if base not in found:
                merged_end = self._merged_end(base) if merged_end is None else merged_end
                if base >= merged_end:
                    self._replace_missing(base)
                continue
            merged_end = None
            segment = recovered.add_segment(base, state)
            size = recovered.file_size(base)
            if state is None or state.size_bytes != size:
                segment.size_bytes = size
                segment.compacted = segment.compacted or recovered.was_compacted
                self.suspicious.append(segment)

    def _merged_end(self, missing: int) -> int:
        """Where the batches of the last segment so far end; 0 if it cannot have taken in the `missing` one by compaction.

        That has left something of every segment it took in. Where the chain of batches is broken, a segment of another
        size than before may have taken in anything.
        """
        segments = self.log.segments
        if not segments or not self.log.was_compacted:
            return 0
        segment, end = segments[-1], 0
        size = self.log.file_size(segment.base_offset)
        try:
            for _, header in walk_headers(segment.file(), 0, size):
                end = header.next_offset
        except BadBatch:
            end = MAX_OFFSET if segment in self.suspicious else 0
        if end > missing:
            segment.compacted, segment.size_bytes = True, size
            if segment not in self.suspicious:
                self.suspicious.append(segment)
        return end

    def _replace_missing(self, base_offset: int) -> None:
        """An empty segment in the place of a lost one; its offsets are quarantined when it is looked through."""
        self.suspicious.append(self.log.create_segment(base_offset))

    def _recover_tail(self) -> LogPosition:
        """Returns the durable end, which moves to a new segment if its own has lost bytes below it."""
        recovered, durable = self.log, self.checkpoint.durable
        state = next((state for state in self.checkpoint.segments if state.base_offset == durable.segment), None)
        tail = [base for base in self.bases if base > durable.segment]
        recovered.offset = durable.offset
        is_there = durable.segment in self.bases
        if is_there and recovered.file_size(durable.segment) >= durable.position:
            recovered.recover_segment(recovered.add_segment(durable.segment, state), durable.position, tail)
        elif durable.position or (state is not None and tail):
            if is_there:
                segment = recovered.add_segment(durable.segment, state)
                segment.size_bytes = recovered.file_size(durable.segment)
                self.suspicious.append(segment)
            else:
                self._replace_missing(durable.segment)
            recovered.offset = max([durable.offset, *tail[:1]])  # what lay between is lost with it
            durable = LogPosition(recovered.offset, recovered.offset, 0)
        recovered.recover_segments(tail)
        if recovered.offset < self.checkpoint.log_start_offset:
            # It was durable once, but what is deleted need not be missed.
            recovered.offset = self.checkpoint.log_start_offset
            durable = LogPosition(recovered.offset, recovered.offset, 0)
        self._ensure_active(durable)
        return durable

    def _ensure_active(self, durable: LogPosition) -> None:
        """Append to the last segment, unless it is damaged at its end or not where the log ends; close the others."""
        recovered = self.log
        active = recovered.segments[-1] if recovered.segments else None
        if active is None or active in self.suspicious or active.base_offset < durable.segment:
            recovered.create_segment(recovered.offset)
        for segment in recovered.segments[:-1]:
            if segment.base_offset >= self.checkpoint.durable.segment:
                segment.seal()  # and not synced: an index that is lost is made again
                segment.release()

    def _look_through(self, log: "Log", segment: Segment) -> None:
        """Find out what is damaged in a suspicious segment, and make its indexes again."""
        found = _check(log, segment)
        state = next((state for state in self.checkpoint.segments if state.base_offset == segment.base_offset), None)
        if found and state is not None and state.size_bytes < segment.size_bytes:
            # Or has a cut that was made before the segment was closed never reached the disk?
            longer, segment.size_bytes = segment.size_bytes, state.size_bytes
            if _check(log, segment):
                segment.size_bytes = longer
            else:
                found = []
                segment.file().truncate(segment.size_bytes)
        self.log.report.read_bytes += segment.size_bytes
        self.log.report.quarantined += found
        damages.quarantine(log, found)
        segment.mark_checked(0, segment.size_bytes)
        damages.rebuild_indexes(log, segment)


def _check(log: "Log", segment: Segment) -> list[Damage]:
    expect = damages.expectation(log, segment)
    if not segment.size_bytes and segment.base_offset < expect.end_offset:
        return [missing_segment(expect)]
    return check_range(segment.file(), 0, segment.size_bytes, segment.base_offset, expect)
