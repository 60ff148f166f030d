"""What clients did and were told, and whether a broker that keeps its promises could have told them that.

A history is written down while it happens: what was sent, acknowledged, refused, polled, committed, created. At the end a
fresh process reads everything (`Scan`), and `check` compares. After Jepsen's Kafka workload, with its blind spots closed:
the scan must contain every record that was ever acknowledged *and every record that was ever polled*, at the same offset,
with the same bytes. Values are unique, so that a record can be told from every other. One pass over each list.

    lost                 acknowledged, and not in the scan
    vanished             polled, and not in the scan
    inconsistent offset  two values at one offset: among acknowledgements, polls and the scan
    duplicate            one value at two offsets
    reordered            records of one producer in another order than it sent them
    phantom              a record that nobody sent, or that its producer was told would not be there
    nonmonotonic poll    a consumer got an offset again, or a lower one, without having asked for it
    skipped poll         a consumer was led past a record
    unseen               acknowledged, and not polled by a consumer that was told that it is at the end
    gap                  offsets of the scan that are not dense
    commit went back     a committed offset that was read is older than one acknowledged, or read, before
    invented commit      a committed offset that nobody committed
    log start went back  records are there again that were reported as deleted, or gone that nobody deleted
    topic lost           a topic that was reported as created is not there, or its namesake is; or as deleted, and it is
    partition lost       a partition that was reported as added is not there
    gone too early       retention took what is younger than it says, or more than it should
    resurrected          a deleted key is there again
    producer id reused   one id was given out twice, or will be
    generation went back a group's generation is older than one that a member has seen

A name may be used again: a topic that was deleted may be made anew, with another id. As long as nobody was told how that
went, the old one may be there, with all its records, or none, or the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

import attrs

from tests.simulation.ledgers import Anomaly, Keyed, OffsetsHistory, Retained

Place = tuple[str, int]
"""(topic, partition)."""


@attrs.define(eq=False, repr=False)
class Scan:
    """What a fresh process finds."""

    records: dict[Place, list[tuple[int, bytes | None, bytes | None]]] = attrs.field(factory=dict)
    """Offset, key and value of each, in the order of the log."""
    bounds: dict[Place, tuple[int, int]] = attrs.field(factory=dict)
    """Log start and log end."""
    topics: frozenset[str] = frozenset()
    ids: dict[str, UUID] = attrs.field(factory=dict)
    """Of topics."""
    commits: dict[tuple[str, Place], int] = attrs.field(factory=dict)
    generations: dict[str, int] = attrs.field(factory=dict)
    next_producer_id: int | None = None
    """From which on ids will be given out; None if nobody looked."""


@attrs.define(eq=False, repr=False)
class CommitHistory:
    """One group's commits of one partition, in the order in which clients knew of them."""

    attempted: set[int] = attrs.field(factory=set)
    known: int = -1
    """No older one may be read any more."""

    def copy(self) -> CommitHistory:
        """As it is now. What is tried is shared: a broker knows nothing of the future."""
        return CommitHistory(self.attempted, self.known)


@attrs.define(eq=False, repr=False)
class PlaceHistory:
    """What happened to one partition."""

    sent: dict[bytes, tuple[int, int]] = attrs.field(factory=dict)
    """Value -> (producer, its number among what this producer sent here)."""
    acked: dict[bytes, int] = attrs.field(factory=dict)
    refused: set[bytes] = attrs.field(factory=set)
    polled: dict[int, bytes] = attrs.field(factory=dict)
    polls: dict[str, list[int]] = attrs.field(factory=dict)
    """Consumer -> offsets in the order they came; -1 - n where it has asked for offset n."""
    ends: dict[str, int] = attrs.field(factory=dict)
    """Consumer -> the end that it was told it has reached."""
    deletions: int = 0
    """How far anybody asked for deletion."""
    deleted: int = 0
    """How far deletion was acknowledged."""
    compacted: bool = False
    keyed: Keyed | None = None
    """Of a partition whose records may be deleted by key: it is checked by this alone."""
    retained: Retained | None = None
    """Of a partition whose records go by themselves."""
    in_doubt: bool = False
    """Whether its topic may have been replaced: from which one an answer comes, nobody can tell."""

    def copy(self) -> PlaceHistory:
        """As it is now. What is sent is shared: a broker knows nothing of the future."""
        return attrs.evolve(
            self,
            acked=self.acked.copy(),
            refused=self.refused.copy(),
            polled=self.polled.copy(),
            polls={consumer: offsets.copy() for consumer, offsets in self.polls.items()},
            ends=self.ends.copy(),
            keyed=self.keyed and self.keyed.copy(),
        )

    def successor(self) -> PlaceHistory:
        """That of the partition in the next topic of this name: what was not answered may have come there."""
        sent = {value: number for value, number in self.sent.items() if value not in self.acked}
        return PlaceHistory(sent, refused=self.refused)


