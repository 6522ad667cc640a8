"""A sweep as one HTML page: its trials ranked, their parameters side by side, and which of these matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from harness.report import charts
from harness.report.page import SCRIPTS, STYLE, content_policy, environment, static
from harness.report.text import quantity
from harness.types import Json
from harness.work import Work, WorkItem

STATES: Final = ("done", "running", "waiting", "cancelled", "failed")
WIDTH, HEIGHT, LEFT, TOP = 1000.0, 300.0, 70.0, 46.0
"""Of the parallel coordinates: the drawing between its first and its last axis."""
TICKS: Final = 8
"""Values of an axis that are all written beside it."""
FIFTHS: Final = 5
GROUPS: Final = 4
"""Numbers of many values are put into so many groups of like size to tell how much they matter."""


@dataclass(frozen=True)
class Trial:
    """One row.

    Attributes:
        value: the metric; None where the trial has none.
        low, high: of its 95% interval.
        rank: from 1, by the metric; None without one.
    """

    item: WorkItem
    value: float | None
    low: float | None
    high: float | None
    rank: int | None

    @property
    def parameters(self) -> Mapping[str, Json]:
        found: Mapping[str, Json] = self.item.document["parameters"]
        return found

    @property
    def made(self) -> str:
        """The checkpoint or the runs that it gave."""
        result = self.item.result or {}
        return str(result.get("checkpoint") or ", ".join(map(str, result.get("runs") or ())))

    @property
    def remark(self) -> str:
        """What is not as usual with it."""
        stopped = (self.item.result or {}).get("stopped")
        if self.item.status == "done":
            return f"stopped after {stopped} values" if stopped else ""
        return self.item.status + (f": {self.item.reason}" if self.item.reason else "")


@dataclass(frozen=True)
class Axis:
    """A parameter, or the metric, as an axis from bottom to top.

    Attributes:
        across: where it stands.
        order: all values in their order, where it is no range of numbers.
        scale: where a number lies.
    """

    name: str
    across: float
    order: tuple[Any, ...] | None
    scale: charts.Scale

    def at(self, value: Any) -> float:
        """How high a value lies."""
        if self.order is None:
            return self.scale(float(value))
        return self.scale(float(self.order.index(value)))

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Where which value is written."""
        if self.order is None:
            return [(self.scale(value), charts.tick(value)) for value in self.scale.ticks(5)]
        return [(self.scale(float(place)), said(value)) for place, value in enumerate(self.order)]


@dataclass(frozen=True)
class Importance:
    """How much of what trials differ in one parameter alone tells.

    Attributes:
        share: from 0 to 1; None where too few trials tell.
        groups: value, or range of values -> how many trials have it, and their mean.
    """

    name: str
    share: float | None
    groups: tuple[tuple[str, int, float], ...]


