"""The memory of a compaction."""

from hypothesis import given
from hypothesis import strategies as st

from minibroker.storage.key_table import MAX_LOAD, SLOT_BYTES, KeyTable

LARGE = 1_000_000


def spilled(max_keys: int) -> KeyTable:
    """A table that left its dictionary with the first key."""
    return KeyTable(SLOT_BYTES * 2 * max_keys, max_keys, spill_bytes=0)


@given(keys=st.lists(st.binary(max_size=3), max_size=200), spill_bytes=st.sampled_from([0, 2_000, LARGE]))
def test_agrees_with_a_dictionary(keys: list[bytes], spill_bytes: int) -> None:
    """Each put returns the number before it, in either form and across the change between them."""
    table, model = KeyTable(LARGE, 200, spill_bytes=spill_bytes), dict[bytes, int]()
    for number, key in enumerate(keys):
        assert table.put(key, number) == model.get(key, -1)
        model[key] = number
    assert len(table) == len(model)
    assert all(key in table for key in model)
    assert not any(b"%d" % number + b"----" in table for number in range(100))


def test_room_counts_distinct_keys() -> None:
    """A table takes as many keys as it said, and known keys even when it is full."""
    table = spilled(1000)
    room = table.room
    assert room >= 1000
    for number in range(room):
        assert table.put(b"%d" % number, number) == -1
    assert table.room == 0
    assert [table.put(b"%d" % number, 0) for number in range(room)] == list(range(room))


def test_memory_is_bounded() -> None:
    """Fewer keys fit where the memory is small, whatever number of keys was announced."""
    table = KeyTable(SLOT_BYTES * 100, 10**9, spill_bytes=0)
    assert table.room == 100 * MAX_LOAD
