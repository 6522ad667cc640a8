"""What a question asks, what its answer tells, and whether that settles another question.

A reference such as "the red square" is a set of (key, value) pairs that exactly one thing of the picture has.
Two references mean the same thing whenever one set holds the other: "the square" is unique, and the red square
is a square. A relation is a pair like any other: its key is (axis, the other thing's reference), its value the
relation's words. So one small logic covers attributes, relations and existence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .scene import OPPOSITE

Key = str | tuple[str, "Pairs"]
Pair = tuple[Key, str]
Pairs = frozenset[Pair]


@dataclass(frozen=True, slots=True)
class Known:
    """A thing with this `profile` is in the picture; with `about`, it is the only one that `about` fits."""

    about: Pairs | None
    profile: Pairs


@dataclass(frozen=True, slots=True)
class Excluded:
    """The only thing that `about` fits lacks `pair`."""

    about: Pairs
    pair: Pair


@dataclass(slots=True)
class Facts:
    """What an answer tells, together with what its question takes for granted."""

    known: list[Known] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)
    absent: list[Pairs] = field(default_factory=list)

    def value(self, about: Pairs, key: Key) -> str | None:
        """The value that the thing `about` has under `key`, where it follows."""
        for fact in self.known:
            same = about <= fact.profile or (fact.about is not None and fact.about <= about)
            if same:
                for other, value in fact.profile:
                    if other == key:
                        return value
        return None

    def has(self, about: Pairs, pair: Pair) -> bool | None:
        """Whether the thing `about` has `pair`; None where it does not follow."""
        value = self.value(about, pair[0])
        if value is not None:
            return value == pair[1]
        for fact in self.excluded:
            if fact.pair == pair and (fact.about <= about or about <= fact.about):
                return False
        return None

    def exists(self, profile: Pairs) -> bool | None:
        """Whether some thing has all of `profile`; None where it does not follow."""
        if any(profile <= fact.profile for fact in self.known):
            return True
        if any(nothing <= profile for nothing in self.absent):
            return False
        for fact in self.known:
            if fact.about is not None and fact.about <= profile:
                told = dict(fact.profile)
                if any(key in told and told[key] != value for key, value in profile):
                    return False
        if any(fact.about <= profile and fact.pair in profile for fact in self.excluded):
            return False
        return None


class Ask(Protocol):
    """The meaning of one question, with its true answer."""

    @property
    def answer(self) -> str: ...

    def facts(self) -> Facts:
        """What follows from the true answer and from the question's own presuppositions."""
        ...

    def answer_from(self, facts: Facts) -> str | None:
        """The answer that follows from `facts`; None where none does."""
        ...


def yes_no(truth: bool) -> str:
    """The word for a truth."""
    return "yes" if truth else "no"


@dataclass(frozen=True, slots=True)
class Value:
    """Which value has this thing under `key`? With `options`, one of two is to be chosen."""

    about: Pairs
    key: Key
    value: str
    told: str
    options: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        return self.told

    def facts(self) -> Facts:
        return Facts(known=_positive(self.about, (self.key, self.value)))

    def answer_from(self, facts: Facts) -> str | None:
        value = facts.value(self.about, self.key)
        if value is not None:
            return self.told if value == self.value else value
        # One of the options holds, so the only one that is not excluded does.
        left = [option for option in self.options if facts.has(self.about, (self.key, option)) is not False]
        return self.told if left == [self.value] else None


@dataclass(frozen=True, slots=True)
class Has:
    """Has this thing that value?"""

    about: Pairs
    pair: Pair
    truth: bool

    @property
    def answer(self) -> str:
        return yes_no(self.truth)

    def facts(self) -> Facts:
        if self.truth:
            return Facts(known=_positive(self.about, self.pair))
        return Facts(known=[Known(self.about, self.about)], excluded=[Excluded(self.about, self.pair)])

    def truth_from(self, facts: Facts) -> bool | None:
        return facts.has(self.about, self.pair)

    def answer_from(self, facts: Facts) -> str | None:
        truth = self.truth_from(facts)
        return None if truth is None else yes_no(truth)


@dataclass(frozen=True, slots=True)
class Exists:
    """Is there a thing of this profile?"""

    profile: Pairs
    truth: bool

    @property
    def answer(self) -> str:
        return yes_no(self.truth)

    def facts(self) -> Facts:
        if self.truth:
            return Facts(known=[Known(None, self.profile)])
        return Facts(absent=[self.profile])

    def truth_from(self, facts: Facts) -> bool | None:
        return facts.exists(self.profile)

    def answer_from(self, facts: Facts) -> str | None:
        truth = self.truth_from(facts)
        return None if truth is None else yes_no(truth)


@dataclass(frozen=True, slots=True)
class Both:
    """Two yes/no questions joined by "and" (`every`) or by "or"."""

    parts: tuple[Has | Exists, Has | Exists]
    every: bool

    @property
    def truth(self) -> bool:
        return all(part.truth for part in self.parts) if self.every else any(part.truth for part in self.parts)

    @property
    def answer(self) -> str:
        return yes_no(self.truth)

    def facts(self) -> Facts:
        facts = Facts()
        for part in self.parts:
            # "yes" to "and" and "no" to "or" tell each part; otherwise only what both take for granted is told.
            if self.truth == self.every:
                told = part.facts()
                facts.known += told.known
                facts.excluded += told.excluded
                facts.absent += told.absent
            elif isinstance(part, Has):
                facts.known.append(Known(part.about, part.about))
        return facts

    def answer_from(self, facts: Facts) -> str | None:
        told = [part.truth_from(facts) for part in self.parts]
        decisive = not self.every
        if decisive in told:
            return yes_no(decisive)
        return None if None in told else yes_no(self.every)


@dataclass(frozen=True, slots=True)
class Same:
    """Have two things the same value under `key` (or, with `differ`, different ones)?"""

    first: Pairs
    second: Pairs
    key: str
    values: tuple[str, str]
    differ: bool

    @property
    def answer(self) -> str:
        return yes_no((self.values[0] == self.values[1]) != self.differ)

    def facts(self) -> Facts:
        return Facts(known=[Known(self.first, self.first), Known(self.second, self.second)])

    def answer_from(self, facts: Facts) -> str | None:
        values = facts.value(self.first, self.key), facts.value(self.second, self.key)
        return None if None in values else yes_no((values[0] == values[1]) != self.differ)


def entailed(facts: Facts, asks: Sequence[Ask]) -> list[int]:
    """Places of the questions whose answers follow from `facts`."""
    return [place for place, ask in enumerate(asks) if ask.answer_from(facts) == ask.answer]


def _positive(about: Pairs, pair: Pair) -> list[Known]:
    known = [Known(about, about | {pair})]
    key, value = pair
    if not isinstance(key, str):
        axis, other = key
        known.append(Known(other, other | {((axis, about), OPPOSITE[value])}))
    return known