@attrs.define(eq=False, repr=False)
class History:
    """See the module."""

    places: dict[Place, PlaceHistory] = attrs.field(factory=dict)
    commits: dict[tuple[str, Place], CommitHistory] = attrs.field(factory=dict)
    topics: dict[str, bool | None] = attrs.field(factory=dict)
    """Whether it must be there; None if nobody can tell."""
    ids: dict[str, UUID] = attrs.field(factory=dict)
    """Of topics whose names are used again: who answers to the name, or did when it was last known."""
    partitions: dict[str, int] = attrs.field(factory=dict)
    """How many a topic has at least."""
    offsets: OffsetsHistory = attrs.field(factory=OffsetsHistory)
    producer_ids: set[tuple[int, int]] = attrs.field(factory=set)
    generations: dict[str, int] = attrs.field(factory=dict)
    forgets_groups: bool = False
    """Whether a group that has neither members nor offsets may be forgotten, and begin again."""
    anomalies: list[Anomaly] = attrs.field(factory=list)
    """What was wrong at once."""
    at_ms: int = 0
    """When this was."""
    _sends: int = 0

    def place(self, place: Place) -> PlaceHistory:
        """The history of one partition."""
        found = self.places.get(place)
        if found is None:
            found = self.places[place] = PlaceHistory()
        return found

    def copy(self) -> History:
        """What was known at this moment, however it goes on."""
        return History(
            places={place: history.copy() for place, history in self.places.items()},
            commits={key: commits.copy() for key, commits in self.commits.items()},
            topics=self.topics.copy(),
            ids=self.ids.copy(),
            partitions=self.partitions.copy(),
            offsets=self.offsets.copy(),
            at_ms=self.at_ms,
            producer_ids=self.producer_ids.copy(),
            generations=self.generations.copy(),
            forgets_groups=self.forgets_groups,
            anomalies=self.anomalies.copy(),
        )

    # -- while it happens

    def send(self, place: Place, producer: int, values: Iterable[bytes]) -> PlaceHistory:
        """A producer is about to send records: from now on they may be there. Returns what to give to `ack`."""
        history = self.place(place)
        for value in values:
            self._sends += 1
            history.sent[value] = (producer, self._sends)
        return history

    def ack(self, place: Place, base_offset: int, values: Iterable[bytes], sent_to: PlaceHistory | None = None) -> None:
        """It was told that they are there, and where. With `sent_to`, only if that can be no other topic of the name."""
        history = self.place(place)
        if sent_to is not None and (sent_to is not history or history.in_doubt):
            return
        acked = history.acked
        for offset, value in enumerate(values, base_offset):
            if acked.setdefault(value, offset) != offset:
                self._report("inconsistent offset", f"{place}: {value!r} acknowledged at {acked[value]} and {offset}")

    def refuse(self, place: Place, values: Iterable[bytes]) -> None:
        """It was told that they are not there, and never will be."""
        self.place(place).refused.update(values)

    def seek(self, consumer: str, place: Place, offset: int) -> None:
        """A consumer goes on at `offset`, because it wants to."""
        self.place(place).polls.setdefault(consumer, []).append(-1 - offset)

    def poll(self, consumer: str, place: Place, offset: int, value: bytes) -> None:
        """A consumer got a record."""
        history = self.place(place)
        history.polls.setdefault(consumer, []).append(offset)
        if history.polled.setdefault(offset, value) != value:
            self._report("inconsistent offset", f"{place}: polled {history.polled[offset]!r} and {value!r} at {offset}")

    def reach_end(self, consumer: str, place: Place, offset: int) -> None:
        """A consumer was told that `offset` is the end, and it is there, having read from the beginning."""
        self.place(place).ends[consumer] = offset

    def try_commit(self, group: str, place: Place, offset: int) -> None:
        """A commit is about to be sent. Commits of one group and partition are sent in ascending order."""
        self._commit(group, place).attempted.add(offset)

    def commit(self, group: str, place: Place, offset: int) -> None:
        """It was acknowledged."""
        found = self._commit(group, place)
        found.known = max(found.known, offset)

    def read_commit(self, group: str, place: Place, offset: int, known: int) -> None:
        """Somebody who asked when `known` was known was told that `offset` is committed; -1 if nothing is."""
        found = self._commit(group, place)
        if offset < known:
            self._report("commit went back", f"{group} {place}: read {offset} after {known}")
        elif offset >= 0 and offset not in found.attempted:
            self._report("invented commit", f"{group} {place}: read {offset}")
        found.known = max(found.known, offset)

    def known_commit(self, group: str, place: Place) -> int:
        """To be given to `read_commit`: what no answer to a request from now on may fall behind."""
        return self._commit(group, place).known

    def delete_records(self, place: Place, offset: int, *, acked: bool) -> None:
        """Somebody is about to have everything below `offset` deleted, or was told that it is."""
        history = self.place(place)
        history.deletions = max(history.deletions, offset)
        if acked:
            history.deleted = max(history.deleted, offset)

    def expect_topic(self, name: str, exists: bool | None) -> None:
        """A topic was reported as created or deleted, or one of these was begun (None)."""
        self.topics[name] = exists

    def doubt_topic(self, name: str) -> None:
        """Somebody is about to delete a topic whose name is used again, to replace it, or to make it."""
        self.topics[name] = None
        for place in self._places_of(name):
            self.places[place].in_doubt = True

    def settle_topic(self, name: str, topic_id: UUID | None) -> None:
        """Somebody was told which topic of this name is there; None for none."""
        self.topics[name] = topic_id is not None
        before = self.ids.pop(name, None)
        if topic_id is not None:
            self.ids[name] = topic_id
        for place in self._places_of(name):
            if before not in (None, topic_id):
                self.places[place] = self.places[place].successor()
            self.places[place].in_doubt = topic_id is None

    def _places_of(self, name: str) -> list[Place]:
        return [place for place in self.places if place[0] == name]

    def give_producer_id(self, producer_id: int, epoch: int) -> None:
        """A producer was given its id and epoch."""
        if (producer_id, epoch) in self.producer_ids:
            self._report("producer id reused", f"{producer_id} with epoch {epoch}")
        self.producer_ids.add((producer_id, epoch))

    def see_generation(self, group: str, generation: int) -> None:
        """A member was told of a generation."""
        known = self.generations.get(group, 0)
        if generation < known and not self.forgets_groups:
            self._report("generation went back", f"{group}: {generation} after {known}")
        self.generations[group] = max(known, generation)

    def _is_replaced(self, name: str, scan: Scan) -> bool:
        """Whether the topic that was found is not the one that was known."""
        return name in scan.topics and self.ids.get(name, scan.ids.get(name)) != scan.ids.get(name)

    def _commit(self, group: str, place: Place) -> CommitHistory:
        return self.commits.setdefault((group, place), CommitHistory())

    def _report(self, kind: str, detail: str) -> None:
        self.anomalies.append(Anomaly(kind, detail))

    def witness(self, scan: Scan) -> None:
        """Somebody saw all of this: a broker that has recovered serves what it found, and must never lose it again."""
        for name, exists in self.topics.items():
            if exists is None and (name in self.ids or name in scan.topics):
                self.settle_topic(name, scan.ids.get(name))
            elif exists is None:
                self.topics[name] = name in scan.topics
        for place, records in scan.records.items():
            start = scan.bounds[place][0]
            self.place(place).polled.update((offset, value or b"") for offset, _, value in records if offset >= start)
        for key, commits in self.commits.items():
            commits.known = max(commits.known, scan.commits.get(key, -1))
        for group, generation in scan.generations.items():
            self.see_generation(group, generation)
        self.offsets.witness(scan.commits)

    # -- at the end

    def check(self, scan: Scan) -> list[Anomaly]:
        """Everything that is wrong; linear in the history."""
        found = list(self.anomalies)
        for name, exists in self.topics.items():
            if exists is not None and exists != (name in scan.topics):
                found.append(Anomaly("topic lost", f"{name} was reported as {'created' if exists else 'deleted'}"))
            elif exists and self._is_replaced(name, scan):
                found.append(Anomaly("topic lost", f"{name} is {scan.ids[name]}, and was {self.ids[name]}"))
        for place, history in self.places.items():
            if place[0] in scan.topics:
                present = history.successor() if self._is_replaced(place[0], scan) else history
                found += _check_place(place, present, scan, self.at_ms)
        for name, count in self.partitions.items():
            lacking = [index for index in range(count) if (name, index) not in scan.bounds]
            found += [Anomaly("partition lost", f"{name}-{index}") for index in lacking]
        found += self.offsets.check(scan.commits)
        for (group, place), commits in self.commits.items():
            offset = scan.commits.get((group, place), -1)
            if self.topics.get(place[0], True) is not True:
                continue
            if offset < commits.known:
                found.append(
                    Anomaly("commit went back", f"{group} {place}: {offset} in the end, after {commits.known}")
                )
            elif offset >= 0 and offset not in commits.attempted:
                found.append(Anomaly("invented commit", f"{group} {place}: {offset} in the end"))
        given = max((producer_id for producer_id, _ in self.producer_ids), default=-1)
        if scan.next_producer_id is not None and given >= scan.next_producer_id:
            found.append(Anomaly("producer id reused", f"{given} was given out, {scan.next_producer_id} comes next"))
        for group, generation in self.generations.items():
            if scan.generations.get(group, 0) < generation and not self.forgets_groups:
                detail = f"{group}: {scan.generations.get(group, 0)} in the end, after {generation}"
                found.append(Anomaly("generation went back", detail))
        return found


