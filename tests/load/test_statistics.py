"""Medians, ratios, and the rule about noise."""

import pytest

from minibroker.load.statistics import Comparison, Spread, percentile


def test_a_percentile_is_a_value_that_occurred() -> None:
    """Nearest rank: the smallest value that so many percent do not exceed."""
    ordered = list(range(1, 101))
    assert percentile(ordered, 50) == 50
    assert percentile(ordered, 99) == 99
    assert percentile(ordered, 100) == 100
    assert percentile([7.0], 99) == 7.0
    assert percentile([1, 2, 3], 50) == 2


def test_a_spread_has_the_median_and_the_range() -> None:
    """One run that went wrong moves the range, not the median."""
    assert Spread.of([3, 1, 100]) == Spread(3, 1, 100)


def test_the_ratio_is_that_of_the_medians_and_its_range_that_of_the_turns() -> None:
    """Each turn has a ratio of its own: what slowed the machine slowed both sides of it."""
    comparison = Comparison.of([20, 40, 60], [10, 10, 30])
    assert (comparison.ratio, comparison.low, comparison.high, comparison.rounds) == (4.0, 2.0, 4.0, 3)


@pytest.mark.parametrize(
    ("ours", "theirs", "differs"),
    [
        pytest.param([11, 12, 13], [8, 9, 10], True, id="every run beats every run"),
        pytest.param([8, 9, 10], [11, 12, 13], True, id="the other way round"),
        pytest.param([11, 12, 13], [8, 9, 11], False, id="ranges that touch"),
        pytest.param([10, 100, 100], [11, 12, 13], False, id="one run in the range of the others"),
        pytest.param([100], [1], False, id="a single run says nothing"),
    ],
)
def test_overlapping_ranges_are_no_difference(ours: list[float], theirs: list[float], differs: bool) -> None:
    """A difference is called one only if the runs of the two sides do not mix."""
    assert Comparison.of(ours, theirs).differs is differs