class SweepReport:
    """What the page shows.

    Args:
        items: the work's.
    """

    def __init__(self, work: Work, items: Sequence[WorkItem]) -> None:
        self.work = work
        self.metric: Mapping[str, Json] | None = work.document.get("metric")
        self._items = items

    @property
    def best_first(self) -> int:
        """The sign that makes less better."""
        return -1 if self.metric is not None and self.metric["goal"] == "maximize" else 1

    @cached_property
    def trials(self) -> list[Trial]:
        """Best first; then those without a value, and those that failed."""

        def order(item: WorkItem) -> tuple[int, float, int]:
            value = _value(item)
            return STATES.index(item.status), math.inf if value is None else self.best_first * value, item.key

        found, rank = [], 0
        for item in sorted(self._items, key=order):
            value, result = _value(item), item.result or {}
            rank += value is not None
            bounds = (result.get("low"), result.get("high")) if value is not None else (None, None)
            found.append(Trial(item, value, *bounds, None if value is None else rank))
        return found

    @property
    def measured(self) -> list[Trial]:
        """Those with a value."""
        return [trial for trial in self.trials if trial.value is not None]

    @property
    def tied(self) -> bool:
        """Whether no trial is better than another."""
        return len(self.measured) > 1 and len({trial.value for trial in self.measured}) == 1

    @property
    def bounded(self) -> bool:
        """Whether any trial has an interval."""
        return any(trial.low is not None and trial.high is not None for trial in self.measured)

    @property
    def overlapping(self) -> int | None:
        """How many trials have an interval that overlaps the best one's; None where there is no interval."""
        known = [trial for trial in self.measured if trial.low is not None and trial.high is not None]
        if self.tied or not known or known[0].rank != 1:
            return None
        best = known[0]
        return sum((best.low or 0) <= (trial.high or 0) and (trial.low or 0) <= (best.high or 0) for trial in known[1:])

    @cached_property
    def varied(self) -> list[str]:
        """Parameters that have more than one value."""
        values = {name: {repr(trial.parameters.get(name)) for trial in self.trials} for name in self.parameters}
        return [name for name, found in values.items() if len(found) > 1]

    @property
    def parameters(self) -> list[str]:
        """All, in their order."""
        found: list[str] = list(
            self.work.document.get("parameters") or (self.trials[0].parameters if self.trials else ())
        )
        return found

    @property
    def fixed(self) -> dict[str, str]:
        """Parameters that are the same in all trials."""
        first = self.trials[0].parameters if self.trials else {}
        return {name: said(first.get(name)) for name in self.parameters if name not in self.varied}

    @property
    def counts(self) -> dict[str, int]:
        """State -> trials."""
        found = {state: sum(item.status == state for item in self._items) for state in STATES}
        return {state: count for state, count in found.items() if count}

    @property
    def scale(self) -> charts.Scale:
        """Of the metric in the table."""
        bounds = [bound for trial in self.measured for bound in (trial.value, trial.low, trial.high)]
        return charts.around(bounds, 0.0, 100.0)

    @cached_property
    def axes(self) -> list[Axis]:
        """The varied parameters and, last, the metric."""
        names = [*self.varied, str((self.metric or {}).get("name"))]
        step = WIDTH / max(1, len(names) - 1)
        columns = [[trial.parameters.get(name) for trial in self.measured] for name in self.varied]
        columns.append([trial.value for trial in self.measured])
        return [
            _axis(name, LEFT + step * place, column, last=place == len(names) - 1)
            for place, (name, column) in enumerate(zip(names, columns, strict=True))
        ]

    def path(self, trial: Trial) -> str:
        """A trial's points as an SVG path has them."""
        values = [*(trial.parameters.get(name) for name in self.varied), trial.value]
        return " ".join(f"{axis.across:g},{axis.at(value):g}" for axis, value in zip(self.axes, values, strict=True))

    def fifth(self, trial: Trial) -> int:
        """0 for a trial of the best fifth, to 4."""
        if self.tied:
            return 0
        return min(FIFTHS - 1, ((trial.rank or 1) - 1) * FIFTHS // max(1, len(self.measured)))

    def told(self, trial: Trial) -> str:
        """A trial in words."""
        settings = ", ".join(f"{name} {said(trial.parameters.get(name))}" for name in self.varied)
        return f"trial {trial.item.name}: {charts.said(trial.value or 0.0, trial.low, trial.high)}; {settings}"

    @cached_property
    def importances(self) -> list[Importance]:
        """Of the varied parameters, the most important first."""
        values = np.array([trial.value for trial in self.measured], dtype=float)
        found = [_importance(name, [trial.parameters.get(name) for trial in self.measured], values)
                 for name in self.varied]  # fmt: skip
        return sorted(found, key=lambda item: -(item.share if item.share is not None else -1.0))


def render_sweep(report: SweepReport) -> str:
    """The page."""
    style, script = static(STYLE), static(SCRIPTS[0])
    return environment().get_template("sweep.html.j2").render(
        report=report, style=style, script=script, policy=content_policy([style], [script]), said_value=said,
        box=(WIDTH, HEIGHT, LEFT, TOP),
    )  # fmt: skip


def said(value: Any) -> str:
    """A parameter's value, as YAML has it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if not isinstance(value, int | float):
        return str(value)
    return quantity(value)


def _value(item: WorkItem) -> float | None:
    found = None if item.result is None or item.status != "done" else item.result.get("value")
    return None if found is None else float(found)


def _numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _distinct(values: Sequence[Any]) -> tuple[Any, ...]:
    """Without repetition; numbers in their order."""
    found = list({repr(value): value for value in values}.values())
    return tuple(sorted(found)) if _numbers(found) else tuple(found)


def _axis(name: str, across: float, values: Sequence[Any], *, last: bool) -> Axis:
    distinct = _distinct(values)
    if len(distinct) == 1 or (not last and (not _numbers(values) or len(distinct) <= TICKS)):
        scale = charts.Scale(0.0, max(1.0, len(distinct) - 1.0), TOP + HEIGHT, -HEIGHT)
        return Axis(name, across, distinct, scale)
    low, high = float(min(values)), float(max(values))
    if not last and low > 0 and high / low > charts.DECADES:
        return Axis(name, across, None, charts.Scale(low, high, TOP + HEIGHT, -HEIGHT, logarithmic=True))
    return Axis(name, across, None, charts.around(values, TOP + HEIGHT, -HEIGHT, pad=0.03))


def _importance(name: str, column: Sequence[Any], values: np.ndarray[Any, np.dtype[Any]]) -> Importance:
    """Epsilon squared (Kelley 1935): the share of the variance between a parameter's values, less what chance gives.

    1 - (1 - eta²) (n - 1) / (n - k), for n trials and k values; eta² is the share of the sum of squares that lies
    between the means of the values. Below 0 it is chance, and 0.
    """
    groups = _groups(column)
    members = {
        label: values[[place for place in groups if groups[place] == label]] for label in dict.fromkeys(groups.values())
    }
    told = tuple((label, len(found), float(found.mean())) for label, found in members.items())
    total = float(((values - values.mean()) ** 2).sum()) if len(values) else 0.0
    if len(values) <= len(members) or not total:
        return Importance(name, None, told)
    within = sum(float(((found - found.mean()) ** 2).sum()) for found in members.values())
    share = 1 - within / total * (len(values) - 1) / (len(values) - len(members))
    return Importance(name, max(0.0, share), told)


def _groups(column: Sequence[Any]) -> dict[int, str]:
    """Place -> the value there, or the range that it is in, in the order of the values."""
    distinct = _distinct(column)
    order = sorted(range(len(column)), key=lambda place: next(
        number for number, value in enumerate(distinct) if repr(value) == repr(column[place])
    ))  # fmt: skip
    if not _numbers(column) or len(distinct) <= max(TICKS, len(column) // 3):
        return {place: said(column[place]) for place in order}
    parts = np.array_split(np.array(order), GROUPS)
    return {
        int(place): f"{said(column[part[0]])} to {said(column[part[-1]])}"
        for part in parts
        if len(part)
        for place in part
    }
