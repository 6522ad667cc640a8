"""Everyday questions in VQAv2's manner: yes or no, how many, and everything else."""

from __future__ import annotations

from typing import Any

from .answers import ten_answers
from .balance import Balance
from .dice import Dice
from .question import Family, Question, choose
from .reference import View, describe, matching, profile, with_article
from .scene import VALUES, another

Record = dict[str, Any]


def ask(view: View, dice: Dice, balance: Balance, count: int) -> tuple[list[Record], list[Record]]:
    """At most `count` question records and their annotation records; question_id = 1000 x image_id + place."""
    questions: list[Record] = []
    annotations: list[Record] = []
    for number, question in enumerate(choose(view, dice, balance, _FAMILIES, count), start=view.image_id * 1000):
        questions.append({"image_id": view.image_id, "question": question.text, "question_id": number})
        annotations.append(
            {
                "question_type": question.kind,
                "multiple_choice_answer": question.answer,
                "answers": ten_answers(question.answer, dice),
                "image_id": view.image_id,
                "answer_type": question.answer_type,
                "question_id": number,
            }
        )
    return questions, annotations


def _color(view: View, dice: Dice) -> Question | None:
    return _attribute(view, dice, "color", "What color is the {}?", "what color is the")


def _shape(view: View, dice: Dice) -> Question | None:
    return _attribute(view, dice, "shape", "What shape is the {}?", "what")


def _pattern(view: View, dice: Dice) -> Question | None:
    return _attribute(view, dice, "pattern", "What kind of pattern is on the {}?", "what kind of")


def _material(view: View, dice: Dice) -> Question | None:
    return _attribute(view, dice, "material", "What is the {} made of?", "what is the")


def _attribute(view: View, dice: Dice, key: str, text: str, kind: str) -> Question | None:
    reference = view.refer(dice, (key,))
    if reference is None:
        return None
    return Question(text.format(reference.head), str(view.thing(reference).value(key)), kind, "other", key)


def _beside(view: View, dice: Dice) -> Question | None:
    reference = view.refer_by_relation(dice, ("shape", "color"))
    if reference is None or reference.anchor is None:
        return None
    return Question(
        f"What is {reference.relation} the {reference.anchor.head}?",
        view.thing(reference).shape,
        "what is",
        "other",
        "beside",
    )


def _place(view: View, _: Dice) -> Question | None:
    return Question("What place is this?", view.scene.location, "what", "other", "place")


def _is_there(view: View, dice: Dice) -> Question | None:
    keys = dice.pick((("shape",), ("shape",), ("color", "shape"), ("pattern", "shape")))
    own = dict(profile(dice.pick(view.scene.things), keys))
    truth = dice.chance(50)
    if not truth:
        changed = dice.pick(keys)
        own[changed] = another(dice, changed, own[changed])
        if matching(view.scene, own.items()):
            return None
    named = with_article(describe(own.items()))
    return Question(
        f"Is there {named} in the picture?", "yes" if truth else "no", "is there a", "yes/no", f"is there {len(keys)}"
    )


def _is_the(view: View, dice: Dice) -> Question | None:
    key = dice.pick(("color", "color", "pattern", "material", "size"))
    reference = view.refer(dice, (key,))
    if reference is None:
        return None
    value = str(view.thing(reference).value(key))
    truth = dice.chance(50)
    asked = value if truth else another(dice, key, value)
    return Question(f"Is the {reference.head} {asked}?", "yes" if truth else "no", "is the", "yes/no", f"is the {key}")


def _is_it(view: View, dice: Dice) -> Question | None:
    asked = dice.pick(VALUES["weather"])
    return Question(f"Is it {asked}?", "yes" if asked == view.scene.weather else "no", "is it", "yes/no", "is it")


def _how_many(view: View, dice: Dice) -> Question | None:
    key = dice.weighted((("shape", 4), ("color", 3), ("size", 1), ("any", 2)))
    if key == "any":
        return Question("How many objects are there?", str(len(view.scene.things)), "how many", "number", "any")
    value = dice.pick(VALUES[key])
    noun = {"shape": plural(value)}.get(key, f"{value} objects")
    count = len(matching(view.scene, [(key, value)]))
    return Question(f"How many {noun} are there?", str(count), "how many", "number", key)


def plural(kind: str) -> str:
    """More than one of a kind: "squares", "crosses"."""
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


_FAMILIES: tuple[tuple[Family, int], ...] = (
    (_is_there, 16),
    (_is_the, 16),
    (_is_it, 6),
    (_how_many, 12),
    (_color, 22),
    (_shape, 13),
    (_pattern, 3),
    (_material, 3),
    (_beside, 2),
    (_place, 7),
)
