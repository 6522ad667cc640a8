"""Where things lie in the report's drawings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from harness.compare import COVERAGE
from harness.difference import Difference
from harness.report.content import Board
from harness.report.courses import Panel
from harness.report.maps import SHARE, MeanMap
from harness.report.text import number, plural, quantity

RAMP = ((26, 12, 64), (92, 22, 110), (160, 42, 99), (219, 80, 66), (249, 145, 34), (250, 212, 80), (252, 253, 191))
"""From the least to the greatest value of a map: the overlays' colours."""
SHADES = 64
"""Colours of a drawn map: more are not told apart, and each takes bytes."""
NOISE = 1e-9
"""A map whose values differ by no more than this part of them is the same everywhere, but for rounding."""
DECADES = 100.0
"""A curve whose values, all above zero, differ by more than this factor is drawn on a logarithmic axis."""
TICKS = 5
HEAT_WIDTH = 256.0
HEAT_HEIGHTS = (16.0, 384.0)
"""A drawn map is as high as its grid is, within these bounds: a single row of many patches is still seen."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` on `length` pixels from `start`; a negative length runs upwards."""

    low: float
    high: float
    start: float
    length: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Where a value lies, at the nearer end where it is outside."""
        low, high, value = (self._at(item) for item in (self.low, self.high, value))
        share = 0.5 if high == low else min(1.0, max(0.0, (value - low) / (high - low)))
        return round(self.start + share * self.length, 2)

    def _at(self, value: float) -> float:
        return math.log(max(value, 1e-12)) if self.logarithmic else value

    def ticks(self, about: int = 5) -> list[float]:
        """Round values within the scale."""
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
            within = [value for value in values if self.low <= value <= self.high]
            if len(within) <= 2 * about:
                return within
            tens = [10.0**power for power in powers if self.low <= 10.0**power <= self.high]
            return tens[:: math.ceil(len(tens) / about)]
        step = _round_step((self.high - self.low) / about)
        first = math.ceil(self.low / step - 1e-9)
        return [place * step for place in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Forest:
    """Differences on one axis, symmetric about zero."""

    rows: tuple[tuple[str, Difference], ...]
    scale: Scale


@dataclass(frozen=True, slots=True)
class Heat:
    """A map as areas of one colour each.

    Attributes:
        width, height: of the drawing.
        across, down: a patch's width and height in it.
        areas: colour -> the outline of its patches, in patches.
    """

    width: float
    height: float
    across: float
    down: float
    areas: Mapping[str, str]


def heat(map: MeanMap) -> Heat:
    """The drawing of a map; one that is the same everywhere has the middle colour."""
    low, spread = map.low / 2, _half_spread(map)
    areas: dict[str, str] = {}
    for down, row in enumerate(map.grid):
        across = 0
        for colour, run in groupby(_colour((value / 2 - low) / spread if spread else 0.5) for value in row):
            wide = len(list(run))
            areas[colour] = areas.get(colour, "") + f"M{across} {down}h{wide}v1h-{wide}z"
            across += wide
    rows, columns = len(map.grid), len(map.grid[0])
    height = min(max(HEAT_WIDTH * rows / columns, HEAT_HEIGHTS[0]), HEAT_HEIGHTS[1])
    return Heat(HEAT_WIDTH, round(height, 2), round(HEAT_WIDTH / columns, 4), round(height / rows, 4), areas)


def about(map: MeanMap) -> str:
    """What a map is the mean of, its range and its size."""
    what = "mean share of each patch" if map.unit == SHARE else "mean value of each patch"
    size = f"{len(map.grid)}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}{len(map.grid[0])} patches"
    return f"{what}, {digits(map.low)} to {digits(map.high)}; {size}, {plural(map.n, 'sample')}"


def extremes(map: MeanMap) -> str:
    """Where a map is greatest and least, for those who do not see the drawing."""
    if not _half_spread(map):
        return "the same everywhere"
    grid = np.array(map.grid)
    most, least = (np.unravel_index(place, grid.shape) for place in (grid.argmax(), grid.argmin()))
    return f"most in row {most[0] + 1}, column {most[1] + 1}, least in row {least[0] + 1}, column {least[1] + 1}"


def around(values: Iterable[float | None], start: float, length: float, pad: float = 0.08) -> Scale:
    """A scale that all values lie on, with some room beside them."""
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    room = (high - low) * pad or abs(high) * pad or 1.0
    return Scale(low - room, high + room, start, length)


def spending(values: Iterable[float], start: float, length: float) -> Scale:
    """A scale for tokens, from zero, or logarithmic where they differ by more than a factor of eight."""
    known = list(values)
    low, high = min(known), max(known)
    if low > 0 and high / low > 8:
        return Scale(low / 1.3, high * 1.3, start, length, logarithmic=True)
    return Scale(0.0, high * 1.12 or 1.0, start, length)


def course_scales(panel: Panel, left: float, width: float, bottom: float, height: float) -> tuple[Scale, Scale]:
    """The axes of a training's curves: its steps, and the values, logarithmic where they differ by decades."""
    steps, values = panel.steps, panel.values
    across = Scale(min(0, *steps), max(steps), left, width)
    low, high = min(values), max(values)
    if low > 0 and high / low > DECADES:
        return across, Scale(low / 1.3, high * 1.3, bottom, -height, logarithmic=True)
    return across, around(values, bottom, -height)


