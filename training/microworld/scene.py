"""What a scene is, and how one comes from a seed: things of a shape, colour, size, material and pattern."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from .dice import Dice

SIDE = 128
"""Width and height of every picture, in pixels."""

KINDS = ("square", "circle", "triangle", "diamond", "cross", "ring")
NOVEL_KINDS = ("star", "heart", "moon", "arrow")
"""Kinds of things that appear in no training scene."""

COLORS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "white")
SIZES = ("small", "large")
MATERIALS = ("rubber", "metal", "glass")
PATTERNS = ("plain", "striped", "dotted", "checked")
LOCATIONS = ("beach", "field", "street", "deck", "pool")
WEATHERS = ("sunny", "cloudy")

VALUES: dict[str, tuple[str, ...]] = {
    "shape": KINDS,
    "color": COLORS,
    "size": SIZES,
    "material": MATERIALS,
    "pattern": PATTERNS,
    "location": LOCATIONS,
    "weather": WEATHERS,
    "hposition": ("left", "right"),
    "vposition": ("top", "bottom"),
}

RELATIONS = {"h": ("to the left of", "to the right of"), "v": ("above", "below")}
OPPOSITE = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}

_EXTENT = {"small": (14, 18), "large": (28, 36)}
_GAP = 3  # free pixels between two boxes, so that no outline touches another
_EDGE = 2  # free pixels between a box and the border of the picture
_CLEAR = 12  # two centres closer than this (pixels) are in no relation: a person might argue
_HALF_CLEAR = 8  # a centre closer than this to the middle line is on no side

_SHAPE_SAME, _COLOR_SAME = 15, 15  # percent of things that repeat an earlier thing's shape or colour
_PLAIN, _LARGE, _BESIDE = 70, 55, 35  # percent of plain things; of large ones; of those put beside an earlier one


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: five attributes and its box (`x`, `y` top left, `extent` the side), in pixels."""

    shape: str
    color: str
    size: str
    material: str
    pattern: str
    x: int
    y: int
    extent: int

    def value(self, key: str) -> str | None:
        """The value of an attribute; a position is None where the thing is near the middle line."""
        match key:
            case "shape":
                return self.shape
            case "color":
                return self.color
            case "size":
                return self.size
            case "material":
                return self.material
            case "pattern":
                return self.pattern
            case "hposition":
                return _side(self.x, self.extent, VALUES["hposition"])
            case "vposition":
                return _side(self.y, self.extent, VALUES["vposition"])
        raise KeyError(key)


@dataclass(frozen=True, slots=True)
class Scene:
    """A place, its weather and three to six things that do not overlap; `texture` seeds the ground's grain."""

    domain: str
    location: str
    weather: str
    things: tuple[Thing, ...]
    texture: int

    def digest(self) -> str:
        """SHA-256 of what the scene holds; the grain of the ground does not make another scene of it."""
        content = [self.location, self.weather, [astuple(thing) for thing in self.things]]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def relation(first: Thing, second: Thing, axis: str) -> str | None:
    """How `first` lies to `second` along `axis` ("h" or "v"); None where their centres are too close to tell."""
    if axis == "h":
        twice = 2 * (second.x - first.x) + second.extent - first.extent
    else:
        twice = 2 * (second.y - first.y) + second.extent - first.extent
    if abs(twice) < 2 * _CLEAR:
        return None
    return RELATIONS[axis][0 if twice > 0 else 1]


def sample_scene(seed: int, stream: str, index: int, domain: str = "in-domain") -> Scene:
    """Scene number `index` of a stream.

    It depends on these arguments alone, not on how many scenes are made. `domain` is "in-domain"
    (known kinds only), "near-domain" (known and novel kinds) or "out-domain" (novel kinds only).
    """
    dice = Dice(seed, stream, index, "scene")
    count = dice.weighted(((3, 55), (4, 30), (5, 15)))
    kinds = _kinds(dice, count, domain)
    things: list[Thing] = []
    for kind in kinds:
        thing = _place(dice, kind, things)
        if thing is not None:
            things.append(thing)
    return Scene(domain, dice.pick(LOCATIONS), dice.pick(WEATHERS), tuple(things), dice.below(1 << 30))


def another(dice: Dice, key: str, value: str) -> str:
    """A value of the attribute `key` that is not `value`."""
    return dice.pick([other for other in VALUES[key] if other != value])


def _kinds(dice: Dice, count: int, domain: str) -> list[str]:
    kinds: list[str] = []
    for position in range(count):
        if kinds and domain == "in-domain" and dice.chance(_SHAPE_SAME):
            kinds.append(dice.pick(kinds))
        elif domain == "out-domain" or (domain == "near-domain" and position % 2 == 0):
            kinds.append(dice.pick(NOVEL_KINDS))
        else:
            kinds.append(dice.pick(KINDS))
    return kinds


def _place(dice: Dice, kind: str, others: Sequence[Thing]) -> Thing | None:
    """A thing of this kind on free ground; None after many tries (the first three always find room)."""
    color = dice.pick(others).color if others and dice.chance(_COLOR_SAME) else dice.pick(COLORS)
    size = "large" if dice.chance(_LARGE) else "small"
    material, pattern = dice.pick(MATERIALS), "plain" if dice.chance(_PLAIN) else dice.pick(PATTERNS[1:])
    beside = dice.pick(others) if others and dice.chance(_BESIDE) else None
    for attempt in range(200):
        if attempt == 100:
            size = "small"
        extent = 2 * dice.between(_EXTENT[size][0] // 2, _EXTENT[size][1] // 2)
        low, high = _EDGE, SIDE - _EDGE - extent
        if beside is not None and attempt < 20:
            reach = beside.extent + extent
            x = min(max(beside.x + dice.between(-reach, reach), low), high)
            y = min(max(beside.y + dice.between(-reach, reach), low), high)
        else:
            x, y = dice.between(low, high), dice.between(low, high)
        if all(_apart(x, y, extent, other) for other in others):
            return Thing(kind, color, size, material, pattern, x, y, extent)
    return None


def _apart(x: int, y: int, extent: int, other: Thing) -> bool:
    return (
        x + extent + _GAP <= other.x
        or other.x + other.extent + _GAP <= x
        or y + extent + _GAP <= other.y
        or other.y + other.extent + _GAP <= y
    )


def _side(start: int, extent: int, names: tuple[str, ...]) -> str | None:
    twice = 2 * start + extent - SIDE
    if abs(twice) < 2 * _HALF_CLEAR:
        return None
    return names[0 if twice < 0 else 1]
