"""Histories of what does not merely grow: keys that are deleted, records that go by themselves, offsets that are deleted.

Parts of `history`; each can be copied as it was at one moment, and is held against what a fresh process finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import attrs

Record = tuple[int, bytes | None, bytes | None]
"""Offset, key and value."""


@attrs.frozen
class Anomaly:
    """A promise that was not kept."""

    kind: str
    detail: str


@attrs.define(eq=False, repr=False)
class Keyed:
    """A compacted partition with tombstones, the values of which need not begin with their keys."""

    _told: list[tuple[int | None, bytes, bytes | None]] = attrs.field(factory=list)
    """Key and value of each record: with its offset once that is known, before that if it is a tombstone."""
    _count: int | None = None
    """How many of these were told at this moment; None for all. A copy shares the list."""

    def copy(self) -> Keyed:
        """As it is now."""
        return Keyed(self._told, len(self._told) if self._count is None else self._count)

    def send(self, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        """A producer is about to send records: of tombstones it matters at once."""
        self._told += [(None, key, value) for key, value in records if value is None]

    def ack(self, base_offset: int, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        """It was told that they are there."""
        self._told += [(offset, key, value) for offset, (key, value) in enumerate(records, base_offset)]

    def check(self, place: object, records: list[Record]) -> Iterator[Anomaly]:
        """Every record is there unless its key was written again, and no key that was deleted last has a value."""
        at_offset = {offset: (key, value) for offset, key, value in records}
        latest = {key: offset for offset, key, _ in records}
        told = list(islice(self._told, self._count))
        unanswered = Counter(key for offset, key, value in told if offset is None)
        unanswered.subtract(key for offset, key, value in told if offset is not None and value is None)
        deleted: dict[bytes, int] = {}
        for offset, key, value in told:
            if offset is not None and value is None:
                deleted[key] = max(deleted.get(key, -1), offset)
        for offset, key, value in told:
            if offset is None:
                continue
            found = at_offset.get(offset)
            if found is None:
                superseded = max(latest.get(key, -1), deleted.get(key, -1)) > offset or unanswered[key] > 0
                if value is not None and not superseded:
                    yield Anomaly("lost", f"{place}: {key!r} with {value!r} at {offset}")
            elif found != (key, value):
                yield Anomaly("inconsistent offset", f"{place}: {key!r} with {value!r} at {offset}, where {found} is")
        for offset, key, value in records:
            if value is not None and key is not None and offset < deleted.get(key, -1) and latest[key] == offset:
                yield Anomaly("resurrected", f"{place}: {key!r} at {offset}, deleted at {deleted[key]}")


ELDEST_SHARE = 10 / 11
"""Of its retention a record is kept for at least: the broker's date may run a tenth faster than time."""


@attrs.define(eq=False, repr=False)
class Retained:
    """A partition whose oldest records may go once they are old, or there are too many of them."""

    keeps_ms: int | None = None
    keeps_bytes: int | None = None
    """Of keys and values, and a little for each record: a lower bound of what retention leaves."""
    _sent_ms: dict[bytes, int] = attrs.field(factory=dict)

    RECORD_BYTES = 70

    def send(self, values: Iterable[bytes], now_ms: int) -> None:
        """Records are about to be sent: they are not older than this."""
        self._sent_ms.update((value, now_ms) for value in values)

    def check(
        self, place: object, acked: Mapping[bytes, int], records: list[Record], start: int, now_ms: int
    ) -> Iterator[Anomaly]:
        """What is young, or not too much, is there."""
        if self.keeps_ms is not None:
            for value, offset in acked.items():
                age_ms = now_ms - self._sent_ms[value]
                if offset < start and age_ms < self.keeps_ms * ELDEST_SHARE:
                    yield Anomaly("gone too early", f"{place}: {value[:20]!r} at {offset} went after {age_ms} ms")
        if self.keeps_bytes is not None and start:
            kept = sum(len(value or b"") + self.RECORD_BYTES for _, _, value in records)
            if kept < self.keeps_bytes:
                yield Anomaly("gone too early", f"{place}: {kept} bytes are left, from {start} on")


@attrs.define(eq=False, repr=False)
class OffsetsHistory:
    """Committed offsets that may also be deleted: which ones each group may have; -1 for none."""

    possible: dict[tuple[str, tuple[str, int]], set[int]] = attrs.field(factory=dict)

    def copy(self) -> OffsetsHistory:
        """As it is now."""
        return OffsetsHistory({key: offsets.copy() for key, offsets in self.possible.items()})

    def ask(self, group: str, place: tuple[str, int], offset: int) -> set[int]:
        """Somebody is about to commit, or to delete: returns what was possible before."""
        before = self.possible.setdefault((group, place), {-1})
        self.possible[group, place] = before | {offset}
        return before

    def know(self, group: str, place: tuple[str, int], offsets: set[int]) -> None:
        """It was answered: these are possible now."""
        self.possible[group, place] = set(offsets)

    def witness(self, commits: Mapping[tuple[str, tuple[str, int]], int]) -> None:
        """Somebody saw what is there."""
        for key in self.possible:
            self.possible[key] = {commits.get(key, -1)}

    def check(self, commits: Mapping[tuple[str, tuple[str, int]], int]) -> Iterator[Anomaly]:
        """What is there is possible."""
        for key, offsets in self.possible.items():
            found = commits.get(key, -1)
            if found not in offsets:
                yield Anomaly("commit went back", f"{key}: {found} in the end, possible are {sorted(offsets)}")
