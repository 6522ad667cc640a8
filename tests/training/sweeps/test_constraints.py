"""Constraints, checked against Python's own evaluation and exact fractions."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import pytest

from training.sweeps.constraints import Constraint, Unusable

NAMES = ["a", "b", "c", "model.depth"]


@pytest.mark.parametrize(
    "text",
    [
        "a + b <= 2 * c", "a < b < c", "not (a == 1 and b == 2)", "max(a, b) - min(a, b) >= c", "any([a, b])",
        "all([a, b, c])", "a in [0, 2]", "a not in (1, 2) or b % 2 == 0", "sum([a, b, c]) // 2 == 1", "-a + b ** 2 > 1",
        "abs(a - c) != 1", "len([a, b]) == 2 and a", "round(a / 2) == 1", "(a and b) == c",
    ],
)  # fmt: skip
def test_a_constraint_means_what_python_means(text: str) -> None:
    constraint = Constraint.parse(text, ["a", "b", "c"])
    for a, b, c in itertools.product(range(3), repeat=3):
        point = {"a": a, "b": b, "c": c}
        if text == "(a and b) == c":  # here `and` says whether, not which
            assert constraint.holds(point) == (bool(a and b) == c)
        else:
            assert constraint.holds(point) == bool(eval(text, {}, point)), point


def test_shares_that_sum_to_one_do_whatever_floats_make_of_them() -> None:
    constraint = Constraint.parse("a + b + c == 1", ["a", "b", "c"])
    for n in range(1, 25):
        for i, j in itertools.product(range(n + 1), repeat=2):
            shares = [Fraction(i, n), Fraction(j, n), Fraction(n - i - j + (i * j) % 2, n)]
            point = dict(zip("abc", map(float, shares), strict=True))
            assert constraint.holds(point) == (sum(shares) == 1)


def test_what_is_equal_within_rounding_is_not_less() -> None:
    point = {"a": 0.1 + 0.2, "b": 0.3}
    assert not Constraint.parse("a > b", ["a", "b"]).holds(point)
    assert Constraint.parse("a <= b", ["a", "b"]).holds(point)
    assert not Constraint.parse("a == b", ["a", "b"]).holds({"a": 1e-7, "b": 1.1e-7})


def test_a_parameter_within_others_has_a_short_name() -> None:
    point = {"a": 1, "model.depth": 3, "head.width": 4}
    assert Constraint.parse("depth > width - 2 * a", list(point)).holds(point)
    assert Constraint.parse("model.depth == 3", list(point)).holds(point)
    with pytest.raises(Unusable, match="several parameters end in 'depth'"):
        Constraint.parse("depth > 1", ["model.depth", "head.depth"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a + b = 1", "no expression"),
        ("not all zero", r"no expression.*any\(\[a, b\]\)"),
        ("modl.depth > 1", "unknown parameter 'modl.depth' \\(did you mean 'model.depth'"),
        ("__import__('os').system('touch x') == a", "cannot be said"),
        ("a.__class__ == 1", "unknown parameter 'a.__class__'"),
        ("(lambda: a)() == 1", "cannot be said"),
        ("[x for x in [a]] == 1", "cannot be said"),
        ("open('x') == a", "unknown function 'open'"),
        ("max(a, key=abs) == 1", "cannot be said"),
        ("a if b else c", "cannot be said"),
        ("1 < 2", "names no parameter"),
    ],
)
def test_what_cannot_be_said(text: str, said: str) -> None:
    with pytest.raises(Unusable, match=said):
        Constraint.parse(text, NAMES)


@pytest.mark.parametrize("text", ["9 ** 9 ** 9 > a", "a + b > 1", "a * 10 ** 9 == b", "1 / (a == 'x' and 0) > 1"])
def test_what_cannot_be_told_of_a_point(text: str) -> None:
    point: dict[str, Any] = {"a": "x", "b": 1}
    with pytest.raises(Unusable, match="cannot be told of a=x, b=1"):
        Constraint.parse(text, ["a", "b"]).holds(point)