def _check_place(place: Place, history: PlaceHistory, scan: Scan, now_ms: int) -> Iterator[Anomaly]:
    records = scan.records.get(place, [])
    start, end = scan.bounds.get(place, (0, 0))
    if history.keyed is not None:
        yield from history.keyed.check(place, records)
        return
    if history.retained is not None:
        yield from history.retained.check(place, history.acked, records, start, now_ms)
    at_offset = {offset: value for offset, _, value in records}
    latest = {key: offset for offset, key, _ in records} if history.compacted else {}
    yield from _check_records(place, history, records, start, end)
    if not history.compacted:  # whose first records may be superseded
        yield from _check_bounds(place, history, start)
    for kind, pairs in (
        ("lost", ((offset, value) for value, offset in history.acked.items())),
        ("vanished", history.polled.items()),
    ):
        for offset, value in pairs:
            if offset < start and offset < history.deletions:
                continue
            found = at_offset.get(offset)
            if found is None:
                if not _is_superseded(value, offset, latest):
                    yield Anomaly(kind, f"{place}: {value!r} at {offset}; the log has {start} to {end}")
            elif found != value:
                yield Anomaly("inconsistent offset", f"{place}: {value!r} at {offset}, where {found!r} is in the end")
    if not history.compacted:
        yield from _check_polls(place, history, at_offset)


