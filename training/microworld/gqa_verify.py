"""Yes/no questions in GQA's manner: of an attribute, of two, of what there is, of a relation."""

from __future__ import annotations

from .dice import Dice
from .draft import PREDICATE, SCENE, Draft, Phrase, Program
from .entailment import Both, Exists, Has
from .reference import View, axis_of, describe, matching, profile, with_article
from .scene import OPPOSITE, VALUES, another


def verify_attribute(view: View, dice: Dice, key: str) -> Draft | None:
    """Is the square red?"""
    reference = view.refer(dice, (key,))
    if reference is None:
        return None
    value = str(view.thing(reference).value(key))
    truth = dice.chance(50)
    asked = value if truth else another(dice, key, value)
    program = Program(view)
    program.add(f"verify {key}", asked, program.refer(reference))
    named = Phrase(reference.head, view.object_id(reference.index))
    return Draft(
        wordings=(("Is the ", named, f" {PREDICATE[key]}{asked}?"),),
        full_answer=("Yes" if truth else "No", ", the ", named, f" is {PREDICATE[key]}{value}."),
        ask=Has(reference.pairs, (key, asked), truth),
        steps=tuple(program.steps),
        structural="verify",
        semantic="attr",
        detailed="verifyAttr" if truth else "verifyAttrC",
        topic=key,
        global_group=None,
        local_group=f"06-{reference.noun}_{asked}",
    )


def verify_two(view: View, dice: Dice) -> Draft | None:
    """Is the square red and striped?"""
    first, second = dice.pick((("color", "pattern"), ("color", "material"), ("size", "color"), ("pattern", "material")))
    reference = view.refer(dice, (first, second))
    if reference is None:
        return None
    thing = view.thing(reference)
    values = {key: str(thing.value(key)) for key in (first, second)}
    truth = dice.chance(50)
    asked = dict(values)
    if not truth:
        changed = dice.pick((first, second))
        asked[changed] = another(dice, changed, values[changed])
    program = Program(view)
    place = program.refer(reference)
    program.add("and", "", *(program.add(f"verify {key}", asked[key], place) for key in (first, second)))
    named = Phrase(reference.head, view.object_id(reference.index))

    def words(told: dict[str, str]) -> str:
        return " and ".join(PREDICATE[key] + told[key] for key in (first, second))

    parts = tuple(Has(reference.pairs, (key, asked[key]), asked[key] == values[key]) for key in (first, second))
    return Draft(
        wordings=(("Is the ", named, f" {words(asked)}?"),),
        full_answer=("Yes" if truth else "No", ", the ", named, f" is {words(values)}."),
        ask=Both((parts[0], parts[1]), every=True),
        steps=tuple(program.steps),
        structural="logical",
        semantic="attr",
        detailed="verifyAttrs" if truth else "verifyAttrsC",
        topic="two",
        global_group=None,
        local_group=f"05-{asked[first]}_{asked[second]}",
    )


def exist(view: View, dice: Dice) -> Draft | None:
    """Is there a red square? Where there is none, something of the picture comes near."""
    truth = dice.chance(50)
    own = _existing(view, dice) if truth else _missing(view, dice)
    if own is None:
        return None
    program = Program(view)
    program.exist(own)
    named = with_article(describe(own))
    single = len(own) == 1
    detailed = ("exist" if single else "existAttr") + ("" if truth else "C")
    return Draft(
        wordings=((f"Is there {named}?",), (f"Do you see {named}?",)),
        full_answer=(f"Yes, there is {named}." if truth else f"No, there is no {describe(own)}.",),
        ask=Exists(frozenset(own), truth),
        steps=tuple(program.steps),
        structural="verify",
        semantic="obj",
        detailed=detailed,
        topic="one" if single else "two",
        global_group=None,
        local_group=f"03-{describe(own)}",
    )


