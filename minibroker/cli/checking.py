"""Examining a data directory that no broker uses: every batch of every segment, against what the checkpoint says.

Nothing is changed. The rules are those of a restart: damage below the durable end is damage, whatever comes after it is
a torn tail that was never acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import attrs

from minibroker.storage.checkpoint import CheckpointFile
from minibroker.storage.files import CLEANED, LOG, SWAP, base_offset_of, parse_partition_name, segment_name
from minibroker.storage.filesystem import File, FileSystem
from minibroker.storage.integrity import Damage, Expectation, damage_at
from minibroker.storage.log_checkpoint import LogCheckpoint, SegmentState
from minibroker.storage.walk import BadBatch, walk_batches
from minibroker.topics.names import CLUSTER_METADATA

NO_END = 2**63 - 1

Advance = Callable[[int, int], None]
"""Told of every batch: (records, bytes)."""


@attrs.define(kw_only=True)
class PartitionReport:
    """What a partition holds, and what is wrong with it."""

    partition: str
    segments: int = 0
    batches: int = 0
    records: int = 0
    bytes: int = 0
    begin: int = 0
    end: int = 0
    damages: list[Damage] = attrs.Factory(list)
    """Ranges of offsets that are lost. The broker answers for them with KAFKA_STORAGE_ERROR and serves the others."""
    missing_segments: list[int] = attrs.Factory(list)
    """Base offsets of segments that should be there."""
    is_gone: bool = False
    """The directory is missing."""
    remarks: list[str] = attrs.Factory(list)
    """What the next start will put in order by itself."""

    @property
    def is_damaged(self) -> bool:
        """Whether something acknowledged is lost."""
        return bool(self.damages or self.missing_segments or self.is_gone)

    @property
    def verdict(self) -> str:
        """Whether it is good, in a word or two."""
        return "damaged" if self.is_damaged else "see below" if self.remarks else "good"

    def explained(self) -> Iterator[str]:
        """Everything that is wrong, in words."""
        if self.is_gone:
            yield f"the directory is missing; unless the topic was just deleted, what was below offset {self.end} is lost"
        served = "the broker answers for these with KAFKA_STORAGE_ERROR and serves everything else"
        follows = "no broker starts" if self.partition.startswith(CLUSTER_METADATA) else served
        for damage in self.damages:
            yield f"{damage}; {follows}"
        for base in self.missing_segments:
            yield f"the segment that begins at offset {base} is missing; its offsets answer with KAFKA_STORAGE_ERROR"
        yield from self.remarks


def check_directory(fs: FileSystem, path: str, advance: Advance) -> Iterator[PartitionReport]:
    """One report per partition, in order of their names. Raises StorageError if files cannot be read."""
    checkpoint = CheckpointFile.load(fs, path)
    found = {name for name in fs.list_directories(path) if parse_partition_name(name) is not None}
    for name in sorted(found | checkpoint.names()):
        known = checkpoint.of(name)
        if name in found:
            yield check_partition(fs, f"{path}/{name}", name, known, advance)
        elif known is not None and known.durable.offset:
            yield PartitionReport(partition=name, begin=known.durable.offset, end=known.durable.offset, is_gone=True)


def check_partition(
    fs: FileSystem, directory: str, name: str, known: LogCheckpoint | None, advance: Advance
) -> PartitionReport:
    """Read every batch. `known` is what the checkpoint says of the log; None if it says nothing that can be trusted."""
    report = PartitionReport(partition=name)
    sizes = fs.list_sizes(directory)
    bases = sorted(base for file in sizes if (base := base_offset_of(file)) is not None)
    states = {state.base_offset: state for state in known.segments} if known else {}
    report.segments = len(bases)
    report.begin = max(bases[0] if bases else 0, known.log_start_offset if known else 0)
    if known is None:
        report.remarks.append("no checkpoint to trust: the next start reads the whole log")
    else:
        report.missing_segments = [state.base_offset for state in known.segments if state.base_offset not in bases]
    if any(file.endswith((CLEANED, SWAP)) for file in sizes):
        report.remarks.append("an unfinished compaction, which the next start finishes or undoes")
    for base, following in pairwise([*bases, NO_END]):
        size = sizes[segment_name(base) + LOG]
        expect = _expectation(base, size, following, states, known)
        file = fs.open_shared(f"{directory}/{segment_name(base)}{LOG}")
        _check_segment(file, expect, known, is_last=following == NO_END, report=report, advance=advance)
    report.bytes = sum(sizes[segment_name(base) + LOG] for base in bases)
    found = {damage.start_offset for damage in report.damages}
    report.damages += [damage for damage in (known.damaged if known else ()) if damage.start_offset not in found]
    return report


def _expectation(
    base: int, size: int, following: int, states: Mapping[int, SegmentState], known: LogCheckpoint | None
) -> Expectation:
    state = states.get(base)
    return Expectation(
        segment=base,
        end_position=size,
        end_offset=following,
        gaps_allowed=state.compacted if state else known is None or base < known.compacted_offset,
    )


def _check_segment(
    file: File,
    expect: Expectation,
    known: LogCheckpoint | None,
    *,
    is_last: bool,
    report: PartitionReport,
    advance: Advance,
) -> None:
    position, offset = 0, expect.segment
    while position < expect.end_position:
        try:
            for at, header, _ in walk_batches(file, position, expect.end_position):
                if (complaint := expect.complaint(header, offset)) is not None:
                    raise BadBatch(at, complaint)
                offset = header.next_offset
                report.batches += 1
                report.records += header.record_count
                advance(header.record_count, header.size_bytes)
            position = expect.end_position
        except BadBatch as bad:
            if _is_torn_tail(file, bad, expect, offset, known, is_last=is_last):
                rest = expect.end_position - bad.position
                report.remarks.append(
                    f"a torn tail of {rest} bytes, never acknowledged, which the next start cuts ({bad})"
                )
                break
            damage = damage_at(file, bad, offset, expect)
            if damage.end_offset == NO_END:
                break  # to the end of the log, as told below
            report.damages.append(damage)
            position, offset = damage.end_position, damage.end_offset
    durable_end = (known.durable.offset if known else 0) if is_last else expect.end_offset
    if offset < durable_end and (is_last or not expect.gaps_allowed):
        report.damages.append(_lost_end(offset, durable_end, expect))
    report.end = max(report.end, offset, durable_end if is_last else 0)


def _lost_end(offset: int, durable_end: int, expect: Expectation) -> Damage:
    return Damage(
        start_offset=offset,
        end_offset=durable_end,
        segment=expect.segment,
        position=expect.end_position,
        end_position=expect.end_position,
        reason="the end is lost",
    )


def _is_torn_tail(
    file: File, bad: BadBatch, expect: Expectation, offset: int, known: LogCheckpoint | None, *, is_last: bool
) -> bool:
    if known is not None:
        return (expect.segment, bad.position) >= (known.durable.segment, known.durable.position)
    return is_last and damage_at(file, bad, offset, expect).end_offset == NO_END  # nothing good follows
