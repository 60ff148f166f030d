"""Medians, spread, ratios, and when not to speak of a difference."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of values in ascending order, the smallest that at least ``percent`` of them do not exceed (nearest rank)."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


@attrs.frozen
class Spread:
    """The median of some runs, and their range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def overlaps(self, other: Spread) -> bool:
        """Whether the ranges have a value in common."""
        return self.low <= other.high and other.low <= self.high


@attrs.frozen
class Comparison:
    """Two sides that ran in turns: the ratio of their medians, and the range of the ratios of each turn.

    ``differs`` is the rule about noise: the two sides differ only if every run of one beats every run of the other.
    With five runs each, chance alone does that once in 126 times; with three once in ten; a single run says nothing.
    """

    ratio: float
    low: float
    high: float
    differs: bool
    rounds: int

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
        """Compare the runs of two sides, in the order they ran; at least one each, none of theirs zero."""
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        mine, other = Spread.of(ours), Spread.of(theirs)
        differs = len(ratios) > 1 and not mine.overlaps(other)
        return cls(mine.median / other.median, min(ratios), max(ratios), differs, len(ratios))
