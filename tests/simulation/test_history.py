"""The history checker: it passes a history of a good broker, and sees each anomaly in one that is not."""

from collections.abc import Callable

import pytest

from tests.simulation.history import History, Scan

P = ("t", 0)
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
