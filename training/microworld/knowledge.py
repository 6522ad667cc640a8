"""Questions in OK-VQA's manner: the picture shows which thing is meant, the answer must be known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .balance import Balance
from .dice import Dice
from .question import Family, Question, choose
from .reference import View

Record = dict[str, Any]
People = tuple[str, ...]

# What five people say of each value, the commonest answer first.
_SIDES: dict[str, People] = {
    "square": ("4",) * 5,
    "triangle": ("3",) * 5,
    "diamond": ("4",) * 5,
    "cross": ("12", "12", "12", "4", "4"),
    "circle": ("0", "0", "0", "1", "1"),
    "ring": ("0", "0", "0", "1", "1"),
}
_FRUIT: dict[str, People] = {
    "red": ("apple", "apple", "apple", "cherry", "strawberry"),
    "green": ("lime", "lime", "lime", "pear", "apple"),
    "blue": ("blueberry", "blueberry", "blueberry", "blueberry", "plum"),
    "yellow": ("banana", "banana", "banana", "lemon", "lemon"),
    "orange": ("orange", "orange", "orange", "orange", "peach"),
    "purple": ("grape", "grape", "grape", "plum", "plum"),
    "pink": ("peach", "peach", "peach", "guava", "guava"),
    "white": ("coconut", "coconut", "coconut", "coconut", "pear"),
}
_ANIMAL: dict[str, People] = {
    "red": ("ladybug", "ladybug", "ladybug", "fox", "crab"),
    "green": ("frog", "frog", "frog", "lizard", "lizard"),
    "blue": ("whale", "whale", "whale", "whale", "bird"),
    "yellow": ("chick", "chick", "chick", "bee", "bee"),
    "orange": ("tiger", "tiger", "tiger", "fox", "fox"),
    "pink": ("pig", "pig", "pig", "pig", "flamingo"),
    "white": ("swan", "swan", "swan", "sheep", "sheep"),
}
_SIGNAL: dict[str, People] = {
    "red": ("stop",) * 5,
    "green": ("go",) * 5,
    "yellow": ("slow", "slow", "slow", "wait", "wait"),
}
_MIX = {("blue", "red"): "purple", ("blue", "yellow"): "green", ("red", "white"): "pink", ("red", "yellow"): "orange"}
_LOOKALIKE: dict[str, People] = {
    "circle": ("ball", "ball", "ball", "wheel", "wheel"),
    "square": ("window", "window", "window", "box", "box"),
    "triangle": ("pizza", "pizza", "pizza", "pyramid", "pyramid"),
    "ring": ("donut", "donut", "donut", "donut", "tire"),
    "cross": ("plus", "plus", "plus", "plus", "hospital"),
    "diamond": ("kite", "kite", "kite", "kite", "card"),
}
_UNDERFOOT: dict[str, People] = {
    "beach": ("sand",) * 5,
    "field": ("grass",) * 5,
    "street": ("stone", "stone", "stone", "brick", "brick"),
    "deck": ("wood",) * 5,
    "pool": ("tile", "tile", "tile", "water", "water"),
}
_SOURCE: dict[str, People] = {
    "rubber": ("tree", "tree", "tree", "tree", "oil"),
    "metal": ("mine", "mine", "mine", "rock", "rock"),
    "glass": ("sand", "sand", "sand", "sand", "beach"),
}
_CONDUCTS: dict[str, People] = {"metal": ("yes",) * 5, "rubber": ("no",) * 5, "glass": ("no",) * 5}
_PRIMARY: dict[str, People] = {
    "red": ("yes",) * 5,
    "blue": ("yes",) * 5,
    "yellow": ("yes",) * 5,
    "orange": ("no",) * 5,
    "purple": ("no",) * 5,
    "green": ("no", "no", "no", "yes", "yes"),
}


@dataclass(frozen=True, slots=True)
class _Lore:
    """What is known of one attribute's values; `wording` has a place for the thing, `kind` is OK-VQA's category."""

    key: str
    wording: str
    known: dict[str, People]
    kind: str

    def __call__(self, view: View, dice: Dice) -> Question | None:
        reference = view.refer(dice, (self.key,))
        if reference is None:
            return None
        return self.about(str(view.thing(reference).value(self.key)), reference.head)

    def about(self, value: str, words: str = "") -> Question | None:
        people = self.known.get(value)
        if people is None:
            return None
        return Question(self.wording.format(words), people[0], self.kind, "other", self.wording, people)


_GROUND = _Lore("location", "What is the ground here made of?", _UNDERFOOT, "six")


def _ground(view: View, _: Dice) -> Question | None:
    return _GROUND.about(view.scene.location)


def _mixed(view: View, dice: Dice) -> Question | None:
    """Which colour do two colours give?"""
    first = view.refer(dice, ("color",))
    second = view.refer(dice, ("color",), view.others(first)) if first is not None else None
    if first is None or second is None:
        return None
    low, high = sorted((view.thing(first).color, view.thing(second).color))
    color = _MIX.get((low, high))
    if color is None:
        return None
    text = f"Which color do you get by mixing the colors of the {first.head} and the {second.head}?"
    return Question(text, color, "nine", "other", "mixing", (color,) * 5)


_FAMILIES: tuple[tuple[Family, int], ...] = (
    (_Lore("shape", "How many sides does the {} have?", _SIDES, "nine"), 16),
    (_Lore("color", "Which fruit has the color of the {}?", _FRUIT, "five"), 16),
    (_Lore("color", "Which animal has the color of the {}?", _ANIMAL, "eight"), 14),
    (_Lore("shape", "Which thing has the shape of the {}?", _LOOKALIKE, "three"), 14),
    (_Lore("material", "Where does the material of the {} come from?", _SOURCE, "three"), 8),
    (_Lore("color", "What does a traffic light with the color of the {} tell you?", _SIGNAL, "one"), 10),
    (_Lore("material", "Does the material of the {} conduct electricity?", _CONDUCTS, "nine"), 7),
    (_Lore("color", "Is the color of the {} a primary color?", _PRIMARY, "seven"), 7),
    (_ground, 6),
    (_mixed, 10),
)


def ask(view: View, dice: Dice, balance: Balance, count: int) -> tuple[list[Record], list[Record]]:
    """At most `count` question records and their annotation records; question_id = 10 x image_id + place.

    As in OK-VQA, five people answer and each answer stands twice among the ten.
    """
    questions: list[Record] = []
    annotations: list[Record] = []
    for number, question in enumerate(choose(view, dice, balance, _FAMILIES, count), start=view.image_id * 10):
        questions.append({"image_id": view.image_id, "question": question.text, "question_id": number})
        annotations.append(
            {
                "image_id": view.image_id,
                "answer_type": "other",
                "question_type": question.kind,
                "question_id": number,
                "answers": _doubled(question.people),
                "confidence": 3,
            }
        )
    return questions, annotations


def _doubled(five: People) -> list[Record]:
    ten = [word for word in five for _ in range(2)]
    return [
        {"answer_id": number, "raw_answer": word, "answer_confidence": "yes", "answer": word}
        for number, word in enumerate(ten, start=1)
    ]