def exist_two(view: View, dice: Dice) -> Draft | None:
    """Are there both a square and a ring? Is there either a square or a ring?"""
    every, truth = dice.chance(50), dice.chance(50)
    # "and" fails and "or" holds most instructively by one part alone.
    truths = (truth, truth) if truth == every else dice.pick(((True, False), (False, True)))
    found = [_existing(view, dice, single=True) if part else _missing(view, dice, single=True) for part in truths]
    if found[0] is None or found[1] is None or found[0] == found[1]:
        return None
    owns = (found[0], found[1])
    program = Program(view)
    program.add("and" if every else "or", "", *(program.exist(own) for own in owns))
    names = [with_article(describe(own)) for own in owns]
    parts = tuple(Exists(frozenset(own), part) for own, part in zip(owns, truths, strict=True))
    joined = f"both {names[0]} and {names[1]}" if every else f"either {names[0]} or {names[1]}"
    verb = "are" if every else "is"
    return Draft(
        wordings=((f"{verb.capitalize()} there {joined}?",),),
        full_answer=(f"Yes, there {verb} {joined}." if truth else f"No, there {verb} not {joined}.",),
        ask=Both((parts[0], parts[1]), every),
        steps=tuple(program.steps),
        structural="logical",
        semantic="obj",
        detailed=("existAnd" if every else "existOr") + ("" if truth else "C"),
        topic="and" if every else "or",
        global_group=None,
        local_group=f"09{'existAnd' if every else 'existOr'}-{describe(owns[0])}_{describe(owns[1])}",
    )


def verify_relation(view: View, dice: Dice) -> Draft | None:
    """Is the square to the left of the ring?"""
    pair = view.refer_to_two(dice)
    if pair is None:
        return None
    first, second, words = pair
    truth = dice.chance(50)
    asked = words if truth else OPPOSITE[words]
    program = Program(view)
    program.add("verify rel", f"{first.head},{asked},s ({view.object_id(first.index)})", program.refer(second))
    one, two = (Phrase(reference.head, view.object_id(reference.index)) for reference in (first, second))
    axis = axis_of(words)
    return Draft(
        wordings=(("Is the ", one, f" {asked} the ", two, "?"),),
        full_answer=("Yes" if truth else "No", ", the ", one, f" is {words} the ", two, "."),
        ask=Has(first.pairs, ((axis, second.pairs), asked), truth),
        steps=tuple(program.steps),
        structural="verify",
        semantic="rel",
        detailed="relVerify" if truth else "relVerifyCr",
        topic=axis,
        global_group=None,
        local_group=f"13-{second.noun}_{first.noun}",
    )


def verify_weather(view: View, dice: Dice) -> Draft | None:
    """Is it sunny?"""
    value, asked = view.scene.weather, dice.pick(VALUES["weather"])
    truth = asked == value
    program = Program(view)
    program.add("verify weather", asked, program.scene())
    return Draft(
        wordings=((f"Is it {asked}?",), (f"Is the weather {asked}?",)),
        full_answer=(f"{'Yes' if truth else 'No'}, it is {value}.",),
        ask=Has(SCENE, ("weather", asked), truth),
        steps=tuple(program.steps),
        structural="verify",
        semantic="global",
        detailed="weatherVerify" if truth else "weatherVerifyC",
        topic="weather",
        global_group=None,
        local_group=f"01-weather_{asked}",
    )


_PROFILES = (
    ("shape",),
    ("shape",),
    ("color",),
    ("color", "shape"),
    ("color", "shape"),
    ("pattern", "shape"),
    ("material", "shape"),
)


def _existing(view: View, dice: Dice, single: bool = False) -> tuple[tuple[str, str], ...] | None:
    keys = ("shape",) if single else dice.pick(_PROFILES)
    return profile(dice.pick(view.scene.things), keys)


def _missing(view: View, dice: Dice, single: bool = False) -> tuple[tuple[str, str], ...] | None:
    keys = ("shape",) if single else dice.pick(_PROFILES)
    own = dict(profile(dice.pick(view.scene.things), keys))
    changed = dice.pick(keys)
    own[changed] = another(dice, changed, own[changed])
    pairs = tuple(own.items())
    return None if matching(view.scene, pairs) else pairs
