"""Captions of a picture in several people's words, all of them true."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .dice import Dice
from .reference import describe, profile, with_article
from .scene import KINDS, NOVEL_KINDS, RELATIONS, Scene, Thing, relation

_NUMBER = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
_WHERE = {
    "beach": "on a {} beach",
    "field": "in a {} field",
    "street": "on a {} street",
    "deck": "on a {} deck",
    "pool": "by a {} pool",
}


def captions(scene: Scene, count: int, dice: Dice) -> list[str]:
    """`count` different captions. The largest things come first, and something unusual beside something known."""
    things = sorted(scene.things, key=lambda thing: (-thing.extent, thing.x, thing.y))
    for kinds in (KINDS, NOVEL_KINDS):
        largest = next((thing for thing in things if thing.shape in kinds), None)
        if largest is not None and scene.domain == "near-domain":
            things.remove(largest)
            things.insert(0, largest)
    told: list[str] = []
    while len(told) < count:
        told += [
            caption for form in dice.some(_FORMS, len(_FORMS)) if (caption := form(scene, things, dice)) not in told
        ]
    return [sentence(words) for words in told[:count]]


def sentence(words: str) -> str:
    """Capital letter and full stop."""
    return f"{words[0].upper()}{words[1:]}."


def _name(thing: Thing, dice: Dice) -> str:
    keys = dice.weighted(((("color", "shape"), 6), (("size", "color", "shape"), 2), (("pattern", "color", "shape"), 1)))
    return with_article(describe(profile(thing, keys)))


def _where(scene: Scene, dice: Dice) -> str:
    weather = f"{scene.weather} " if dice.chance(50) else ""
    return _WHERE[scene.location].replace("{} ", weather)


def _pair(scene: Scene, things: Sequence[Thing], dice: Dice) -> str:
    return f"{_name(things[0], dice)} and {_name(things[1], dice)} {_where(scene, dice)}"


def _reversed(scene: Scene, things: Sequence[Thing], dice: Dice) -> str:
    return f"{_where(scene, dice)} there is {_name(things[0], dice)} and {_name(things[1], dice)}"


def _three(scene: Scene, things: Sequence[Thing], dice: Dice) -> str:
    return f"{_name(things[0], dice)}, {_name(things[1], dice)} and {_name(things[2], dice)} {_where(scene, dice)}"


def _counted(scene: Scene, things: Sequence[Thing], dice: Dice) -> str:
    return f"{_NUMBER[len(things)]} objects {_where(scene, dice)} with {_name(things[0], dice)}"


def _related(_: Scene, things: Sequence[Thing], dice: Dice) -> str:
    axis = dice.pick(tuple(RELATIONS))
    words = relation(things[0], things[1], axis) or "near"
    return f"{_name(things[0], dice)} {words} {_name(things[1], dice)}"


def _pictured(_: Scene, things: Sequence[Thing], dice: Dice) -> str:
    return f"a picture of {_name(things[0], dice)} and {_name(things[1], dice)}"


_FORMS: tuple[Callable[[Scene, Sequence[Thing], Dice], str], ...] = (
    _pair,
    _reversed,
    _three,
    _counted,
    _related,
    _pictured,
)
