"""Open questions in GQA's manner: what colour, what shape, which place, what is to the left of it."""

from __future__ import annotations

from .dice import Dice
from .draft import PREDICATE, SCENE, Draft, Phrase, Program, Text, operation, phrase
from .entailment import Value
from .reference import View, with_article

_ASKING: dict[str, tuple[tuple[str, str], ...]] = {
    "color": (("What color is the ", "?"), ("What is the color of the ", "?")),
    "shape": (("What shape is the ", "?"), ("What is the shape of the ", "?")),
    "material": (("What material is the ", "?"), ("What is the ", " made of?")),
    "pattern": (("What pattern does the ", " have?"), ("Which pattern is on the ", "?")),
    "size": (("What size is the ", "?"), ("How big is the ", "?")),
    "hposition": (("On which side is the ", "?"), ("Which side is the ", " on?")),
}
_DETAILED = {
    "color": "directOf",
    "shape": "categoryAttr",
    "material": "material",
    "pattern": "directWhich",
    "size": "how",
    "hposition": "positionQuery",
}


def query(view: View, dice: Dice, key: str) -> Draft | None:
    """What colour, shape, material, pattern, size or side has this thing?"""
    by_relation = key in ("color", "shape", "pattern") and dice.chance(20)
    reference = view.refer_by_relation(dice, (key,)) if by_relation else view.refer(dice, (key,))
    if reference is None:
        return None
    value = view.thing(reference).value(key)
    if value is None:
        return None
    program = Program(view)
    program.add("query", operation(key), program.refer(reference))
    named = phrase(view, reference)
    object_id = view.object_id(reference.index)
    wordings: tuple[Text, ...] = tuple((before, *named, after) for before, after in _ASKING[key])
    detailed, semantic, told = _DETAILED[key], "attr", f" is {PREDICATE.get(key, '')}{value}."
    if key == "shape":
        semantic, told = "cat", f" is {with_article(value)}."
        if reference.anchor is not None and not reference.own:
            wordings = ((f"What is {reference.relation} the ", *phrase(view, reference.anchor), "?"),)
            detailed, semantic = "relS", "rel"
    return Draft(
        wordings=wordings,
        full_answer=("The ", Phrase(reference.head, object_id), told),
        ask=Value(reference.pairs, key, value, value),
        steps=tuple(program.steps),
        structural="query",
        semantic=semantic,
        detailed=detailed,
        topic=key,
        global_group=None if key == "hposition" else operation(key),
        local_group=f"10q-{reference.noun}_{operation(key)}",
        answer_object=object_id if key == "shape" else None,
    )


def query_place(view: View, _: Dice) -> Draft | None:
    """Which place is it?"""
    program = Program(view)
    program.add("query", "place", program.scene())
    value = view.scene.location
    return Draft(
        wordings=(("Which place is it?",), ("What place is this?",)),
        full_answer=(f"It is {with_article(value)}.",),
        ask=Value(SCENE, "location", value, value),
        steps=tuple(program.steps),
        structural="query",
        semantic="global",
        detailed="place",
        topic="place",
        global_group="place",
        local_group="02q-place",
    )
