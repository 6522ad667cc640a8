"""Whether one question's answer settles another's, by example."""

from __future__ import annotations

import pytest

from training.microworld.entailment import Ask, Both, Exists, Has, Same, Value

SQUARE = frozenset({("shape", "square")})
SMALL_SQUARE = SQUARE | {("size", "small")}
RED_SQUARE = SQUARE | {("color", "red")}
BLUE_SQUARE = SQUARE | {("color", "blue")}
RING = frozenset({("shape", "ring")})
ABOVE_RING = frozenset({(("v", RING), "above")})
RED = frozenset({("color", "red")})
SQUARE_IS_RED = Value(SQUARE, "color", "red", "red")
SQUARE_ABOVE_RING = Value(SQUARE, ("v", RING), "above", "above", ("above", "below"))


@pytest.mark.parametrize(
    ("premise", "conclusion", "follows"),
    [
        (SQUARE_IS_RED, Has(SQUARE, ("color", "red"), True), True),
        (SQUARE_IS_RED, Has(SQUARE, ("color", "blue"), False), True),
        (SQUARE_IS_RED, Has(SQUARE, ("material", "metal"), True), False),
        (SQUARE_IS_RED, Has(SMALL_SQUARE, ("color", "red"), True), True),
        (Value(SMALL_SQUARE, "color", "red", "red"), SQUARE_IS_RED, True),
        (SQUARE_IS_RED, Value(RED, "shape", "square", "square"), True),
        (SQUARE_IS_RED, Value(frozenset({("size", "small")}), "color", "red", "red"), False),
        (SQUARE_IS_RED, Exists(RED_SQUARE, True), True),
        (SQUARE_IS_RED, Exists(BLUE_SQUARE, False), True),
        (SQUARE_IS_RED, Exists(frozenset({("color", "blue")}), False), False),
        (Exists(RED_SQUARE, True), Exists(SQUARE, True), True),
        (Exists(SQUARE, True), Exists(RED_SQUARE, True), False),
        (Exists(RED_SQUARE, True), SQUARE_IS_RED, True),
        (Exists(RED_SQUARE, True), Exists(BLUE_SQUARE, False), False),
        (Exists(SQUARE, False), Exists(RED_SQUARE, False), True),
        (Exists(RED_SQUARE, False), Exists(SQUARE, False), False),
        (Has(SQUARE, ("color", "red"), False), Exists(RED_SQUARE, False), True),
        (Has(SQUARE, ("color", "red"), False), SQUARE_IS_RED, False),
        (Has(SQUARE, ("color", "red"), False), Value(SQUARE, "color", "blue", "blue", ("red", "blue")), True),
        (Has(SQUARE, ("color", "red"), False), Value(SQUARE, "color", "blue", "blue", ("green", "blue")), False),
        (SQUARE_ABOVE_RING, Has(RING, (("v", SQUARE), "below"), True), True),
        (SQUARE_ABOVE_RING, Has(RING, (("v", SQUARE), "above"), False), True),
        (SQUARE_ABOVE_RING, Value(ABOVE_RING, "shape", "square", "square"), True),
        (Value(ABOVE_RING, "shape", "square", "square"), SQUARE_ABOVE_RING, True),
        (SQUARE_ABOVE_RING, Value(SQUARE, ("h", RING), "to the left of", "left"), False),
        (Both((Exists(SQUARE, True), Exists(RING, True)), every=True), Exists(RING, True), True),
        (Both((Exists(SQUARE, False), Exists(RING, True)), every=True), Exists(SQUARE, False), False),
        (Both((Exists(SQUARE, True), Exists(RING, False)), every=False), Exists(SQUARE, True), False),
        (Both((Exists(SQUARE, False), Exists(RING, False)), every=False), Exists(RING, False), True),
        (Exists(SQUARE, False), Both((Exists(SQUARE, False), Exists(RING, True)), every=True), True),
        (Exists(SQUARE, True), Both((Exists(SQUARE, True), Exists(RING, True)), every=True), False),
        (Exists(SQUARE, True), Both((Exists(SQUARE, True), Exists(RING, True)), every=False), True),
        (SQUARE_IS_RED, Same(SQUARE, RING, "color", ("red", "red"), differ=False), False),
        (Same(SQUARE, RING, "color", ("red", "red"), differ=False), SQUARE_IS_RED, False),
        (Same(SQUARE, RING, "color", ("red", "red"), differ=False), Exists(RING, True), True),
    ],
)
def test_entailment_by_example(premise: Ask, conclusion: Ask, follows: bool) -> None:
    assert conclusion.answer_from(premise.facts()) == (conclusion.answer if follows else None)
