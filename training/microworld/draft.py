"""What a question in GQA's manner is made of: words that point at things, a meaning and a functional program."""

from __future__ import annotations

from dataclasses import dataclass

from .entailment import Ask
from .reference import Reference, View, matching


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that stand for one thing of the picture."""

    words: str
    object_id: str


Text = tuple[str | Phrase, ...]

SCENE = frozenset({("scene", "scene")})
"""The reference to the picture as a whole."""

PREDICATE = {
    "color": "",
    "material": "made of ",
    "pattern": "",
    "size": "",
    "hposition": "on the ",
    "vposition": "at the ",
}
"""What stands between "is" and a value."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a functional program; `dependencies` are places of earlier steps."""

    operation: str
    argument: str
    dependencies: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A question before it has a number: its wordings, answer, meaning and program."""

    wordings: tuple[Text, ...]
    full_answer: Text
    ask: Ask
    steps: tuple[Step, ...]
    structural: str
    semantic: str
    detailed: str
    topic: str  # what the answers are balanced by, within `detailed`
    global_group: str | None
    local_group: str
    answer_object: str | None = None


class Program:
    """Collects steps; each method returns the place of the step that it ends with."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.steps: list[Step] = []

    def add(self, operation: str, argument: str, *dependencies: int) -> int:
        self.steps.append(Step(operation, argument, dependencies))
        return len(self.steps) - 1

    def refer(self, reference: Reference) -> int:
        object_id = self._view.object_id(reference.index)
        if reference.anchor is None:
            place = self.add("select", f"{reference.noun} ({object_id})")
        else:
            anchor = self.refer(reference.anchor)
            place = self.add("relate", f"{reference.noun},{reference.relation},s ({object_id})", anchor)
        return self._filter(reference.own, place)

    def exist(self, own: tuple[tuple[str, str], ...]) -> int:
        found = matching(self._view.scene, own)
        noun = dict(own).get("shape", "object")
        if not found:
            found = matching(self._view.scene, [pair for pair in own if pair[0] == "shape"])
        ids = ",".join(self._view.object_id(index) for index in found) or "-"
        place = self._filter(own, self.add("select", f"{noun} ({ids})"))
        return self.add("exist", "?", place)

    def scene(self) -> int:
        return self.add("select", "scene")

    def _filter(self, own: tuple[tuple[str, str], ...], place: int) -> int:
        for key, value in own:
            if key != "shape":
                place = self.add(f"filter {key}", value, place)
        return place


def operation(key: str) -> str:
    """GQA's word for an attribute in a program: a kind is a name, a location a place."""
    return {"shape": "name", "location": "place"}.get(key, key)


def phrase(view: View, reference: Reference) -> Text:
    """A reference as text, its things marked."""
    head = Phrase(reference.head, view.object_id(reference.index))
    if reference.anchor is None:
        return (head,)
    return (head, f" {reference.relation} the ", *phrase(view, reference.anchor))
