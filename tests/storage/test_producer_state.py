"""Kafka's rules for idempotent producers, as a table: what went before, what comes, what is answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.protocol.errors import InvalidProducerEpoch, OutOfOrderSequenceNumber
from minibroker.records.batch import CONTROL_BIT, MAX_SEQUENCE, BatchHeader
from minibroker.storage.producer_state import DuplicateOf, ProducerState

ID = 7


def header(
    epoch: int, sequence: int, count: int = 1, base_offset: int = 0, *, control: bool = False, producer_id: int = ID
) -> BatchHeader:
    """The fields that matter."""
    return BatchHeader(
        base_offset, 49, 0, 2, 0, CONTROL_BIT if control else 0, count - 1, 0, 1000 + base_offset, producer_id, epoch,
        sequence, count,
    )  # fmt: skip


def state_of(*batches: tuple[int, int, int]) -> ProducerState:
    """After batches of (epoch, first sequence, count), at offsets 0, 10, 20…"""
    state = ProducerState()
    for number, (epoch, sequence, count) in enumerate(batches):
        state.update(header(epoch, sequence, count, 10 * number, control=sequence < 0), now_ms=number)
    return state


SIX = [(0, 10 * number, 10) for number in range(6)]
APPEND = None
GAP = OutOfOrderSequenceNumber
FENCED = InvalidProducerEpoch


@pytest.mark.parametrize(
    ("before", "batch", "answer"),
    [
        # A partition that knows nothing of a producer takes any first sequence, of any epoch.
        ([], (0, 0, 1), APPEND),
        ([], (3, 500, 1), APPEND),
        # The next one.
        ([(0, 0, 3)], (0, 3, 1), APPEND),
        ([(0, 500, 3)], (0, 503, 1), APPEND),
        # A gap, an overlap, an older one.
        ([(0, 0, 3)], (0, 4, 1), GAP),
        ([(0, 0, 3)], (0, 2, 1), GAP),
        ([(0, 0, 3)], (0, 2, 5), GAP),
        ([(0, 500, 3)], (0, 0, 1), GAP),
        # The same again: first and last sequence must both match.
        ([(0, 0, 3)], (0, 0, 3), DuplicateOf(0, 2, 1000)),
        ([(0, 0, 3)], (0, 0, 2), GAP),
        ([(0, 0, 3)], (0, 0, 4), GAP),
        ([(0, 0, 3), (0, 3, 2)], (0, 0, 3), DuplicateOf(0, 2, 1000)),
        ([(0, 0, 3), (0, 3, 2)], (0, 3, 2), DuplicateOf(10, 11, 1010)),
        # Five are remembered, the sixth back is not.
        (SIX, (0, 50, 10), DuplicateOf(50, 59, 1050)),
        (SIX, (0, 10, 10), DuplicateOf(10, 19, 1010)),
        (SIX, (0, 0, 10), GAP),
        # Epochs: an older one is fenced, a newer one begins at 0 and forgets the batches of the older.
        ([(1, 0, 1)], (0, 1, 1), FENCED),
        ([(1, 0, 1)], (0, 0, 1), FENCED),
        ([(0, 0, 3)], (1, 0, 1), APPEND),
        ([(0, 0, 3)], (1, 3, 1), GAP),
        ([(0, 0, 3)], (5, 0, 3), APPEND),
        ([(0, 0, 3), (1, 0, 3)], (1, 0, 3), DuplicateOf(10, 12, 1010)),
        ([(0, 0, 3), (1, 0, 1)], (1, 1, 1), APPEND),
        ([(0, 0, 3), (1, 0, 1)], (1, 3, 1), GAP),
        # Sequences wrap after 2^31 - 1, also within a batch.
        ([(0, MAX_SEQUENCE, 1)], (0, 0, 1), APPEND),
        ([(0, MAX_SEQUENCE, 1)], (0, MAX_SEQUENCE, 1), DuplicateOf(0, 0, 1000)),
        ([(0, MAX_SEQUENCE - 1, 3)], (0, 1, 1), APPEND),
        ([(0, MAX_SEQUENCE - 1, 3)], (0, 2, 1), GAP),
        ([(0, MAX_SEQUENCE - 1, 3)], (0, MAX_SEQUENCE - 1, 3), DuplicateOf(0, 2, 1000)),
        # A control batch has no sequence; of a new epoch, it leaves sequence 0 as the next.
        ([(0, 0, 3), (0, -1, 1)], (0, 3, 1), APPEND),
        ([(0, 0, 3), (1, -1, 1)], (1, 0, 1), APPEND),
        ([(0, 0, 3), (1, -1, 1)], (1, 3, 1), GAP),
        ([(0, 0, 3), (1, -1, 1)], (0, 3, 1), FENCED),
    ],
)
def test_rules(
    before: list[tuple[int, int, int]], batch: tuple[int, int, int], answer: DuplicateOf | type[Exception] | None
) -> None:
    """One row each."""
    state = state_of(*before)
    candidate = header(*batch, base_offset=1000)
    if isinstance(answer, type):
        with pytest.raises(answer):
            state.check(candidate, 0)
    else:
        assert state.check(candidate, 0) == answer


def test_a_control_batch_is_checked_for_its_epoch_only() -> None:
    """Its sequence is -1 and means nothing."""
    state = state_of((1, 0, 1))
    assert state.check(header(1, -1, control=True), 0) is None
    assert state.check(header(2, -1, control=True), 0) is None
    with pytest.raises(InvalidProducerEpoch):
        state.check(header(0, -1, control=True), 0)


def test_without_a_producer_id() -> None:
    """Nothing is checked and nothing remembered."""
    state = ProducerState()
    anonymous = header(-1, -1, producer_id=-1)
    assert state.check(anonymous, 0) is None
    state.update(anonymous, 0)
    assert not state.entries


def test_producers_do_not_know_each_other() -> None:
    """The sequence of one is nothing to another."""
    state = state_of((0, 0, 3))
    assert state.check(header(0, 77, producer_id=ID + 1), 0) is None


def test_expiry() -> None:
    """An idle producer is forgotten, and then may begin anywhere."""
    state = state_of((0, 0, 1))
    state.update(header(0, 0, producer_id=ID + 1), now_ms=500)
    state.expire(now_ms=999, expiration_ms=1000)
    assert state.entries.keys() == {ID, ID + 1}
    state.expire(now_ms=1000, expiration_ms=1000)
    assert state.entries.keys() == {ID + 1}
    assert state.check(header(0, 42), 0) is None


STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 3), st.booleans()), max_size=60)


@given(STEPS)
def test_a_snapshot_is_the_state(steps: list[tuple[int, int, int, bool]]) -> None:
    """Restored, it answers every question as the original, which it shares nothing with."""
    state = ProducerState()
    offset = 0
    sent = []
    for producer_id, count, bump, new_epoch in steps:
        entry = state.entries.get(producer_id)
        epoch = (entry.epoch if entry else 0) + (bump if new_epoch else 0)
        sequence = 0
        if entry and entry.batches and not new_epoch:
            sequence = entry.batches[-1][1] + 1
        batch = header(epoch, sequence, count, offset, producer_id=producer_id)
        assert state.check(batch, 0) is None
        state.update(batch, offset)
        sent.append(batch)
        offset += count
    restored = ProducerState.restore(state.snapshot())
    assert restored.entries == state.entries
    for batch in sent:
        assert answer(restored, batch) == answer(state, batch)
    state.update(header(9, 0, producer_id=0), 0)
    assert restored.entries != state.entries


def test_a_first_batch_that_could_not_be_written_is_awaited() -> None:
    """What was in flight behind it is refused until it has come; else it never could."""
    state = ProducerState()
    state.await_first(header(0, 0, 2), 0)
    assert answer(state, header(0, 2)) is GAP
    assert answer(state, header(0, 0, 2)) is APPEND
    state.update(header(0, 0, 2), 0)
    assert answer(state, header(0, 2)) is APPEND


def answer(state: ProducerState, batch: BatchHeader) -> object:
    """What `check` does."""
    try:
        return state.check(batch, 0)
    except (InvalidProducerEpoch, OutOfOrderSequenceNumber) as error:
        return type(error)