def polyline(panel: Panel, points: Iterable[tuple[int, float]], across: Scale, up: Scale) -> str:
    """A curve's points as an SVG path has them."""
    factor = panel.unit[0]
    return " ".join(f"{across(step):g},{up(value * factor):g}" for step, value in points)


def course_said(panel: Panel) -> str:
    """The curves in words, for those who do not see the drawing."""
    factor, unit = panel.unit
    parts = []
    for course, curve in panel.lines:
        first, last, least, most = (
            f"{quantity(value * factor)} at step {step:,}"
            for step, value in (curve.points[0], curve.points[-1], curve.least, curve.greatest)
        )
        said = f"{course.letter} from {first} to {last}, least {least}, greatest {most}"
        best = panel.best(course)
        parts.append(said if best is None else f"{said}; the best checkpoint is that of step {best.step:,}")
    return f"{panel.name}{f' in {unit}' if unit else ''} by step: {'; '.join(parts)}"


def scale_of(board: Board, name: str, start: float, length: float, *, parts: bool = False) -> Scale:
    """The axis of a score: 0 to 1 for fractions, else from zero to the largest upper bound of any run.

    Args:
        parts: whether the parts of its breakdowns must lie on it too.
    """
    if board.is_fraction(name):
        return Scale(0, 1, start, length)
    scores = [score for item in board.runs if (score := board.score(item.letter, name)) is not None]
    if parts:
        scores += [part for score in scores for keys in score.get("by", {}).values() for part in keys.values()]
    bounds = [bound for score in scores for bound in (score["low"], score["value"], score["high"]) if bound is not None]
    return Scale(_outwards(min(0, *bounds)), _outwards(max(0, *bounds)) or 1, start, length)


def forests(
    board: Board, items: Mapping[str, Difference], start: float, length: float, whole: str | None = None
) -> list[Forest]:
    """Differences of fractions on one axis, every other one on its own.

    Args:
        items: by the score's name; by the key of a breakdown where they are parts of the score `whole`, on one axis.
    """
    groups: dict[str, list[tuple[str, Difference]]] = {}
    for name, item in items.items():
        shared = whole is not None or name == COVERAGE or board.is_fraction(name)
        groups.setdefault("" if shared else name, []).append((name, item))
    return [Forest(tuple(rows), _symmetric(rows, start, length)) for rows in groups.values()]


def tick(value: float) -> str:
    """An axis's number, no longer than it need be."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", "−")
    digits = 3 if abs(value) >= 0.01 else 5
    return f"{value:.{digits}f}".rstrip("0").rstrip(".").replace("-", "−") if value else "0"


def digits(value: float) -> str:
    """A map's number to three digits, however small: a share of hundreds of patches is."""
    return f"{value:.3g}".replace("-", "−")


def said(value: float, low: float | None, high: float | None) -> str:
    """A drawn value in words, for those who do not see the drawing."""
    return number(value) if low is None else f"{number(value)}, 95% interval {number(low)} to {number(high)}"


def _half_spread(map: MeanMap) -> float:
    """Half the greatest less half the least value, which is always a number; 0 where they differ by rounding alone."""
    spread = map.high / 2 - map.low / 2
    return spread if spread > NOISE * max(abs(map.low), abs(map.high)) else 0.0


def _colour(share: float) -> str:
    """The ramp's colour at a place from 0 to 1."""
    place = round(share * (SHADES - 1)) / (SHADES - 1) * (len(RAMP) - 1)
    first, last = RAMP[math.floor(place)], RAMP[math.ceil(place)]
    mixed = (round(start + (end - start) * (place % 1)) for start, end in zip(first, last, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _symmetric(rows: Iterable[tuple[str, Difference]], start: float, length: float) -> Scale:
    reach = max(abs(bound) for _, item in rows for bound in (item.paired.difference, *(item.interval() or ())))
    return Scale(-(_outwards(reach) or 1.0), _outwards(reach) or 1.0, start, length)


def _outwards(value: float) -> float:
    """A number of two digits that is no nearer to zero."""
    if not value:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return math.copysign(math.ceil(abs(value) / unit - 1e-9) * unit, value)


def _round_step(rough: float) -> float:
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
