"""The broker's date: what is stamped and what is judged by it, however the wall clock steps, in one life and over many."""

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minibroker.topics.clock import Clock
from tests.storage.logs import NOW
from tests.storage.test_retention import with_segments

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
YEARS_MS = 3650 * DAY_MS


@attrs.define
class Machine:
    """A machine whose wall clock is wrong by some ms, and a broker's clock on it."""

    true_ms: float = 0.0
    """Since NOW, off or on."""
    wrong_by_ms: int = 0
    clock: Clock = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.boot(None)

    def wall_ms(self) -> int:
        return NOW + int(self.true_ms) + self.wrong_by_ms

    def boot(self, last_ms: int | None) -> None:
        """Begin a life; a monotonic clock of its own begins, too."""
        began_ms = self.true_ms
        self.clock = Clock(now=lambda: (self.true_ms - began_ms) / 1000, now_ms=self.wall_ms)
        self.clock.begin(last_ms)

    def restart(self) -> None:
        self.boot(self.clock.reached_ms())


steps_of_the_wall_clock = st.lists(
    st.tuples(
        st.integers(0, 10 * DAY_MS),
        st.one_of(st.just(0), st.integers(-HOUR_MS, HOUR_MS), st.integers(-YEARS_MS, YEARS_MS)),
        st.sampled_from(["look", "stamp", "restart"]),
    ),
    min_size=1,
    max_size=30,
)


@given(steps=steps_of_the_wall_clock)
def test_nothing_is_taken_for_more_than_a_tenth_older_than_it_is(steps: list[tuple[int, int, str]]) -> None:
    """Whenever something is stamped, and whatever the wall clock does then: only what the clock has not looked at for a
    while, and a difference that a restart doubted for long enough, may make it older.
    """
    machine, stamps, looked_ms = Machine(), [], 0.0
    for elapsed_ms, wrong_by_ms, action in steps:
        machine.true_ms += elapsed_ms
        machine.wrong_by_ms = wrong_by_ms
        if action == "restart":
            machine.restart()
            if machine.clock.doubted_ms:
                break  # see below
        elif action == "look":
            now_ms = machine.clock.retention_now_ms()
            assert now_ms <= machine.wall_ms()
            for stamp_ms, since_ms in stamps:
                assert now_ms - stamp_ms <= 1.1 * (machine.true_ms - since_ms) + 2
        if action != "stamp":
            looked_ms = machine.true_ms
        stamp_ms = machine.clock.now_ms()
        assert stamp_ms >= machine.wall_ms()
        if stamp_ms > machine.wall_ms():
            looked_ms = machine.true_ms
        stamps.append((stamp_ms, looked_ms))


@given(steps=steps_of_the_wall_clock, wrong_by_ms=st.integers(-YEARS_MS, YEARS_MS))
def test_a_clock_that_steps_no_more_is_believed_at_last(steps: list[tuple[int, int, str]], wrong_by_ms: int) -> None:
    """After ten times as long as it was wrong at most: things are stamped by it, and expire by it."""
    machine = Machine()
    for elapsed_ms, wrong_ms, action in [*steps, (0, wrong_by_ms, "look")]:
        machine.true_ms += elapsed_ms
        machine.wrong_by_ms = wrong_ms
        machine.clock.retention_now_ms()
        if action == "restart":
            machine.restart()
    machine.true_ms += 10 * abs(machine.clock.reached_ms() - machine.wall_ms()) + 1000
    assert machine.clock.retention_now_ms() == machine.clock.now_ms() == machine.wall_ms()


@given(
    away_ms=st.integers(0, YEARS_MS),
    looks=st.lists(st.integers(1, 2 * HOUR_MS), min_size=1, max_size=50),
)
@example(away_ms=10 * DAY_MS, looks=[HOUR_MS] * 4)
def test_the_time_between_two_lives_is_doubted_first(away_ms: int, looks: list[int]) -> None:
    """For an hour, or a hundredth of it, the date goes on from where the last life was; then it is the wall clock's."""
    machine = Machine(true_ms=away_ms)
    machine.boot(NOW)
    lived_ms = 0
    for elapsed_ms in looks:
        lived_ms += elapsed_ms
        machine.true_ms += elapsed_ms
        now_ms = machine.clock.retention_now_ms()
        if lived_ms >= max(HOUR_MS, away_ms / 100):
            assert machine.wall_ms() - now_ms <= 1
        else:
            assert NOW + min(lived_ms, away_ms) - 1 <= now_ms <= NOW + 1.1 * lived_ms + 1


@pytest.mark.parametrize("back_ms", [1000, 10 * DAY_MS, 30 * DAY_MS, NOW])
@pytest.mark.parametrize("restarts", [(), ("wrong",), ("right",), ("wrong", "right")])
def test_what_came_while_the_date_was_in_the_past_is_not_old(back_ms: int, restarts: tuple[str, ...]) -> None:
    """The date is wrong for three days, from a step or from a boot on, and set right by a step or at a boot: what was
    stamped in between looks no older than it is, to a tenth of those three days.
    """
    machine = Machine(true_ms=20 * DAY_MS)
    machine.restart()
    for state, wrong_by_ms in (("wrong", -back_ms), ("right", 0)):
        machine.wrong_by_ms = wrong_by_ms
        if state in restarts:
            machine.restart()
        for _ in range(72):
            machine.true_ms += HOUR_MS
            machine.clock.retention_now_ms()
        if state == "wrong":
            stamp_ms = machine.clock.now_ms()
    assert 72 * HOUR_MS - 2000 <= machine.clock.retention_now_ms() - stamp_ms <= 1.1 * 72 * HOUR_MS


def test_stamps_do_not_stand_still_while_the_date_is_in_the_past() -> None:
    """Also if there are many in a millisecond."""
    machine = Machine()
    machine.wrong_by_ms = -DAY_MS
    stamps = []
    for _ in range(10_000):
        machine.true_ms += 0.1
        stamps.append(machine.clock.now_ms())
    assert stamps == sorted(stamps)
    assert stamps[-1] == pytest.approx(NOW + 900, abs=2)


def test_the_date_is_the_wall_clock_otherwise() -> None:
    """A clock that does not jump is followed exactly, and so is one that was slowed or hastened a little."""
    machine = Machine()
    for second in range(1, 100):
        machine.true_ms = second * 1000.0
        machine.wrong_by_ms = second * 10
        assert machine.clock.retention_now_ms() == machine.clock.now_ms() == NOW + second * 1010


def test_a_step_of_the_wall_clock_deletes_nothing() -> None:
    """Ten years ahead, a week's retention holds for ten elevenths of a week at least."""
    log = with_segments(3, retention_ms=7 * DAY_MS)
    machine = Machine()
    machine.wrong_by_ms = YEARS_MS
    for _ in range(24 * 70 // 11):
        machine.true_ms += HOUR_MS
        assert log.delete_old_segments(machine.clock.retention_now_ms()) == []


def test_a_wrong_date_at_a_restart_deletes_nothing() -> None:
    """It is ten years ahead for a day until somebody sets it right; from then on it is the wall clock's."""
    log = with_segments(3, retention_ms=2 * DAY_MS)
    machine = Machine()
    machine.wrong_by_ms = YEARS_MS
    machine.restart()
    for _ in range(24):
        machine.true_ms += HOUR_MS
        assert log.delete_old_segments(machine.clock.retention_now_ms()) == []
    machine.wrong_by_ms = 0
    assert machine.clock.retention_now_ms() == machine.wall_ms()
