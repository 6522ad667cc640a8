"""What facts samples have: from their nested JSON to columns, each of one kind of values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum

from harness.types import Json

WIDE = 64
"""Different keys of a mapping from which on they are no names of columns but data, such as ids."""
EXACT = 2**53
"""Up to here JSON readers and spreadsheets, which know only doubles, hold whole numbers exactly."""


class Kind(Enum):
    """What all values of a column are; any of them may be None."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    TRUTH = "truth"
    TEXTS = "texts"
    INTEGERS = "integers"
    NUMBERS = "numbers"
    MAP = "map"
    """Rows of numbers."""
    JSON = "json"
    """Anything that JSON can hold, each value of its own kind."""


@dataclass(slots=True)
class Facts:
    """What has been seen at one place of the samples' facts; at first, of the facts as a whole.

    Attributes:
        kinds: of the values that are no mappings; None is that of an empty list.
        parts: key -> what has been seen there, of the values that are mappings.
        wide: whether there were so many keys that they are data; `parts` is empty then.
    """

    kinds: set[Kind | None] = field(default_factory=set)
    parts: dict[str, Facts] = field(default_factory=dict)
    wide: bool = False

    def see(self, value: Json) -> None:
        """One sample's value at this place."""
        if value is None or self.wide:
            return
        if not isinstance(value, Mapping):
            self.kinds.add(_kind(value))
            return
        for key, part in value.items():
            self.parts.setdefault(key, Facts()).see(part)
        if len(self.parts) > WIDE:
            self.wide, self.parts = True, {}

    def columns(self, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Kind]]:
        """The columns that hold all that was seen, in the order of their places: place in the facts, kind."""
        if self.wide or (self.parts and self.kinds):
            yield place, Kind.JSON
        elif self.parts:
            for key in sorted(self.parts):
                yield from self.parts[key].columns((*place, key))
        elif place:
            yield place, _common(self.kinds)


def fact_at(facts: Mapping[str, Json], place: Sequence[str]) -> Json:
    """The value at a place of a sample's facts; None where there is none."""
    value: Json = facts
    for key in place:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _kind(value: Json) -> Kind | None:
    """What a value is that is no mapping; None an empty list."""
    if isinstance(value, bool):
        return Kind.TRUTH
    if isinstance(value, str):
        return Kind.TEXT
    if isinstance(value, int):
        return Kind.INTEGER if abs(value) <= EXACT else Kind.JSON
    if isinstance(value, float):
        return Kind.NUMBER
    if not value:
        return None
    kinds = {Kind.JSON if item is None or isinstance(item, Mapping) else _kind(item) for item in value}
    return _LISTS.get(_common(kinds), Kind.JSON)


_LISTS = {Kind.TEXT: Kind.TEXTS, Kind.INTEGER: Kind.INTEGERS, Kind.NUMBER: Kind.NUMBERS}


def _common(kinds: Set[Kind | None]) -> Kind:
    """The kind that values of all of these have in common."""
    known = {kind for kind in kinds if kind is not None}
    if None in kinds:
        known = known or {Kind.TEXTS}
        if not known <= {*_LISTS.values()}:
            return Kind.JSON
    for whole, real in ((Kind.INTEGER, Kind.NUMBER), (Kind.INTEGERS, Kind.NUMBERS)):
        if known == {whole, real}:
            return real
    if len(known) > 1:
        return Kind.JSON
    return known.pop() if known else Kind.TEXT
