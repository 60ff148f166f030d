"""One partition's fetched records: handed out once, in order, with the position right behind them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minibroker.client.metadata import TopicPartition
from minibroker.client.partition_state import PartitionState
from minibroker.records.batch import assign
from minibroker.records.builder import build_batch

sizes = st.lists(st.integers(1, 5), min_size=1, max_size=6)


def log_of(sizes: list[int]) -> bytes:
    """Batches of so many records each, numbered through."""
    parts = []
    offset = 0
    for size in sizes:
        batch = build_batch([(offset + i, None, b"%d" % (offset + i), ()) for i in range(size)])
        assign(batch, offset, 0)
        parts.append(bytes(batch))
        offset += size
    return b"".join(parts)


def state_at(offset: int) -> PartitionState:
    """A partition that is read from `offset` on."""
    state = PartitionState(TopicPartition("t", 0))
    state.move_to_offset(offset)
    return state


@given(sizes, st.data())
def test_hands_out_each_record_once_from_the_position_on(sizes: list[int], data: st.DataObject) -> None:
    """Whatever the batches, the starting point (also in the middle of one) and the number wanted each time."""
    total = sum(sizes)
    start = data.draw(st.integers(0, total - 1))
    state = state_at(start)
    state.add(memoryview(log_of(sizes)))
    seen: list[int] = []
    while records := state.take(data.draw(st.integers(1, 7))):
        seen += [record.offset for record in records]
        assert state.position == seen[-1] + 1
    assert seen == list(range(start, total))
    assert state.fetch_offset == state.position == total
    assert state.buffered_bytes == 0


@given(sizes)
def test_what_was_fetched_already_is_not_taken_twice(sizes: list[int]) -> None:
    """Overlapping answers add only what is new."""
    data = memoryview(log_of(sizes))
    state = state_at(0)
    state.add(data)
    state.add(data)
    seen: list[int] = []
    while records := state.take(100):
        seen += [record.offset for record in records]
    assert seen == list(range(sum(sizes)))


def test_an_incomplete_batch_is_left_for_the_next_fetch() -> None:
    """A response may end in the middle of one."""
    data = log_of([2, 3])
    state = state_at(0)
    state.add(memoryview(data[:-1]))
    assert [record.offset for record in state.take(100)] == [0, 1]
    assert state.fetch_offset == 2


def test_a_move_forgets_what_was_fetched() -> None:
    """And counts, so that an answer to the old question is recognised."""
    state = state_at(0)
    state.add(memoryview(log_of([5])))
    state.take(2)
    epoch = state.epoch
    state.move_to_offset(1)
    assert (state.take(1), state.position, state.fetch_offset, state.buffered_bytes) == ((), 1, 1, 0)
    assert state.epoch != epoch
