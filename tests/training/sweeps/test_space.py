"""Parameters' distributions against scipy's, and which points a space has."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness import HarnessError
from training.sweeps import searching
from training.sweeps.constraints import Constraint
from training.sweeps.settings import Parameter
from training.sweeps.space import Dimension, Space, nested

PLACES = np.linspace(0.001, 0.999, 199)


def space(parameters: dict[str, Any], *constraints: str) -> Space:
    made = {name: Parameter.model_validate(it) for name, it in parameters.items()}
    return Space(made, [Constraint.parse(text, Space(made).names) for text in constraints])


@pytest.mark.parametrize(
    ("given", "oracle"),
    [
        ({"min": 0.5, "max": 2.5}, stats.uniform(0.5, 2)),
        ({"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}, stats.loguniform(1e-5, 1e-1)),
        ({"distribution": "inv_log_uniform_values", "min": 1e-5, "max": 1e-1}, stats.loguniform(1e-5, 1e-1)),
        ({"distribution": "log_uniform", "min": -3, "max": 1}, stats.loguniform(math.exp(-3), math.e)),
        ({"distribution": "inv_log_uniform", "min": -3, "max": 1}, stats.loguniform(math.exp(-1), math.exp(3))),
        ({"distribution": "normal", "mu": 2.0, "sigma": 3.0}, stats.norm(2, 3)),
        ({"distribution": "log_normal", "mu": 0.5, "sigma": 0.7}, stats.lognorm(0.7, scale=math.exp(0.5))),
        ({"distribution": "beta", "a": 2.0, "b": 5.0}, stats.beta(2, 5)),
    ],
)
def test_a_distribution_is_what_its_name_says(given: dict[str, Any], oracle: Any) -> None:
    item = Dimension("x", Parameter.model_validate(given))
    assert item.choices is None
    assert [item.at(place) for place in PLACES] == pytest.approx(oracle.ppf(PLACES), rel=1e-6)


def test_steps_are_multiples() -> None:
    item = Dimension("x", Parameter(distribution="q_uniform", min=0.25, max=1.0, q=0.1))
    assert item.choices == (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    values = {Dimension("x", Parameter(distribution="q_log_uniform_values", min=1, max=100, q=5)).at(p) for p in PLACES}
    assert values <= set(range(0, 105, 5))


def test_wandbs_rule_gives_the_distribution() -> None:
    kinds = [{"value": 3}, {"values": [1]}, {"values": [1], "probabilities": [1.0]}, {"min": 1, "max": 4},
             {"min": 1.0, "max": 4.0}, {"min": 1, "max": 4.5}]  # fmt: skip
    assert [Parameter.model_validate(it).kind for it in kinds] == [
        "constant", "categorical", "categorical_w_probabilities", "int_uniform", "uniform", "uniform",
    ]  # fmt: skip


def test_the_grid_is_the_product_that_constraints_allow() -> None:
    it = space({"a": {"values": [1, 2, 3]}, "in": {"parameters": {"b": {"min": 1, "max": 3}}}}, "a < b", "a != 2")
    assert it.size == 9
    assert list(searching.grid(it)) == [{"a": 1, "in.b": 2}, {"a": 1, "in.b": 3}]
    assert it.told() == [("a < b", 3), ("a != 2", 2)]
    parameters = {"a": Parameter(values=(1,)), "in": Parameter(parameters={"b": Parameter(value=1)})}
    assert nested({"a": 1, "in.b": 2}, parameters) == {"a": 1, "in": {"b": 2}}


def test_nothing_allowed_says_which_constraint_left_nothing() -> None:
    with pytest.raises(HarnessError, match=r"allow none of 4 points: 'a > 0' leaves 4; 'a > b \+ 5' leaves 0"):
        next(searching.grid(space({"a": {"values": [1, 2]}, "b": {"values": [1, 2]}}, "a > 0", "a > b + 5")))


def test_what_is_never_drawn_is_said() -> None:
    it = space({"a": {"min": 0.0, "max": 1.0}, "b": {"min": 0.0, "max": 1.0}}, "a + b == 1", "a > 0.1")
    with pytest.raises(HarnessError, match=r"none meets the constraints \('a \+ b == 1' alone is met by none\)"):
        next(searching.random(it, 0))


def test_random_points_are_the_same_however_they_are_taken() -> None:
    it = space({"a": {"min": 0.0, "max": 1.0}, "b": {"distribution": "normal"}}, "a > b")
    taken = [point for point, _ in zip(searching.random(it, 7), range(20), strict=False)]
    assert all(point["a"] > point["b"] for point in taken)
    assert [point for point, _ in zip(searching.random(it, 7), range(9), strict=False)] == taken[:9]
    assert next(searching.random(it, 8)) != taken[0]


def test_countable_points_come_once_each_and_likely_ones_first() -> None:
    it = space({"a": {"values": [1, 2, 3], "probabilities": [0.9, 0.1, 0.0]}, "b": {"values": [1, 2]}}, "a + b > 2")
    firsts: Counter[int] = Counter()
    for seed in range(400):
        points = list(searching.random(it, seed))
        assert sorted((point["a"], point["b"]) for point in points) == [(1, 2), (2, 1), (2, 2)]
        firsts[points[0]["a"]] += 1
    # 0.45 of 0.45 + 2 × 0.05: within four standard errors
    assert abs(firsts[1] / 400 - 0.45 / 0.55) < 4 * math.sqrt(0.82 * 0.18 / 400)
