"""Which point is tried next."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from harness import HarnessError, MissingExtra, WorkItem
from training.sweeps.settings import Goal
from training.sweeps.space import Dimension, Point, Space

if TYPE_CHECKING:
    import optuna

DRAWS: Final = 20_000
"""Points that are drawn for one that the constraints allow, at most."""
ASKS: Final = 100
"""Points that the sampler is asked for one that is allowed, before one is drawn at random."""
DONE: Final = "done"
FAILED: Final = "failed"


def grid(space: Space) -> Iterator[Point]:
    """All allowed points in order.

    Raises:
        HarnessError: the constraints allow none.
    """
    yield from ensure_some(space.allowed or (), space)


def random(space: Space, seed: int) -> Iterator[Point]:
    """Points at random, by the parameters' distributions. Where they can be counted, none comes twice, and all come.

    The n-th is the same whatever is taken of them.

    Raises:
        HarnessError: the constraints allow none, or too few to be found by drawing.
    """
    if space.allowed is not None:
        points = ensure_some(space.allowed, space)
        chances = np.array([_chance(space, point) for point in points])
        with np.errstate(divide="ignore"):  # the order of the largest of log p + Gumbel is drawing without replacement
            keys = np.log(chances) + np.random.default_rng(seed).gumbel(size=len(points))
        yield from (points[place] for place in np.argsort(-keys, kind="stable") if chances[place] > 0)
        return
    number = 0
    while True:
        yield draw(space, np.random.default_rng([seed, number]))
        number += 1


def draw(space: Space, rng: np.random.Generator) -> Point:
    """An allowed point.

    Raises:
        HarnessError: none of many draws was allowed.
    """
    for _ in range(DRAWS):
        places = rng.random(len(space.dimensions)).tolist()
        point = {item.name: item.at(place) for item, place in zip(space.dimensions, places, strict=True)}
        if space.allows(point):
            return point
    raise HarnessError(
        f"of {DRAWS:,} points that were drawn at random none meets the constraints{_never(space, rng)}; a condition "
        "such as a + b == 1 is never met by numbers of a range: give values:, or leave one parameter out that the "
        "others decide"
    )


def ensure_some(points: Sequence[Point], space: Space) -> Sequence[Point]:
    """The points that the constraints leave.

    Raises:
        HarnessError: there is none; says what each constraint leaves.
    """
    if not points:
        left = "; ".join(f"{text!r} leaves {count:,}" for text, count in space.told())
        raise HarnessError(f"the constraints allow none of {space.size or 0:,} points: {left}; loosen one of them")
    return points


def _never(space: Space, rng: np.random.Generator) -> str:
    """The constraints that are never met even alone."""
    never = {constraint.text for constraint in space.constraints}
    for _ in range(2000):
        point = {
            item.name: item.at(place)
            for item, place in zip(space.dimensions, rng.random(len(space.dimensions)), strict=True)
        }
        never -= {constraint.text for constraint in space.constraints if constraint.holds(point)}
    return f" ({', '.join(map(repr, sorted(never)))} alone is met by none)" if never else " together"


def _chance(space: Space, point: Point) -> float:
    return math.prod(
        sum(chance for value, chance in zip(item.choices or (), item.chances, strict=True) if value == point[item.name])
        for item in space.dimensions
    )


class Bayes:
    """Points where trials did well: Optuna's tree of Parzen estimators, which takes points under way for bad ones.

    What it knows is what the workspace's table says, so that it goes on after whatever ended it. The n-th point
    depends on the seed, on n and on what was known when it was asked for.
    """

    def __init__(self, space: Space, metric: Goal, seed: int) -> None:
        try:
            import optuna
        except ImportError as error:
            raise MissingExtra(
                "method: bayes needs optuna, which is not installed: pip install 'vlm-harness[train]'"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._seed = space, seed
        self._study = optuna.create_study(direction=metric.goal)
        self._numbers: dict[str, int] = {}
        self._tried: set[str] = set()

    def propose(self, items: Sequence[WorkItem]) -> tuple[Point, Mapping[str, Any]] | None:
        """A point, and where the sampler put it; None where all allowed points were tried.

        Args:
            items: all trials there are.

        Raises:
            HarnessError: the constraints allow none, or none that is found.
        """
        for item in items:
            self._learn(item)
        allowed = self._space.allowed
        if allowed is not None:
            left = [point for point in ensure_some(allowed, self._space) if _key(point) not in self._tried]
            if not left:
                return None
        for attempt in range(ASKS):
            places = self._ask(len(items), attempt)
            point = {item.name: _value(item, places.get(item.name)) for item in self._space.dimensions}
            if self._space.allows(point) and (allowed is None or _key(point) not in self._tried):
                return point, places
        rng = np.random.default_rng([self._seed, len(items)])
        point = dict(left[rng.integers(len(left))] if allowed is not None else draw(self._space, rng))
        return point, self._places(point) or {}

    def _ask(self, number: int, attempt: int) -> dict[str, Any]:
        import optuna

        seed = int(np.random.SeedSequence([self._seed, number, attempt]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, multivariate=True)
        asked = self._study.ask({item.name: _distribution(item) for item in self._space.varied})
        # What becomes of it is learnt from the table, where it may not get.
        self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
        return dict(asked.params)

    def _learn(self, item: WorkItem) -> None:
        import optuna

        self._tried.add(_key(item.document["parameters"]))
        state = {DONE: optuna.trial.TrialState.COMPLETE, FAILED: optuna.trial.TrialState.FAIL}.get(item.status)
        value = None if item.result is None else item.result.get("value")
        if state == optuna.trial.TrialState.COMPLETE and (value is None or not math.isfinite(value)):
            state = optuna.trial.TrialState.FAIL
        known = self._numbers.get(item.name)
        if known is not None:
            before = self._study.get_trials(deepcopy=False)[known].state
            if state is not None and not before.is_finished():
                self._study.tell(known, value if state == optuna.trial.TrialState.COMPLETE else None, state=state)
            if before != optuna.trial.TrialState.FAIL or state != optuna.trial.TrialState.COMPLETE:
                return  # else it failed, and was tried again
        places = item.document.get("places") or self._places(item.document["parameters"])
        if places is None:
            return
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state or optuna.trial.TrialState.RUNNING,
                value=value if state == optuna.trial.TrialState.COMPLETE else None,
                params=dict(places),
                distributions={one.name: _distribution(one) for one in self._space.varied},
            )
        )
        self._numbers[item.name] = len(self._study.get_trials(deepcopy=False)) - 1

    def _places(self, point: Point) -> dict[str, Any] | None:
        """Where a point that the sampler did not give lies; None where it has no place there."""
        places: dict[str, Any] = {}
        for item in self._space.varied:
            if item.choices is None:
                return None
            if point[item.name] not in item.choices:
                return None
            index = item.choices.index(point[item.name])
            places[item.name] = point[item.name] if item.parameter.kind == "int_uniform" else index
        return places


def _key(point: Point) -> str:
    return repr(sorted(point.items()))


def _distribution(item: Dimension) -> optuna.distributions.BaseDistribution:
    """Numbers that cannot be counted by the share of draws below them, so that any distribution is one from 0 to 1."""
    import optuna

    it = item.parameter
    if it.kind == "int_uniform":
        return optuna.distributions.IntDistribution(int(it.min or 0), int(it.max or 0))
    if item.choices is None:
        return optuna.distributions.FloatDistribution(0.0, 1.0)
    if it.kind == "q_uniform":
        return optuna.distributions.IntDistribution(0, len(item.choices) - 1)
    return optuna.distributions.CategoricalDistribution(tuple(range(len(item.choices))))


def _value(item: Dimension, place: Any) -> Any:
    if place is None:
        return (item.choices or (None,))[0]
    if item.parameter.kind == "int_uniform":
        return int(place)
    return item.at(place) if item.choices is None else item.choices[place]
