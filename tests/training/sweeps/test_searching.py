"""The tree of Parzen estimators, on what the workspace's table says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import Json, Work, WorkItem, WorkStore, open_session
from training.sweeps.constraints import Constraint
from training.sweeps.searching import Bayes
from training.sweeps.settings import Goal, Parameter
from training.sweeps.space import Space

PARAMETERS = {
    "lr": Parameter(distribution="log_uniform_values", min=1e-5, max=1e-1),
    "layers": Parameter(min=1, max=6),
    "kind": Parameter(values=("adam", "sgd")),
    "fixed": Parameter(value=3),
}


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with open_session(tmp_path) as session:
        yield session.work


def bowl(point: Mapping[str, Any]) -> float:
    return float((math.log10(point["lr"]) + 3) ** 2 + 0.3 * abs(point["layers"] - 3) + (point["kind"] == "sgd"))


def propose(bayes: Bayes, store: WorkStore, work: Work) -> WorkItem:
    """A new trial, claimed."""
    items = store.items(work)
    point, places = bayes.propose(items) or ({}, {})
    store.add(work, {f"{len(items):04d}": {"parameters": point, "places": places}})
    item = store.claim(work, {f"{len(items):04d}"})
    assert item is not None
    return item


def search(store: WorkStore, name: str, trials: int, space: Space, *, restart: bool) -> list[Json]:
    """Trials one after another; with `restart` everything but the table is forgotten before each."""
    work, goal = store.open("sweep", name), Goal(name="loss")
    bayes = Bayes(space, goal, 0)
    for _ in range(trials):
        bayes = Bayes(space, goal, 0) if restart else bayes
        item = propose(bayes, store, work)
        store.done(item, {"value": bowl(item.document["parameters"])})
    return [item.document["parameters"] for item in store.items(work)]


def test_it_finds_the_bottom_sooner_than_chance(store: WorkStore) -> None:
    points = search(store, "a", 40, Space(PARAMETERS), restart=False)
    values = [bowl(point) for point in points]
    assert all(point["fixed"] == 3 and isinstance(point["layers"], int) for point in points)
    assert sum(values[20:]) / 20 < 0.5 * sum(values[:10]) / 10


def test_a_search_that_goes_on_is_the_one_that_was_never_ended(store: WorkStore) -> None:
    space = Space(PARAMETERS)
    assert search(store, "a", 16, space, restart=True) == search(store, "b", 16, space, restart=False)


def test_constraints_hold_and_no_point_comes_twice_where_they_can_be_counted(store: WorkStore) -> None:
    parameters = {name: Parameter(values=(0.0, 0.5, 1.0)) for name in "abc"}
    space = Space(parameters, [Constraint.parse("a + b + c == 1", list("abc"))])
    work, bayes = store.open("sweep", "a"), Bayes(space, Goal(name="loss"), 0)
    seen = set()
    for _ in range(6):
        item = propose(bayes, store, work)
        point = item.document["parameters"]
        seen.add(tuple(point.values()))
        assert sum(point.values()) == 1
        store.done(item, {"value": point["a"]})
    assert len(seen) == 6
    assert bayes.propose(store.items(work)) is None


def test_points_under_way_are_kept_away_from(store: WorkStore) -> None:
    """Constant liar: four proposals at once differ, although nothing was learnt in between."""
    space = Space({"x": Parameter(min=0.0, max=1.0)})
    work, bayes = store.open("sweep", "a"), Bayes(space, Goal(name="loss"), 0)
    for _ in range(12):
        item = propose(bayes, store, work)
        store.done(item, {"value": (item.document["parameters"]["x"] - 0.5) ** 2})
    together = [propose(bayes, store, work).document["parameters"]["x"] for _ in range(4)]
    assert len({round(x, 6) for x in together}) == 4


def test_failed_trials_and_trials_without_a_number_teach_nothing_and_break_nothing(store: WorkStore) -> None:
    space = Space({"x": Parameter(min=0.0, max=1.0)})
    work, bayes = store.open("sweep", "a"), Bayes(space, Goal(name="loss"), 0)
    failed, odd = propose(bayes, store, work), propose(bayes, store, work)
    store.failed(failed, "it broke")
    store.done(odd, {"value": None})
    assert propose(bayes, store, work).document["parameters"]["x"] not in (0.0, 1.0)
    store.again(work)
    again = store.claim(work)
    assert again is not None
    store.done(again, {"value": 0.1})
    bayes.propose(store.items(work))
    told = [trial for trial in bayes._study.get_trials() if trial.value == 0.1]
    assert [trial.params for trial in told] == [replace(failed).document["places"]]
