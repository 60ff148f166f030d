"""Reading around damage that a broken base offset makes look like something else."""

from pathlib import Path

import pytest

from minibroker.protocol.errors import KafkaError
from minibroker.storage.errors import CorruptLog
from minibroker.storage.integrity import Damage
from minibroker.storage.log import Log
from tests.simulation.disk import SimulatedDisk
from tests.storage import compacting
from tests.storage.logs import NOW, PATH, append, contents, make_log


def damaged_log() -> Log:
    """Four batches: the first is rotten, and the second claims to be the first."""
    log = make_log()
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    size, *_ = [append(log, size=30).size_bytes for _ in range(4)]
    log.flush()
    state = log.begin_checkpoint()
    content = disk.open(log.active.log_path).inode.content
    content[size - 1] ^= 1
    content[size : size + 8] = bytes(8)
    again, _ = Log.open(disk, PATH, log.settings, state, NOW)
    return again


def read_all(log: Log) -> list[int]:
    """Base offsets that a consumer gets that checks, and goes on behind what it is refused."""
    found: list[int] = []
    offset = 0
    for _ in range(50):
        try:
            part = log.read(offset, 10**6, log.log_end_offset)
            if part is None:
                break
            if not part.checked:
                log.finish_check(part, part.find_damage())
                continue
            found.append(part.base_offset)
            offset = part.base_offset + 1
        except (CorruptLog, KafkaError):
            offset += 1
    return found


@pytest.mark.parametrize("first", ["reader", "replay"])
def test_a_batch_that_claims_another_place_hides_nothing(first: str) -> None:
    """What lies behind is served, the lost offsets are refused, and a replay comes to its end."""
    log = damaged_log()
    if first == "replay":
        assert [header.base_offset for header, _ in contents(log)][-2:] == [2, 3]
    assert read_all(log)[-2:] == [2, 3]
    assert [header.base_offset for header, _ in contents(log)][-2:] == [2, 3]
    for offset in (0, 1):
        with pytest.raises(CorruptLog):
            log.read(offset, 100, log.log_end_offset)


def test_bytes_that_are_known_to_be_damaged_lead_nowhere() -> None:
    """Though a batch seems to be there that nothing else speaks against: it is refused, and nobody waits for ever."""
    log = make_log()
    size, *_ = [append(log, size=30).size_bytes for _ in range(4)]
    log.flush()
    damage = {"segment": 0, "reason": "?"}
    log.damaged = [
        Damage(start_offset=0, end_offset=0, position=0, end_position=size, **damage),
        Damage(start_offset=1, end_offset=2, position=size, end_position=2 * size, **damage),
    ]
    with pytest.raises(CorruptLog):
        log.read(0, 100, log.log_end_offset)
    with pytest.raises(CorruptLog):
        contents(log)
    assert read_all(log) == [2, 3]


def test_an_index_made_again_from_damaged_headers_proves_nothing() -> None:
    """The index is lost in a power cut, and a header claims more offsets than its batch has: what follows is still served."""
    log = make_log(index_interval_bytes=50)
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    size, *_ = [append(log, size=30).size_bytes for _ in range(3)]
    log.flush()
    state = log.begin_checkpoint()
    disk.open(f"{PATH}/{0:020}.index").truncate(0)
    disk.open(log.active.log_path).inode.content[size + 26] += 1  # the last byte of the second one's last offset delta
    again, _ = Log.open(disk, PATH, log.settings, state, NOW)
    assert read_all(again) == [0, 2]


def test_a_length_that_leads_out_of_the_segment_is_damage_and_no_end() -> None:
    """A reader at a batch whose length is damaged is refused; "nothing there yet" would have it wait for ever."""
    log = make_log(index_interval_bytes=0)
    disk = log.fs
    assert isinstance(disk, SimulatedDisk)
    headers = [append(log, 2, size=30) for _ in range(4)]
    position = sum(header.size_bytes for header in headers[:3])
    log.roll(NOW)
    append(log, size=30)
    log.flush()
    state = log.begin_checkpoint()
    disk.open(log.segments[0].log_path).inode.content[position + 9] ^= 1
    again, _ = Log.open(disk, PATH, log.settings, state, NOW)
    with pytest.raises(CorruptLog):
        again.read(6, 100, again.log_end_offset)
    assert [(damage.start_offset, damage.end_offset) for damage in again.damaged] == [(6, 8)]
    assert again.read(8, 100, again.log_end_offset) is not None


def test_an_offset_beyond_its_segment_is_damage_though_gaps_are_allowed() -> None:
    """In a compacted log too: a reader is refused what is lost and gets the rest; it used to check it again for ever."""
    disk = SimulatedDisk()
    log = compacting.make_log(Path("/"), disk, segment_bytes=300)
    for number in range(30):
        compacting.append(log, [(b"%d" % (number % 7), b"%02d" % number * 20)])
    compacting.close_segment(log)
    compacting.compact(log)
    state = compacting.save_checkpoint(log)
    first = next(header.base_offset for header, _ in log.read_batches(20, log.log_end_offset))
    segment = log.segments[log.segment_slot(first)]
    disk.open(segment.log_path).inode.content[5] ^= 0x80  # of the base offset of its first batch
    expected = [offset for offset in read_all(log) if offset >= log.next_base_offset(segment)]
    again, _ = Log.open(disk, log.directory, log.settings, state, NOW)
    with pytest.raises(CorruptLog):
        again.read(segment.base_offset, 10**6, again.log_end_offset)
    assert [damage.segment for damage in again.damaged] == [segment.base_offset]
    assert [offset for offset in read_all(again) if offset > segment.base_offset] == expected
