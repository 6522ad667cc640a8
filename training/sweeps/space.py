"""The space of points: what each parameter may be, and which points the constraints allow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, Final, TypeAlias

from training.sweeps.constraints import Constraint
from training.sweeps.settings import Parameter

Point: TypeAlias = Mapping[str, Any]
"""Full name of a parameter -> value."""

MOST: Final = 1_000_000
"""Points that are looked at one by one: no larger grid is."""
EDGE: Final = 1e-9
"""A normal distribution has no value at 0 and at 1."""


@dataclass(frozen=True)
class Dimension:
    """One parameter.

    Attributes:
        name: in full; within others, after their names and a dot.
    """

    name: str
    parameter: Parameter

    @cached_property
    def choices(self) -> tuple[Any, ...] | None:
        """All values in their order; None where they cannot be counted."""
        it = self.parameter
        match it.kind:
            case "constant":
                return (it.value,)
            case "categorical" | "categorical_w_probabilities":
                return it.values
            case "int_uniform":
                return tuple(range(int(it.min or 0), int(it.max or 0) + 1)) if self._few(1) else None
            case "q_uniform":
                return self._multiples() if self._few(it.q) else None
        return None

    @property
    def chances(self) -> tuple[float, ...]:
        """The probability of each choice."""
        number = len(self.choices or ())
        return self.parameter.probabilities or (1 / number,) * number

    def _few(self, step: float) -> bool:
        return (float(self.parameter.max or 0) - float(self.parameter.min or 0)) / step < MOST

    def _multiples(self) -> tuple[Any, ...]:
        low, high, step = float(self.parameter.min or 0), float(self.parameter.max or 0), self.parameter.q
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return tuple(self._rounded(count * step) for count in range(first, last + 1)) or (self._rounded(low),)

    def at(self, place: float) -> Any:
        """The value below which that share of all draws lies.

        Args:
            place: from 0 to 1.
        """
        if self.choices is not None:
            return self.choices[self._index(place)]
        it, place = self.parameter, min(max(place, EDGE), 1 - EDGE)
        low, high = float(it.min or 0), float(it.max or 0)
        kind = it.kind.removeprefix("q_")
        match kind:
            case "uniform" | "int_uniform":
                value = low + place * (high - low)
            case "log_uniform":
                value = math.exp(low + place * (high - low))
            case "inv_log_uniform":
                value = math.exp(-high + place * (high - low))
            case "log_uniform_values" | "inv_log_uniform_values":
                # 1/x log-uniform between 1/max and 1/min: so is x between min and max.
                value = math.exp(math.log(low) + place * (math.log(high) - math.log(low)))
            case "normal":
                value = NormalDist(it.mu, it.sigma).inv_cdf(place)
            case "log_normal":
                value = math.exp(NormalDist(it.mu, it.sigma).inv_cdf(place))
            case _:
                from scipy.stats import beta

                value = float(beta.ppf(place, it.a, it.b))
        if it.kind == "int_uniform":
            return round(value)
        return self._rounded(value) if it.kind.startswith("q_") else value

    def _index(self, place: float) -> int:
        ends = itertools.accumulate(self.chances)
        return next((index for index, end in enumerate(ends) if place < end), len(self.chances) - 1)

    def _rounded(self, value: float) -> float | int:
        step = self.parameter.q
        value = round(value / step) * step
        return int(value) if isinstance(step, int) else float(f"{value:.12g}")  # 3 * 0.1 is meant as 0.3


class Space:
    """All points of a sweep.

    Args:
        parameters: as the file has them, those within others too.
        constraints: what every point meets.
    """

    def __init__(self, parameters: Mapping[str, Parameter], constraints: Sequence[Constraint] = ()) -> None:
        self.dimensions = tuple(_flattened(parameters, ""))
        self.constraints = tuple(constraints)

    @property
    def names(self) -> list[str]:
        """The parameters' full names."""
        return [dimension.name for dimension in self.dimensions]

    @property
    def varied(self) -> list[Dimension]:
        """Those that have more than one value."""
        return [item for item in self.dimensions if item.choices is None or len(item.choices) > 1]

    @cached_property
    def size(self) -> int | None:
        """How many points there are without the constraints; None where they cannot be counted."""
        counts = [None if item.choices is None else len(item.choices) for item in self.dimensions]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    def allows(self, point: Point) -> bool:
        """Whether a point meets all constraints."""
        return all(constraint.holds(point) for constraint in self.constraints)

    def grid(self) -> Iterator[Point]:
        """All points, allowed or not; the last parameter changes first."""
        choices = [item.choices or () for item in self.dimensions]
        return (dict(zip(self.names, values, strict=True)) for values in itertools.product(*choices))

    @cached_property
    def allowed(self) -> tuple[Point, ...] | None:
        """The points that meet all constraints; None where there are more than can be looked at one by one."""
        if self.size is None or self.size > MOST:
            return None
        return tuple(point for point in self.grid() if self.allows(point))

    def told(self) -> list[tuple[str, int]]:
        """What the constraints leave of a grid, one after another: its text -> how many points."""
        points = list(self.grid())
        left = []
        for constraint in self.constraints:
            points = [point for point in points if constraint.holds(point)]
            left.append((constraint.text, len(points)))
        return left


def nested(point: Point, parameters: Mapping[str, Parameter], prefix: str = "") -> dict[str, Any]:
    """A point as W&B hands it to a program: parameters within others in mappings of their own."""
    return {
        name: point[prefix + name] if it.parameters is None else nested(point, it.parameters, f"{prefix}{name}.")
        for name, it in parameters.items()
    }


def _flattened(parameters: Mapping[str, Parameter], prefix: str) -> Iterator[Dimension]:
    for name, it in parameters.items():
        if it.parameters is None:
            yield Dimension(prefix + name, it)
        else:
            yield from _flattened(it.parameters, f"{prefix}{name}.")
