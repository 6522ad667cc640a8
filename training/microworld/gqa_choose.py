"""Questions in GQA's manner that offer two answers or compare two things."""

from __future__ import annotations

from .dice import Dice
from .draft import PREDICATE, SCENE, Draft, Phrase, Program, operation
from .entailment import Same, Value
from .reference import View, axis_of, with_article
from .scene import RELATIONS, VALUES, another


def choose_attribute(view: View, dice: Dice, key: str) -> Draft | None:
    """Is the square red or blue? Is the red object a square or a ring? Is it at the top or at the bottom?"""
    reference = view.refer(dice, (key,))
    if reference is None:
        return None
    value = view.thing(reference).value(key)
    if value is None:
        return None
    options = dice.some((value, another(dice, key, value)), 2)
    program = Program(view)
    program.add(f"choose {operation(key)}", "|".join(options), program.refer(reference))
    object_id = view.object_id(reference.index)
    named = Phrase(reference.head, object_id)
    spoken = {
        option: with_article(option) if key == "shape" else PREDICATE[key] + option for option in (value, *options)
    }
    detailed = {"shape": "objThisChoose", "material": "materialChoose", "vposition": "positionChoose"}.get(
        key, "chooseAttr"
    )
    return Draft(
        wordings=(("Is the ", named, f" {spoken[options[0]]} or {spoken[options[1]]}?"),),
        full_answer=("The ", named, f" is {spoken[value]}."),
        ask=Value(reference.pairs, key, value, value, tuple(options)),
        steps=tuple(program.steps),
        structural="choose",
        semantic="cat" if key == "shape" else "attr",
        detailed=detailed,
        topic=key,
        global_group=None if key == "vposition" else operation(key),
        local_group=f"10c-{reference.noun}_{operation(key)}",
        answer_object=object_id if key == "shape" else None,
    )


def choose_relation(view: View, dice: Dice) -> Draft | None:
    """Is the square to the left or to the right of the ring?"""
    pair = view.refer_to_two(dice)
    if pair is None:
        return None
    first, second, words = pair
    axis = axis_of(words)
    options = dice.some(RELATIONS[axis], 2)
    program = Program(view)
    program.add(
        "choose rel", f"{first.head},{'|'.join(options)},s ({view.object_id(first.index)})", program.refer(second)
    )
    one, two = (Phrase(reference.head, view.object_id(reference.index)) for reference in (first, second))
    asked = f"{options[0]} or {options[1]}" if axis == "v" else f"{options[0].removesuffix(' of')} or {options[1]}"
    told = words.removeprefix("to the ").removesuffix(" of")
    return Draft(
        wordings=(("Is the ", one, f" {asked} the ", two, "?"),),
        full_answer=("The ", one, f" is {words} the ", two, "."),
        ask=Value(first.pairs, (axis, second.pairs), words, told, tuple(options)),
        steps=tuple(program.steps),
        structural="choose",
        semantic="rel",
        detailed="relChooser",
        topic=axis,
        global_group=None,
        local_group=f"13-{second.noun}_{first.noun}",
    )


def choose_weather(view: View, dice: Dice) -> Draft | None:
    """Is it sunny or cloudy?"""
    value, options = view.scene.weather, dice.some(VALUES["weather"], 2)
    program = Program(view)
    program.add("choose weather", "|".join(options), program.scene())
    return Draft(
        wordings=((f"Is it {options[0]} or {options[1]}?",),),
        full_answer=(f"It is {value}.",),
        ask=Value(SCENE, "weather", value, value, tuple(options)),
        steps=tuple(program.steps),
        structural="choose",
        semantic="global",
        detailed="weatherChoose",
        topic="weather",
        global_group="weather",
        local_group="02c-weather",
    )


def compare(view: View, dice: Dice, key: str) -> Draft | None:
    """Are the square and the ring the same color? Do they have different colors?"""
    first = view.refer(dice, (key,))
    if first is None:
        return None
    value, same = str(view.thing(first).value(key)), dice.chance(50)
    second = view.refer(
        dice, (key,), [i for i in view.others(first) if (view.scene.things[i].value(key) == value) == same]
    )
    if second is None:
        return None
    values = (value, str(view.thing(second).value(key)))
    differ = dice.chance(50)
    program = Program(view)
    program.add(f"{'different' if differ else 'same'} {key}", "", program.refer(first), program.refer(second))
    one, two = (Phrase(reference.head, view.object_id(reference.index)) for reference in (first, second))
    asked = f" have different {key}s?" if differ else f" have the same {key}?"
    told: tuple[str | Phrase, ...] = (
        ("both the ", one, " and the ", two, f" are {values[0]}.")
        if same
        else ("the ", one, f" is {values[0]} and the ", two, f" is {values[1]}.")
    )
    return Draft(
        wordings=(("Do the ", one, " and the ", two, asked),),
        full_answer=("Yes, " if same != differ else "No, ", *told),
        ask=Same(first.pairs, second.pairs, key, values, differ),
        steps=tuple(program.steps),
        structural="compare",
        semantic="attr",
        detailed=("twoDifferent" if differ else "twoSame") + ("" if same != differ else "C"),
        topic=f"{'different' if differ else 'same'} {key}",
        global_group=None,
        local_group=f"09{'diff' if differ else 'same'}-{first.noun}_{second.noun}",
    )
