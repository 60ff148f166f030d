"""The history checker: it passes a history of a good broker, and sees each anomaly in one that is not."""

from collections.abc import Callable
from uuid import UUID

import pytest

from tests.simulation.history import History, Scan
from tests.simulation.ledgers import Keyed, Retained

P = ("t", 0)
K = ("k", 0)
GROUP = "g"


def good() -> tuple[History, Scan]:
    """Three records sent, acknowledged, polled, committed and found again."""
    history, values = History(), [b"a:0", b"b:1", b"c:2"]
    history.expect_topic("t", True)
    history.give_producer_id(1000, 0)
    history.send(P, 1000, values)
    history.ack(P, 0, values)
    history.seek("c", P, 0)
    for offset, value in enumerate(values):
        history.poll("c", P, offset, value)
    history.reach_end("c", P, 3)
    history.try_commit(GROUP, P, 3)
    history.commit(GROUP, P, 3)
    history.read_commit(GROUP, P, 3, history.known_commit(GROUP, P))
    history.see_generation(GROUP, 2)
    scan = Scan(
        records={P: [(offset, value[:1], value) for offset, value in enumerate(values)]},
        bounds={P: (0, 3)},
        topics=frozenset({"t"}),
        commits={(GROUP, P): 3},
        generations={GROUP: 2},
        next_producer_id=1001,
    )
    return history, scan


def test_a_good_history_passes() -> None:
    """A broker that keeps its promises is not accused."""
    history, scan = good()
    assert history.check(scan) == []


def test_what_nobody_was_told_may_be_there_or_not() -> None:
    """A record without an answer and without a reader may be found or not."""
    for found in (False, True):
        history, scan = good()
        history.send(P, 1000, [b"d:3"])
        if found:
            scan.records[P].append((3, b"d", b"d:3"))
            scan.bounds[P] = (0, 4)
        assert history.check(scan) == []


def lose(history: History, scan: Scan) -> None:
    """Of the acknowledged, the last is gone; nobody has polled it."""
    history.send(P, 1000, [b"d:3"])
    history.ack(P, 3, [b"d:3"])


def vanish(history: History, scan: Scan) -> None:
    """A record without an acknowledgement was polled."""
    history.send(P, 1000, [b"d:3"])
    history.poll("c", P, 3, b"d:3")


def ack_elsewhere(history: History, scan: Scan) -> None:
    """A retry is acknowledged at another offset."""
    history.ack(P, 7, [b"c:2"])


def poll_otherwise(history: History, scan: Scan) -> None:
    """Two consumers saw different records at one offset."""
    history.poll("d", P, 2, b"b:1")


def change_bytes(history: History, scan: Scan) -> None:
    """In the end another record is where one was acknowledged."""
    history.send(P, 1000, [b"d:3"])
    scan.records[P][2] = (2, b"d", b"d:3")


def duplicate(history: History, scan: Scan) -> None:
    """A retry was appended again."""
    scan.records[P].append((3, b"c", b"c:2"))
    scan.bounds[P] = (0, 4)


def reorder(history: History, scan: Scan) -> None:
    """A producer's second record comes before its first."""
    history.send(P, 1001, [b"x:0", b"x:1"])
    scan.records[P] += [(3, b"x", b"x:1"), (4, b"x", b"x:0")]
    scan.bounds[P] = (0, 5)


def invent(history: History, scan: Scan) -> None:
    """There is a record that nobody sent."""
    scan.records[P].append((3, b"d", b"d:9"))
    scan.bounds[P] = (0, 4)


def keep_refused(history: History, scan: Scan) -> None:
    """There is a record whose producer was told that it was refused."""
    history.send(P, 1000, [b"d:3"])
    history.refuse(P, [b"d:3"])
    scan.records[P].append((3, b"d", b"d:3"))
    scan.bounds[P] = (0, 4)


def poll_again(history: History, scan: Scan) -> None:
    """A consumer gets a record twice without having gone back."""
    history.poll("c", P, 1, b"b:1")


def skip(history: History, scan: Scan) -> None:
    """A consumer gets the third record after the first."""
    history.seek("d", P, 0)
    history.poll("d", P, 0, b"a:0")
    history.poll("d", P, 2, b"c:2")


def miss(history: History, scan: Scan) -> None:
    """A consumer is told that it has everything, and lacks the last one."""
    history.seek("d", P, 0)
    history.poll("d", P, 0, b"a:0")
    history.poll("d", P, 1, b"b:1")
    history.reach_end("d", P, 3)


def leave_gap(history: History, scan: Scan) -> None:
    """An offset is missing that was never given to anybody."""
    history.send(P, 1000, [b"d:4"])
    scan.records[P].append((4, b"d", b"d:4"))
    scan.bounds[P] = (0, 5)


def forget_commit(history: History, scan: Scan) -> None:
    """The last acknowledged commit is gone."""
    history.try_commit(GROUP, P, 4)
    history.commit(GROUP, P, 4)


