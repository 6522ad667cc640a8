"""Ten people answer a question: most agree, some say it in another way, a few are wrong."""

from __future__ import annotations

from typing import Any

from .dice import Dice

_ALIKE: dict[str, tuple[str, ...]] = {
    "small": ("little", "tiny"),
    "large": ("big", "huge"),
    "metal": ("steel", "iron"),
    "glass": ("crystal",),
    "rubber": ("plastic",),
    "striped": ("stripes", "lines"),
    "dotted": ("dots",),
    "checked": ("checks",),
    "plain": ("nothing",),
    "circle": ("round", "disc"),
    "square": ("box",),
    "ring": ("circle",),
    "cross": ("plus",),
    "diamond": ("square",),
    "triangle": ("pyramid",),
    "red": ("orange",),
    "orange": ("red",),
    "yellow": ("gold",),
    "purple": ("violet",),
    "blue": ("purple",),
    "pink": ("rose",),
    "white": ("gray",),
    "green": ("lime",),
    "beach": ("sand",),
    "field": ("grass",),
    "street": ("road",),
    "deck": ("wood",),
    "pool": ("water",),
    "sunny": ("bright",),
    "cloudy": ("dark",),
    "yes": ("no",),
    "no": ("yes",),
    "left": ("right",),
    "right": ("left",),
}
_DISPUTED = 22  # percent of questions on which the ten do not all agree


def ten_answers(answer: str, dice: Dice) -> list[dict[str, Any]]:
    """Ten records with `answer_id` 1 to 10; at least seven of them say `answer`."""
    given = [answer] * 10
    alike = _alike(answer)
    disputed = bool(alike) and dice.chance(_DISPUTED)
    if disputed:
        other = dice.pick(alike)
        for place in dice.some(range(10), dice.between(1, 3)):
            given[place] = other
    return [
        {
            "answer": word,
            "answer_confidence": "yes" if word == answer and not dice.chance(6) else "maybe",
            "answer_id": number,
        }
        for number, word in enumerate(given, start=1)
    ]


def _alike(answer: str) -> tuple[str, ...]:
    if answer.isdigit():
        return (str(int(answer) + 1),)
    return _ALIKE.get(answer, ())
