"""Line plots as SVG, by hand: two logarithmic axes, a few series, nothing to install."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

import attrs

WIDTH: Final = 720
HEIGHT: Final = 420
LEFT: Final = 80
RIGHT: Final = 150
TOP: Final = 48
BOTTOM: Final = 56
COLOURS: Final = ("#1f6f8b", "#c8553d", "#6a994e", "#7b5ea7")

Series = Mapping[float, tuple[float, float, float]]
"""For each x: the median, the lowest and the highest value."""


@attrs.frozen
class LogScale:
    """Maps values to a length, decades of equal size."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return self.begin + share * (self.end - self.begin)

    def ticks(self) -> Iterator[float]:
        """1, 2 and 5 of every decade that lie on the scale."""
        for exponent in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1):
            for digit in (1, 2, 5):
                if self.low <= (tick := digit * 10.0**exponent) <= self.high:
                    yield tick


def plot(title: str, x_title: str, y_title: str, series: Mapping[str, Series]) -> str:
    """An SVG document. Each series needs at least one point, and all of them together two different x."""
    xs = sorted({x for points in series.values() for x in points})
    lows = [low for points in series.values() for _, low, _ in points.values()]
    highs = [high for points in series.values() for _, _, high in points.values()]
    across = LogScale(xs[0], xs[-1], LEFT, WIDTH - RIGHT)
    upward = LogScale(min(lows) / 1.3, max(highs) * 1.3, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, TOP - 24, title, size=15),
        _text(LEFT, TOP - 8, y_title, colour="#555"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_title, anchor="middle", colour="#555"),
        *_axes(xs, across, upward),
    ]
    for colour, (name, points) in zip(COLOURS, series.items(), strict=False):
        parts += _series(name, points, colour, across, upward)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes(xs: Sequence[float], across: LogScale, upward: LogScale) -> Iterator[str]:
    for tick in upward.ticks():
        y = upward(tick)
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e3e3"/>'
        yield _text(LEFT - 8, y + 4, short(tick), anchor="end")
    for x in xs:
        yield _text(across(x), HEIGHT - BOTTOM + 18, short(x), anchor="middle")
    yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}" stroke="#555"/>'


def _series(name: str, points: Series, colour: str, across: LogScale, upward: LogScale) -> Iterator[str]:
    ordered = sorted(points.items())
    path = " ".join(f"{across(x):.1f},{upward(median):.1f}" for x, (median, _, _) in ordered)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, (median, low, high) in ordered:
        at = f"{across(x):.1f}"
        yield f'<line x1="{at}" x2="{at}" y1="{upward(low):.1f}" y2="{upward(high):.1f}" stroke="{colour}"/>'
        yield f'<circle cx="{at}" cy="{upward(median):.1f}" r="3.5" fill="{colour}"/>'
    x, (median, _, _) = ordered[-1]
    yield _text(across(x) + 10, upward(median) + 4, name, colour=colour)


def short(value: float) -> str:
    """A number for an axis: 16k, 1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = "#222") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
    )