def read_old_commit(history: History, scan: Scan) -> None:
    """An older commit is read after a newer one was acknowledged."""
    history.try_commit(GROUP, P, 1)
    history.read_commit(GROUP, P, 1, history.known_commit(GROUP, P))


def forget_read_commit(history: History, scan: Scan) -> None:
    """A commit was read, though never acknowledged, and is gone."""
    history.try_commit(GROUP, P, 4)
    history.read_commit(GROUP, P, 4, history.known_commit(GROUP, P))


def invent_commit(history: History, scan: Scan) -> None:
    """An offset is committed that nobody committed."""
    scan.commits[GROUP, P] = 5


def undelete(history: History, scan: Scan) -> None:
    """Records are there again that were reported as deleted."""
    history.delete_records(P, 2, acked=True)


def delete_unasked(history: History, scan: Scan) -> None:
    """The log begins later than anybody wanted."""
    history.delete_records(P, 1, acked=False)
    scan.bounds[P] = (2, 3)


def lose_topic(history: History, scan: Scan) -> None:
    """A created topic is not there."""
    history.expect_topic("u", True)


def resurrect_topic(history: History, scan: Scan) -> None:
    """A deleted topic is there."""
    history.expect_topic("t", False)


def reuse_producer_id(history: History, scan: Scan) -> None:
    """An id is given out twice."""
    history.give_producer_id(1000, 0)


def forget_producer_id(history: History, scan: Scan) -> None:
    """An id was given out that is free again after a restart."""
    scan.next_producer_id = 1000


def go_back_a_generation(history: History, scan: Scan) -> None:
    """A member is told of an older generation than one before."""
    history.see_generation(GROUP, 1)


def forget_generation(history: History, scan: Scan) -> None:
    """The last generation is not in the log."""
    history.see_generation(GROUP, 3)


def lose_partition(history: History, scan: Scan) -> None:
    """A partition that was added is not there."""
    history.partitions["t"] = 2


def replace_topic(history: History, scan: Scan) -> None:
    """There is another topic of the name."""
    history.settle_topic("t", UUID(int=1))
    scan.ids["t"] = UUID(int=2)


def empty_doubted_topic(history: History, scan: Scan) -> None:
    """A topic whose deletion was never answered is there, without its records."""
    history.settle_topic("t", UUID(int=1))
    history.doubt_topic("t")
    scan.ids["t"] = UUID(int=1)
    scan.records[P], scan.bounds[P] = [], (0, 0)


def inherit(history: History, scan: Scan) -> None:
    """A topic that was made again has the acknowledged records of the one before."""
    history.settle_topic("t", UUID(int=1))
    history.settle_topic("t", UUID(int=2))
    scan.ids["t"] = UUID(int=2)


def inherit_in_doubt(history: History, scan: Scan) -> None:
    """The same before anybody was told that it was made."""
    history.settle_topic("t", UUID(int=1))
    history.doubt_topic("t")
    scan.ids["t"] = UUID(int=2)


def retain_too_little(history: History, scan: Scan) -> None:
    """A record goes before its time."""
    history.place(P).retained = retained = Retained(keeps_ms=100)
    retained.send([b"a:0", b"b:1", b"c:2"], 5)
    history.place(P).deletions, history.at_ms = 1 << 60, 95
    scan.bounds[P] = (1, 3)


def retain_too_few(history: History, scan: Scan) -> None:
    """Fewer bytes are left than retention has to leave."""
    history.place(P).retained = Retained(keeps_bytes=1000)
    history.place(P).deletions = 1 << 60
    scan.bounds[P] = (1, 3)


def keyed(history: History, scan: Scan) -> Keyed:
    """A partition in which one key was written twice, one deleted, and one written once."""
    found = history.place(K).keyed = Keyed()
    records = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"b", None), (b"c", b"4")]
    found.send(records)
    found.ack(0, records)
    scan.topics |= {"k"}
    scan.records[K], scan.bounds[K] = [(2, b"a", b"3"), (4, b"c", b"4")], (0, 5)
    return found


def lose_key(history: History, scan: Scan) -> None:
    """The only record of a key is gone."""
    keyed(history, scan)
    del scan.records[K][1]


def change_key(history: History, scan: Scan) -> None:
    """A record has the value of another."""
    keyed(history, scan)
    scan.records[K][1] = (4, b"c", b"1")


def resurrect_key(history: History, scan: Scan) -> None:
    """A deleted key has its old value, and no tombstone."""
    keyed(history, scan)
    scan.records[K].insert(0, (1, b"b", b"2"))


def keep_deleted_offset(history: History, scan: Scan) -> None:
    """An offset is committed that was deleted."""
    history.offsets.ask("h", P, 3)
    history.offsets.know("h", P, {3})
    history.offsets.ask("h", P, -1)
    history.offsets.know("h", P, {-1})
    scan.commits["h", P] = 3


