"""Trainings as a report shows them: curves thinned to what a drawing can show, the best step, what they start from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from harness.trainings import Training, TrainingStore
from harness.types import Json

EVALUATION: Final = "eval_"
"""What the names of evaluations' curves begin with."""
FIRST: Final = ("loss", "learning_rate", "grad_norm")
"""What every training by gradients logs."""
COSTS: Final = ("_per_second", "_bytes", "_runtime")
"""How the names of curves end that tell of speed and memory."""
BUCKETS: Final = 120
"""Parts of a curve of which the least and the greatest point are drawn: a part is about two pixels wide."""
GENERATIONS: Final = 12


@dataclass(frozen=True, slots=True)
class Curve:
    """One quantity over the steps.

    Attributes:
        points: (step, value) in order, those that are drawn: the least and greatest of each part, the first and last.
        logged: how many points there are.
        odd: how many of them are no finite numbers; `odd_from` is the first one's step.
    """

    name: str
    points: tuple[tuple[int, float], ...]
    logged: int
    odd: int = 0
    odd_from: int | None = None

    @classmethod
    def of(cls, name: str, points: Sequence[tuple[int, float]]) -> Curve:
        """The curve of all that was logged."""
        finite = [point for point in points if math.isfinite(point[1])]
        odd = [step for step, value in points if not math.isfinite(value)]
        return cls(name, thinned(finite), len(points), len(odd), odd[0] if odd else None)

    @property
    def least(self) -> tuple[int, float]:
        """The first of the least points."""
        return min(self.points, key=lambda point: point[1])

    @property
    def greatest(self) -> tuple[int, float]:
        """The first of the greatest points."""
        return max(self.points, key=lambda point: point[1])


def thinned(points: Sequence[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """The points, or the first and last and each part's least and greatest where there are many more than are seen."""
    if len(points) <= 2 * BUCKETS + 2:
        return tuple(points)
    values = np.array([value for _, value in points])
    kept = {0, len(points) - 1}
    for part in np.array_split(np.arange(len(points)), BUCKETS):
        kept |= {int(part[values[part].argmin()]), int(part[values[part].argmax()])}
    return tuple(points[place] for place in sorted(kept))


@dataclass(frozen=True, slots=True)
class Best:
    """The evaluation that chose the best checkpoint: which score, at which step, and its value there."""

    score: str
    step: int
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """A training with its curves.

    Attributes:
        letter: its short name within the report; of one that made a run's checkpoint, the run's.
        runs: letters of the runs whose checkpoint it published, with the checkpoint's step; None where it is what the
            training made in the end.
        best: None where no score chooses, or none was measured yet.
        parents: name -> the training that published it; None where none of this workspace did.
    """

    letter: str
    training: Training
    curves: Mapping[str, Curve]
    best: Best | None
    parents: Mapping[str, Course | None]
    runs: Mapping[str, int | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        store: TrainingStore,
        training: Training,
        letter: str,
        runs: Mapping[str, int | None] | None = None,
        generation: int = 0,
    ) -> Course:
        """The training as it is now, with those that it goes back to."""
        logged = store.curves(training)
        parents: dict[str, Course | None] = {}
        for name, digest in dict(training.facts.get("parents", {})).items() if generation < GENERATIONS else ():
            found = store.of_digest(str(digest))
            parents[name] = None if found is None else cls.of(store, found[0], letter, None, generation + 1)
        curves = {name: Curve.of(name, points) for name, points in logged.items()}
        return cls(letter, training, curves, _best(training.facts.get("best"), logged), parents, runs or {})

    def ancestors(self) -> Iterator[tuple[str, Course | None]]:
        """What it starts from, what that starts from, and so on."""
        for name, course in self.parents.items():
            yield name, course
            if course is not None:
                yield from course.ancestors()

    def document(self) -> dict[str, Json]:
        """The training for programs, its curves thinned as they are drawn."""
        training = self.training
        return {
            "training": training.id,
            "name": training.name,
            "stage": training.stage,
            "status": training.status,
            "reason": training.reason,
            "step": training.step,
            "steps": training.steps,
            "version": training.version,
            "created": training.created,
            "heard": training.heard,
            "finished": training.finished,
            "runs": dict(self.runs),
            "best": msgspec.to_builtins(self.best),
            "parents": {name: None if course is None else course.training.id for name, course in self.parents.items()},
            "curves": {
                name: {"logged": curve.logged, "not_finite": curve.odd, "points": curve.points}
                for name, curve in self.curves.items()
            },
        }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One quantity of several trainings.

    Attributes:
        unit: what a drawn value is multiplied by, and how that is called.
    """

    name: str
    lines: tuple[tuple[Course, Curve], ...]

    @property
    def unit(self) -> tuple[float, str]:
        if not self.name.endswith("_bytes"):
            return 1.0, ""
        large = max(curve.greatest[1] for _, curve in self.lines) >= 1e9
        return (1e-9, "GB") if large else (1e-6, "MB")

    @property
    def values(self) -> list[float]:
        """All that is drawn."""
        return [value * self.unit[0] for _, curve in self.lines for _, value in curve.points]

    @property
    def steps(self) -> list[int]:
        """All steps of which something is drawn."""
        return [step for _, curve in self.lines for step, _ in curve.points]

    def best(self, course: Course) -> Best | None:
        """The step that this panel's score chose, where it chose one."""
        return course.best if course.best is not None and self.name == EVALUATION + course.best.score else None


def panels(courses: Sequence[Course]) -> dict[str, list[Panel]]:
    """What is drawn, by what it tells of: learning, evaluation, speed and memory, and all else."""
    names = sorted({name for course in courses for name, curve in course.curves.items() if curve.points})
    chosen = {EVALUATION + course.best.score for course in courses if course.best is not None}
    groups: dict[str, list[str]] = {"Learning": [name for name in FIRST if name in names]}
    rest = [name for name in names if name not in FIRST]
    costs = [name for name in rest if name.endswith(COSTS)]
    scores = [name for name in rest if name.startswith(EVALUATION) and name not in costs]
    groups["Evaluation"] = sorted(scores, key=lambda name: (name not in chosen, name.endswith(".coverage")))
    groups["Also measured"] = [name for name in rest if name not in costs and name not in scores]
    groups["Speed and memory"] = costs
    return {group: [_panel(courses, name) for name in found] for group, found in groups.items() if found}


def _panel(courses: Sequence[Course], name: str) -> Panel:
    found = [(course, course.curves.get(name)) for course in courses]
    return Panel(name, tuple((course, curve) for course, curve in found if curve is not None and curve.points))


def differing(courses: Sequence[Course]) -> dict[str, list[Json]]:
    """Settings that are not the same in all trainings -> their value in each; None where one has no such setting."""
    flat = [dict(_flat(course.training.facts.get("settings", {}))) for course in courses]
    names = sorted({name for settings in flat for name in settings})
    rows = {name: [settings.get(name) for settings in flat] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def _flat(settings: Mapping[str, Json], before: str = "") -> Iterator[tuple[str, Json]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def _best(wanted: Mapping[str, Json] | None, logged: Mapping[str, Sequence[tuple[int, float]]]) -> Best | None:
    """The first of the best evaluations by the score that chooses."""
    points = [] if wanted is None else logged.get(f"{EVALUATION}{wanted['score']}", [])
    finite = [point for point in points if math.isfinite(point[1])]
    if wanted is None or not finite:
        return None
    pick = max if wanted.get("higher_is_better", True) else min
    step, value = pick(finite, key=lambda point: point[1])
    return Best(str(wanted["score"]), step, value)
