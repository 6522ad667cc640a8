"""Hyperband against a plain reading of its rule, and on trials that print curves."""

from __future__ import annotations

import random
from typing import Any

import pytest

from training.sweeps.settings import EarlyTerminate, Goal
from training.sweeps.stopping import bands, is_behind


def rule(**keys: Any) -> EarlyTerminate:
    return EarlyTerminate.model_validate({"type": "hyperband", **keys})


def test_bands_are_those_of_the_documentation() -> None:
    assert bands(rule(min_iter=3, eta=3))[:4] == [3, 9, 27, 81]
    assert bands(rule(max_iter=27, s=2, eta=3)) == [3, 9]
    assert bands(rule(max_iter=4, s=9, eta=3)) == [1]


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_the_best_third_at_a_band_goes_on(goal: Any) -> None:
    chance = random.Random(0)
    curves = [[chance.random() for _ in range(5)] for _ in range(9)]
    strict = rule(min_iter=3, eta=3, strict=True)
    stopped = [is_behind(curve, curves, strict, Goal(name="x", goal=goal)) for curve in curves]
    order = sorted(range(9), key=lambda place: curves[place][2], reverse=goal == "maximize")
    # Those behind the value a third of the way down: the third's edge itself goes on.
    assert [place for place in range(9) if not stopped[place]] == sorted(order[:4])


def test_a_trial_that_was_good_before_is_spared_unless_strict() -> None:
    others = [[5.0, 1.0], [5.0, 2.0], [5.0, 3.0]]
    own, goal = [1.5, 9.0], Goal(name="x")
    assert is_behind(own, [*others, own], rule(min_iter=2, strict=True), goal)
    assert not is_behind(own, [*others, own], rule(min_iter=2), goal)


def test_too_early_and_alone_none_is_behind() -> None:
    assert not is_behind([9.0, 9.0], [[1.0, 1.0, 1.0]] * 9, rule(min_iter=3), Goal(name="x"))
    assert not is_behind([9.0, 9.0, 9.0], [[9.0, 9.0, 9.0]], rule(min_iter=3), Goal(name="x"))


def test_trials_that_are_behind_are_ended_gently_and_keep_their_value(sweeps: Any) -> None:
    sweeps.write("""
method: grid
metric: {name: loss, goal: minimize}
early_terminate: {type: hyperband, min_iter: 2, eta: 2}
parameters: {number: {values: [1, 2, 3, 9]}}
command:
  - sh
  - -c
  - 'n=${0#number=}; trap "echo $n >> ended; exit 143" TERM;
    for i in 1 2 3; do echo "{\\"step\\": $i, \\"loss\\": $n}"; done;
    test $n -lt 9 || { sleep 60 & wait; }; echo "{\\"loss\\": $n}"'
  - ${args_no_hyphens}
""")
    told = sweeps.run("it.yaml", "--workers", "1")
    assert told["counts"] == {"all": 4, "done": 4}
    last = told["trials"][-1]
    assert (last["value"], last["stopped"]) == (9.0, 3)
    assert sweeps.numbers("ended") == {9: 1}
    assert not any("stopped" in trial for trial in told["trials"][:-1])