def _is_superseded(value: bytes, offset: int, latest: dict[bytes | None, int]) -> bool:
    """Whether compaction may have removed a record: its key, which begins its value, was written again."""
    return latest.get(key_of(value), -1) > offset


def key_of(value: bytes) -> bytes:
    """The key that goes with a value in a compacted partition."""
    return value.partition(b":")[0]


def _check_records(
    place: Place, history: PlaceHistory, records: list[tuple[int, bytes | None, bytes | None]], start: int, end: int
) -> Iterator[Anomaly]:
    expected = max(start, records[0][0]) if history.compacted and records else start
    seen: dict[bytes | None, int] = {}
    numbers: dict[int, int] = {}
    for offset, _, value in records:
        if offset < start:
            continue  # of the batch that the log start lies in
        if offset != expected and not (history.compacted and offset > expected):
            yield Anomaly("gap", f"{place}: offset {offset} where {expected} was expected")
        expected = offset + 1
        if value in seen:
            yield Anomaly("duplicate", f"{place}: {value!r} at {seen[value]} and {offset}")
        seen[value] = offset
        sent = history.sent.get(value) if value is not None else None
        if sent is None:
            yield Anomaly("phantom", f"{place}: nobody sent {value!r}, found at {offset}")
        elif value in history.refused:
            yield Anomaly("phantom", f"{place}: {value!r} was refused, and is at {offset}")
        else:
            producer, number = sent
            if numbers.get(producer, -1) > number:
                yield Anomaly("reordered", f"{place}: {value!r} at {offset} was sent before what precedes it")
            numbers[producer] = number
    if expected != end and not history.compacted:
        yield Anomaly("gap", f"{place}: the records end at {expected}, the log at {end}")


def _check_bounds(place: Place, history: PlaceHistory, start: int) -> Iterator[Anomaly]:
    if not history.deleted <= start <= history.deletions:
        asked = f"{history.deleted} to {history.deletions}"
        yield Anomaly(
            "log start went back", f"{place} begins at {start}; deletion was reported, and asked for, {asked}"
        )


def _check_polls(place: Place, history: PlaceHistory, at_offset: dict[int, bytes | None]) -> Iterator[Anomaly]:
    ranks = {offset: rank for rank, offset in enumerate(sorted(at_offset))}
    for consumer, offsets in history.polls.items():
        expected = -1
        for offset in offsets:
            if offset < 0:
                expected = -1 - offset
                continue
            if offset < expected:
                yield Anomaly("nonmonotonic poll", f"{place}: {consumer} got {offset} after {expected - 1}")
            elif expected >= 0 and offset in ranks and expected in ranks and ranks[offset] != ranks[expected]:
                yield Anomaly("skipped poll", f"{place}: {consumer} got {offset} where {expected} is")
            expected = offset + 1
    for consumer, end in history.ends.items():
        seen = {offset for offset in history.polls.get(consumer, ()) if offset >= 0}
        for value, offset in history.acked.items():
            if history.deletions <= offset < end and offset not in seen:
                yield Anomaly("unseen", f"{place}: {consumer} read up to {end} without {value!r} at {offset}")
