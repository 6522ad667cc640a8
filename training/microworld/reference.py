"""How to speak of one thing so that only it can be meant: "the red square", "the object above the ring"."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .dice import Dice
from .entailment import Pair, Pairs
from .scene import RELATIONS, Scene, Thing, relation

SPOKEN = ("size", "pattern", "color", "material", "shape")
"""Attributes in the order in which they are spoken."""

# Ways to name a thing, with how often each is taken where it is unique. Short names are the common ones.
_WAYS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("shape",), 10),
    (("color",), 8),
    (("color", "shape"), 6),
    (("size", "shape"), 2),
    (("pattern", "shape"), 2),
    (("material", "shape"), 2),
)
_NARROWING: tuple[tuple[tuple[str, ...], int], ...] = (((), 3), (("shape",), 1), (("color",), 1))


@dataclass(frozen=True, slots=True)
class Reference:
    """A description that fits one thing only: `own` attributes in spoken order, and perhaps a relation to another."""

    index: int
    own: tuple[tuple[str, str], ...]
    relation: str | None = None
    anchor: Reference | None = None

    @property
    def pairs(self) -> Pairs:
        own: list[Pair] = list(self.own)
        if self.relation is not None and self.anchor is not None:
            own.append(((axis_of(self.relation), self.anchor.pairs), self.relation))
        return frozenset(own)

    @property
    def noun(self) -> str:
        return dict(self.own).get("shape", "object")

    @property
    def head(self) -> str:
        """The description without its relation, without article: "red square"."""
        return describe(self.own)

    @property
    def keys(self) -> set[str]:
        return {key for key, _ in self.own}


def axis_of(words: str) -> str:
    """ "h" for left and right, "v" for above and below."""
    return next(axis for axis, names in RELATIONS.items() if words in names)


def describe(own: Iterable[tuple[str, str]]) -> str:
    """Attributes as words, in spoken order: "small striped red square", "red object"."""
    told = dict(own)
    words = [told[key] for key in SPOKEN[:-1] if key in told]
    return " ".join([*words, told.get("shape", "object")])


def with_article(words: str) -> str:
    """`words` after "a" or "an"."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def profile(thing: Thing, keys: Collection[str]) -> tuple[tuple[str, str], ...]:
    """The thing's (key, value) pairs for `keys`, in spoken order."""
    return tuple((key, value) for key in SPOKEN if key in keys and (value := thing.value(key)) is not None)


def matching(scene: Scene, own: Iterable[tuple[str, str]]) -> list[int]:
    """Indices of the things that have every pair of `own`."""
    wanted = list(own)
    return [i for i, thing in enumerate(scene.things) if all(thing.value(key) == value for key, value in wanted)]


class View:
    """A scene with every simple unique reference to its things worked out once."""

    def __init__(self, scene: Scene, image_id: int) -> None:
        self.scene = scene
        self.image_id = image_id
        self._simple: list[list[tuple[Reference, int]]] = []
        for index, thing in enumerate(scene.things):
            found = []
            for keys, weight in _WAYS:
                own = profile(thing, keys)
                if matching(scene, own) == [index]:
                    found.append((Reference(index, own), weight))
            self._simple.append(found)

    def object_id(self, index: int) -> str:
        """The thing's number, unique in the world."""
        return str(self.image_id * 10 + index)

    def thing(self, reference: Reference) -> Thing:
        return self.scene.things[reference.index]

    def refer(self, dice: Dice, without: Collection[str] = (), among: Sequence[int] | None = None) -> Reference | None:
        """A simple reference to a random thing (of `among`, if given) that tells none of the keys `without`."""
        if among is not None and not among:
            return None
        index = dice.below(len(self.scene.things)) if among is None else dice.pick(among)
        ways = [(reference, weight) for reference, weight in self._simple[index] if reference.keys.isdisjoint(without)]
        return dice.weighted(ways) if ways else None

    def others(self, reference: Reference) -> list[int]:
        """Indices of all things but this one."""
        return [index for index in range(len(self.scene.things)) if index != reference.index]

    def refer_by_relation(self, dice: Dice, without: Collection[str] = ()) -> Reference | None:
        """A reference such as "the object above the ring"; nothing else may come near to fitting it."""
        anchor = self.refer(dice)
        if anchor is None:
            return None
        axis = dice.pick(tuple(RELATIONS))
        words = dice.pick(RELATIONS[axis])
        keys = dice.weighted([(keys, weight) for keys, weight in _NARROWING if set(keys).isdisjoint(without)])
        around = [
            (index, relation(thing, self.thing(anchor), axis))
            for index, thing in enumerate(self.scene.things)
            if index != anchor.index
        ]
        fitting = [index for index, told in around if told == words]
        if not fitting:
            return None
        index = dice.pick(fitting)
        own = profile(self.scene.things[index], keys)
        alike = set(matching(self.scene, own))
        # A thing whose relation is unclear must not match either: a person might count it in.
        if any(other != index and other in alike and told in (words, None) for other, told in around):
            return None
        return Reference(index, own, words, anchor)

    def refer_to_two(self, dice: Dice) -> tuple[Reference, Reference, str] | None:
        """Two things with the words of a clear relation of the first to the second."""
        first = self.refer(dice)
        second = self.refer(dice, (), self.others(first)) if first is not None else None
        if first is None or second is None:
            return None
        words = relation(self.thing(first), self.thing(second), dice.pick(tuple(RELATIONS)))
        return None if words is None else (first, second, words)
