"""The scrub looks at everything once, and finds what is damaged."""

import random

import pytest

from minibroker.storage.log import Log
from minibroker.storage.scrub import next_unchecked
from tests.storage.logs import NOW, PATH, TOPIC_ID, append, contents, make_log
from tests.storage.test_damage import SETTINGS, damage, hold_to_the_law, make_damageable


def scrub(log: Log, max_bytes: int) -> int:
    """Returns how many bytes were looked at."""
    checked = 0
    for _ in range(1000):
        piece = next_unchecked(log, max_bytes)
        if piece is None:
            return checked
        checked += piece.size_bytes
        log.finish_check(piece, piece.find_damage())
    raise AssertionError("the scrub does not end")


@pytest.mark.parametrize("max_bytes", [1, 500, 5000, 10**6])
def test_everything_is_looked_at_once(max_bytes: int) -> None:
    """After a restart all of it, then nothing; what was appended since need not be looked at."""
    log = make_log(segment_bytes=2000, index_interval_bytes=300)
    for number in range(60):
        append(log, size=(0, 50, 900)[number % 3])
    log.flush()
    assert next_unchecked(log, max_bytes) is None
    again, _ = Log.open(log.fs, PATH, log.settings, log.begin_checkpoint(), NOW)
    append(again)
    again.flush()
    before = again.segments[-1].checked[0][0] + sum(segment.size_bytes for segment in again.segments[:-1])
    checked = scrub(again, max_bytes)
    assert checked >= before
    assert max_bytes < 10**6 or checked <= again.size_bytes
    assert all(segment.is_checked(0, segment.size_bytes) for segment in again.segments)
    assert not again.damaged
    part = again.read(0, 100, again.log_end_offset)
    assert part is not None
    assert part.checked


@pytest.mark.parametrize("seed", range(100))
def test_damage_is_found(seed: int) -> None:
    """All of it, so that readers afterwards meet the law without checking anything themselves."""
    rng = random.Random(seed)
    disk, state, batches = make_damageable(rng)
    log, _ = Log.open(disk, PATH, SETTINGS, state, NOW, topic_id=TOPIC_ID)
    damage(rng, disk.open(rng.choice(log.segments).log_path).inode.content)
    scrub(log, rng.choice((1, 700, 10**6)))
    before = list(log.damaged)
    hold_to_the_law(log, batches, disk, 1000)
    assert log.damaged == before
    assert len(contents(log)) <= len(batches)
