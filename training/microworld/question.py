"""A question with free wording, as VQAv2 and OK-VQA ask them, and how a picture's questions are chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .balance import Balance
from .dice import Dice
from .reference import View

_ATTEMPTS = 6


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its answer.

    Attributes:
        kind: the file's question_type: VQAv2's leading words, OK-VQA's category.
        answer_type: "yes/no", "number" or "other".
        topic: what the answers are balanced by.
        people: what each person asked says, where that is fixed.
    """

    text: str
    answer: str
    kind: str
    answer_type: str
    topic: str
    people: tuple[str, ...] = ()


Family = Callable[[View, Dice], Question | None]
"""Proposes one random question on a picture, or None where none fits."""


def choose(
    view: View, dice: Dice, balance: Balance, families: Sequence[tuple[Family, int]], count: int
) -> list[Question]:
    """At most `count` different questions; of some proposals of a family, the one with the rarest answer is taken."""
    chosen: list[Question] = []
    for _ in range(6 * count):
        if len(chosen) >= count:
            break
        family = dice.weighted(families)
        asked = {question.text for question in chosen}
        proposed = [family(view, dice) for _ in range(_ATTEMPTS)]
        found = [question for question in proposed if question is not None and question.text not in asked]
        if found:
            chosen.append(found[balance.take([(question.topic, question.answer) for question in found])])
    return chosen
