"""A score over the versions of checkpoints: one line a model, for runs on the same data by the same rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlencode

from harness.report.charts import Scale, around
from harness.store import COMPLETE, Run, RunStore
from harness.types import Score
from harness.view.overview import Figure, named

LINES: Final = 8
"""Lines in a drawing, at most: so many colours there are."""
PER_LINE: Final = 25
"""Versions of a line in the table, at most: the newest."""
HEIGHT: Final = 300
TOP, BOTTOM = 24, 272
_NUMBER: Final = re.compile(r"v([0-9]{1,9})")


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """What scores must have in common to be one trend: data, prompts, how much of it, benchmark version, rules."""

    data_digest: str
    profile: str
    limit: int | None
    version: str
    protocol: str

    @property
    def key(self) -> str:
        """What an address calls it."""
        part = "" if self.limit is None else f"-{self.limit}"
        return f"{self.data_digest[:12]}-{self.profile}-{self.version}-{self.protocol}{part}"

    def __str__(self) -> str:
        part = "" if self.limit is None else f", first {self.limit:,} samples"
        return f"data {self.data_digest[:12]}, {self.profile} prompts, {self.protocol} rules{part}"


@dataclass(frozen=True, slots=True)
class Point:
    """A version's score. `before` is the run of the version before it in the same line."""

    number: int
    run: Run
    score: Score
    before: Run | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A model's versions, in order. `place` is its colour."""

    name: str
    place: int
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """Which trend is wanted; what is empty is chosen.

    Attributes:
        setting: a `Setting.key`.
        score, kind: a score, and a part of it as `breakdown.key`.
        model: one line only, by its name.
    """

    benchmark: str = ""
    setting: str = ""
    score: str = ""
    kind: str = ""
    model: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Wish:
        return cls(**{name: given[name] for name in cls.__slots__ if name in given})

    def address(self) -> str:
        """The address of the trend."""
        given = {name: value for name in self.__slots__ if (value := getattr(self, name))}
        return "/trends" + ("?" + urlencode(given) if given else "")


@dataclass(frozen=True, slots=True)
class Trend:
    """Lines to draw, and what else could be drawn.

    Attributes:
        wish: with all that was chosen filled in.
        setting: None where there is nothing to draw.
        hidden: lines beyond `LINES`.
        without_version: complete runs of the benchmark whose model has no version number, and which have no place here.
    """

    wish: Wish
    benchmarks: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    scores: tuple[str, ...] = ()
    kinds: Mapping[str, Sequence[str]] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    setting: Setting | None = None
    lines: tuple[Line, ...] = ()
    hidden: int = 0
    without_version: int = 0

    @property
    def points(self) -> list[Point]:
        return [point for line in self.lines for point in line.points]

    @property
    def versions(self) -> list[int]:
        """All versions that a point is of."""
        return sorted({point.number for point in self.points})

    @property
    def across(self) -> Scale:
        """Versions along the width, in percent of it."""
        versions = self.versions
        return Scale(versions[0], versions[-1], 4, 92)

    @property
    def up(self) -> Scale:
        """Values along the height, in pixels."""
        bounds = [bound for point in self.points for bound in (point.score.low, point.score.value, point.score.high)]
        return around(bounds, BOTTOM, TOP - BOTTOM)

    @property
    def labels(self) -> list[int]:
        """The versions that are written under the drawing: all, or about ten."""
        versions = self.versions
        step = -(-len(versions) // 10)
        return versions[::-1][::step][::-1]


def find_trend(store: RunStore, runs: Sequence[Run], figures: Mapping[int, Mapping[str, Figure]], wish: Wish) -> Trend:
    """The trend that is wished for, else that of the newest run's main figure.

    Args:
        runs: newest first.
        figures: see `Overview.figures`.
    """
    complete = [run for run in runs if run.status == COMPLETE and run.key in figures]
    numbered = [run for run in complete if _number(run) is not None]
    benchmarks = tuple(sorted({run.benchmark for run in numbered}))
    if not numbered:
        return Trend(wish)
    benchmark = wish.benchmark if wish.benchmark in benchmarks else numbered[0].benchmark
    settings = _settings([run for run in numbered if run.benchmark == benchmark], figures)
    setting = next((item for item in settings if item.key == wish.setting), next(iter(settings)))
    chosen = settings[setting]
    scored = {run.key: store.scored(run, setting.protocol).scores for run in chosen}
    scores = tuple(dict.fromkeys(name for found in scored.values() for name in found))
    score = wish.score if wish.score in scores else scores[0]
    kinds = _kinds(found[score] for found in scored.values() if score in found)
    kind = wish.kind if any(wish.kind in keys for keys in kinds.values()) else ""
    lines = _lines(chosen, {key: _part(found.get(score), kind) for key, found in scored.items()})
    models = tuple(line.name for line in lines)
    shown = [line for line in lines if wish.model in (line.name, "")] or lines
    filled = Wish(benchmark, setting.key, score, kind, wish.model if wish.model in models else "")
    others = sum(run.benchmark == benchmark and _number(run) is None for run in complete)
    return Trend(
        filled, benchmarks, tuple(settings), scores, kinds, models, setting,
        tuple(shown[:LINES]), len(shown[LINES:]), others,
    )  # fmt: skip


def _number(run: Run) -> int | None:
    match = _NUMBER.fullmatch(run.version or "")
    return None if match is None else int(match[1])


def _settings(runs: Sequence[Run], figures: Mapping[int, Mapping[str, Figure]]) -> dict[Setting, list[Run]]:
    """The runs by setting, that of the most runs first."""
    found: dict[Setting, list[Run]] = {}
    for run in runs:
        identity, about = run.identity, run.identity["benchmark"]
        for protocol in figures[run.key]:
            setting = Setting(
                identity["data_digest"], about["profile"], identity["limit"], about["version"], protocol
            )  # fmt: skip
            found.setdefault(setting, []).append(run)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _kinds(scores: Iterable[Score]) -> dict[str, list[str]]:
    """Breakdown -> its keys, as `breakdown.key`."""
    found: dict[str, dict[str, None]] = {}
    for score in scores:
        for breakdown, parts in score.by.items():
            found.setdefault(breakdown, {}).update(dict.fromkeys(f"{breakdown}.{key}" for key in parts))
    return {breakdown: sorted(keys) for breakdown, keys in found.items()}


def _part(score: Score | None, kind: str) -> Score | None:
    if score is None or not kind:
        return score
    parts = {f"{breakdown}.{key}": part for breakdown, keys in score.by.items() for key, part in keys.items()}
    return parts.get(kind)


def _lines(runs: Sequence[Run], scores: Mapping[int, Score | None]) -> list[Line]:
    """The models' lines, the longest first; of a version's runs the newest counts."""
    found: dict[str, dict[int, Point]] = {}
    for run in runs:
        score, number = scores[run.key], _number(run)
        if score is not None and number is not None:
            found.setdefault(named(run), {}).setdefault(number, Point(number, run, score))
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Line(name, place, _chained(points)) for place, (name, points) in enumerate(ordered)]


def _chained(points: Mapping[int, Point]) -> tuple[Point, ...]:
    ordered = [points[number] for number in sorted(points)]
    befores = [None, *(point.run for point in ordered[:-1])]
    return tuple(replace(point, before=before) for point, before in zip(ordered, befores, strict=True))