ANOMALIES: dict[Callable[[History, Scan], None], str] = {
    lose: "lost",
    vanish: "vanished",
    ack_elsewhere: "inconsistent offset",
    poll_otherwise: "inconsistent offset",
    change_bytes: "inconsistent offset",
    duplicate: "duplicate",
    reorder: "reordered",
    invent: "phantom",
    keep_refused: "phantom",
    poll_again: "nonmonotonic poll",
    skip: "skipped poll",
    miss: "unseen",
    leave_gap: "gap",
    forget_commit: "commit went back",
    read_old_commit: "commit went back",
    forget_read_commit: "commit went back",
    invent_commit: "invented commit",
    undelete: "log start went back",
    delete_unasked: "log start went back",
    lose_topic: "topic lost",
    resurrect_topic: "topic lost",
    reuse_producer_id: "producer id reused",
    forget_producer_id: "producer id reused",
    go_back_a_generation: "generation went back",
    forget_generation: "generation went back",
    lose_partition: "partition lost",
    replace_topic: "topic lost",
    empty_doubted_topic: "lost",
    inherit: "phantom",
    inherit_in_doubt: "phantom",
    retain_too_little: "gone too early",
    retain_too_few: "gone too early",
    lose_key: "lost",
    change_key: "inconsistent offset",
    resurrect_key: "resurrected",
    keep_deleted_offset: "commit went back",
}


@pytest.mark.parametrize("spoil", ANOMALIES, ids=lambda spoil: spoil.__name__)
def test_an_anomaly_is_seen(spoil: Callable[[History, Scan], None]) -> None:
    """Each way to break a promise is reported as what it is."""
    history, scan = good()
    spoil(history, scan)
    assert ANOMALIES[spoil] in {anomaly.kind for anomaly in history.check(scan)}


def test_compaction_may_remove_what_was_written_again() -> None:
    """In a compacted partition an older record of a key may be missing, the last one may not."""
    history, scan = History(), Scan()
    history.place(P).compacted = True
    values = [b"a:0", b"b:1", b"a:2"]
    history.send(P, 1, values)
    history.ack(P, 0, values)
    scan.topics, scan.bounds[P] = frozenset({"t"}), (0, 3)
    scan.records[P] = [(1, b"b", b"b:1"), (2, b"a", b"a:2")]
    assert history.check(scan) == []
    scan.records[P] = [(2, b"a", b"a:2")]
    assert [anomaly.kind for anomaly in history.check(scan)] == ["lost"]


def test_keys_may_go_when_they_are_deleted_or_written_again() -> None:
    """What compaction may remove may be missing, and an unanswered tombstone may have been there."""
    history, scan = good()
    told = keyed(history, scan)
    assert history.check(scan) == []
    before = history.copy()
    told.send([(b"c", None)])
    del scan.records[K][1]
    assert history.check(scan) == []
    assert [anomaly.kind for anomaly in before.check(scan)] == ["lost"]


def test_a_deletion_without_an_answer_leaves_all_or_nothing() -> None:
    """The topic may be gone, or there with all its records, or another one in its place with what was not answered."""
    history, scan = good()
    history.settle_topic("t", UUID(int=1))
    history.doubt_topic("t")
    sent_to = history.send(P, 1001, [b"d:3"])
    scan.ids["t"] = UUID(int=1)
    assert history.check(scan) == []
    history.ack(P, 3, [b"d:3"], sent_to)  # by which of them nobody knows
    history.settle_topic("t", UUID(int=2))
    scan.ids["t"] = UUID(int=2)
    scan.records[P], scan.bounds[P] = [(0, None, b"d:3")], (0, 1)
    assert history.check(scan) == []
    history.doubt_topic("t")
    empty = Scan(commits=scan.commits, generations=scan.generations, next_producer_id=1001)
    assert history.check(empty) == []


def test_what_is_old_may_go() -> None:
    """Retention may take what is as old as it says, with a tenth for a clock that runs fast."""
    history, scan = good()
    retain_too_little(history, scan)
    history.at_ms = 96
    scan.records[P] = scan.records[P][1:]
    assert history.check(scan) == []


def test_what_was_deleted_need_not_be_there() -> None:
    """Acknowledged and polled records below a deletion that somebody asked for may be missing."""
    history, scan = good()
    history.delete_records(P, 2, acked=True)
    scan.bounds[P] = (2, 3)
    scan.records[P] = scan.records[P][2:]
    assert history.check(scan) == []


def test_a_long_history_is_checked_in_linear_space() -> None:
    """A hundred thousand records and polls are checked without comparing any with all others."""
    history, scan = History(), Scan(topics=frozenset({"t"}))
    values = [b"%d" % number for number in range(100_000)]
    history.send(P, 1, values)
    history.ack(P, 0, values)
    history.seek("c", P, 0)
    for offset, value in enumerate(values):
        history.poll("c", P, offset, value)
    scan.records[P] = [(offset, None, value) for offset, value in enumerate(values)]
    scan.bounds[P] = (0, len(values))
    assert history.check(scan) == []
