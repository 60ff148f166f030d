"""The sparse indexes: lookups against a plain list, Kafka's bytes, and the CRC that tells a good file from a bad one."""

import struct
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.storage.index import IndexDamaged, OffsetIndex, SavedIndex, TimeIndex
from tests.simulation.disk import SimulatedDisk

PATH = "/i"
INT32 = st.integers(0, 2**31 - 1)


@given(
    offsets=st.lists(INT32, unique=True, max_size=40).map(sorted),
    probes=st.lists(INT32, min_size=1),
    saved=st.integers(0, 40),
)
def test_offset_lookups(offsets: list[int], probes: list[int], saved: int) -> None:
    """The floor by offset and by position, whatever part is on disk."""
    disk = SimulatedDisk()
    index = OffsetIndex(disk, PATH)
    entries = [(offset, 7 * slot) for slot, offset in enumerate(offsets)]
    for slot, entry in enumerate(entries):
        if slot == saved:
            assert index.save()
        index.append(*entry)
    assert len(index) == len(entries)
    assert [index.entry(slot) for slot in range(len(entries))] == entries
    for probe in probes + offsets:
        assert index.floor(probe) == bisect_right(offsets, probe) - 1
        assert index.floor_of_position(probe) == min(probe // 7, len(entries) - 1)


@given(
    entries=st.lists(st.tuples(st.integers(-1, 2**63 - 1), INT32), max_size=40).map(sorted),
    probes=st.lists(st.integers(-1, 2**63 - 1), min_size=1),
)
def test_time_lookups(entries: list[tuple[int, int]], probes: list[int]) -> None:
    """Only growing timestamps are kept; the last one below a time is found, after a reload too."""
    disk = SimulatedDisk()
    index = TimeIndex(disk, PATH)
    kept: list[tuple[int, int]] = []
    for timestamp, offset in entries:
        index.maybe_append(timestamp, offset)
        if timestamp > (kept[-1][0] if kept else -1):
            kept.append((timestamp, offset))
    assert index.save()
    again = TimeIndex(disk, PATH, index.saved)
    for loaded in (index, again):
        assert [loaded.entry(slot) for slot in range(len(loaded))] == kept
        for probe in probes + [timestamp for timestamp, _ in entries]:
            assert loaded.last_below(probe) == sum(timestamp < probe for timestamp, _ in kept) - 1


def test_bytes_of_an_offset_index() -> None:
    """Big-endian pairs of int32."""
    disk = SimulatedDisk()
    index = OffsetIndex(disk, PATH)
    index.append(5, 100)
    index.append(2**31 - 1, 2**31 - 1)
    index.save()
    assert disk.read(PATH) == struct.pack(">iiii", 5, 100, 2**31 - 1, 2**31 - 1)


def test_bytes_of_a_time_index() -> None:
    """An int64 and an int32."""
    disk = SimulatedDisk()
    index = TimeIndex(disk, PATH)
    index.maybe_append(1_700_000_000_000, 5)
    index.save()
    assert disk.read(PATH) == struct.pack(">qi", 1_700_000_000_000, 5)


def saved_index() -> tuple[SimulatedDisk, SavedIndex]:
    disk = SimulatedDisk()
    index = OffsetIndex(disk, PATH)
    for slot in range(4):
        index.append(slot, slot)
    index.save()
    assert index.saved is not None
    return disk, index.saved


@pytest.mark.parametrize("bit", range(4 * 8 * 8))
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    """The CRC that the checkpoint keeps covers all that was saved."""
    disk, saved = saved_index()
    content = disk.open(PATH).inode.content
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IndexDamaged):
        OffsetIndex(disk, PATH, saved).words()


@pytest.mark.parametrize("size", range(4 * 8))
def test_a_short_file_is_noticed(size: int) -> None:
    """Or none at all."""
    disk, saved = saved_index()
    disk.open(PATH).truncate(size)
    with pytest.raises(IndexDamaged):
        OffsetIndex(disk, PATH, saved).words()


def test_a_longer_file_is_fine() -> None:
    """What was written after the checkpoint is not looked at, and written again."""
    disk, saved = saved_index()
    disk.open(PATH).pwrite(b"garbage", 32)
    index = OffsetIndex(disk, PATH, saved)
    assert len(index.words()) == 8
    index.append(9, 9)
    assert index.save()
    assert disk.read(PATH)[32:40] == struct.pack(">ii", 9, 9)


def test_a_full_disk_keeps_the_entries_in_memory() -> None:
    """`save` says no, and later yes; lookups do not notice."""
    disk = SimulatedDisk(free=4)
    index = OffsetIndex(disk, PATH)
    index.append(1, 1)
    index.append(2, 2)
    assert not index.save()
    assert index.floor(5) == 1
    disk.free = None
    assert index.save()
    assert disk.read(PATH) == struct.pack(">iiii", 1, 1, 2, 2)


def test_unknown_contents_are_damage() -> None:
    """An index that could not be written before the checkpoint is rebuilt."""
    with pytest.raises(IndexDamaged):
        OffsetIndex(SimulatedDisk(), PATH, None).words()
