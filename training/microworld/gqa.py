"""Balanced questions on a picture, as GQA writes them down, with scene graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from . import gqa_choose, gqa_open, gqa_verify
from .balance import Balance
from .dice import Dice
from .draft import Draft, Phrase, Step, Text
from .entailment import entailed
from .reference import View
from .scene import SIDE, relation

Record = dict[str, Any]

Family = Callable[[View, Dice], Draft | None]

# Weights of the families, in percent: a little more than half of the questions are open.
_FAMILIES: tuple[tuple[Family, int], ...] = (
    *((partial(gqa_open.query, key=key), weight) for key, weight in (("color", 22), ("shape", 14), ("pattern", 3))),
    *((partial(gqa_open.query, key=key), weight) for key, weight in (("material", 3), ("size", 5), ("hposition", 4))),
    (gqa_open.query_place, 10),
    (gqa_verify.exist, 9),
    (gqa_verify.exist_two, 2),
    *(
        (partial(gqa_verify.verify_attribute, key=key), weight)
        for key, weight in (("color", 5), ("material", 1), ("pattern", 1), ("size", 2))
    ),
    (gqa_verify.verify_two, 1),
    (gqa_verify.verify_relation, 2),
    (gqa_verify.verify_weather, 3),
    *(
        (partial(gqa_choose.choose_attribute, key=key), weight)
        for key, weight in (("color", 2), ("shape", 2), ("pattern", 1), ("material", 1), ("vposition", 1))
    ),
    (gqa_choose.choose_relation, 2),
    (gqa_choose.choose_weather, 2),
    *((partial(gqa_choose.compare, key=key), 1) for key in ("color", "material")),
)
_ATTEMPTS = 6
_PARAPHRASED = 12  # percent of questions that are asked again in other words


def ask(view: View, dice: Dice, balance: Balance, count: int) -> dict[str, Record]:
    """At most `count` questions on one picture, in GQA's record format, by question number."""
    texts: list[Text] = []
    drafts: list[Draft] = []
    for _ in range(4 * count):
        if len(drafts) >= count:
            break
        draft, text = _propose(view, dice, balance, {plain(text) for text in texts})
        if draft is None:
            continue
        texts.append(text)
        drafts.append(draft)
        again = [other for other in draft.wordings if other not in texts]
        if again and len(drafts) < count and dice.chance(_PARAPHRASED):
            texts.append(again[0])
            drafts.append(draft)
    return _records(view, texts, drafts)


def _propose(view: View, dice: Dice, balance: Balance, asked: set[str]) -> tuple[Draft | None, Text]:
    """Of some random drafts of one family, the one with the rarest answer."""
    family = dice.weighted(_FAMILIES)
    found: list[tuple[Draft, Text]] = []
    for _ in range(_ATTEMPTS):
        draft = family(view, dice)
        if draft is not None:
            text = dice.pick(draft.wordings)
            if plain(text) not in asked:
                found.append((draft, text))
    if not found:
        return None, ()
    topics = [(f"{draft.structural}/{draft.semantic}/{draft.topic}", draft.ask.answer) for draft, _ in found]
    return found[balance.take(topics)]


def _records(view: View, texts: Sequence[Text], drafts: Sequence[Draft]) -> dict[str, Record]:
    numbers = [f"{view.image_id}{place:02d}" for place in range(len(drafts))]
    programs = [program_text(draft.steps) for draft in drafts]
    asks = [draft.ask for draft in drafts]
    records: dict[str, Record] = {}
    for place, (text, draft) in enumerate(zip(texts, drafts, strict=True)):
        follow = entailed(draft.ask.facts(), asks)
        records[numbers[place]] = {
            "semantic": [
                {"operation": step.operation, "dependencies": list(step.dependencies), "argument": step.argument}
                for step in draft.steps
            ],
            "entailed": [numbers[other] for other in follow if other != place],
            "equivalent": [numbers[other] for other in range(len(drafts)) if programs[other] == programs[place]],
            "question": plain(text),
            "imageId": str(view.image_id),
            "isBalanced": True,
            "groups": {"global": draft.global_group, "local": draft.local_group},
            "answer": draft.ask.answer,
            "semanticStr": programs[place],
            "annotations": {
                "answer": {"0": draft.answer_object} if draft.answer_object is not None else {},
                "question": spans(text),
                "fullAnswer": spans(draft.full_answer),
            },
            "types": {"detailed": draft.detailed, "semantic": draft.semantic, "structural": draft.structural},
            "fullAnswer": plain(draft.full_answer),
        }
    return records


def plain(text: Text) -> str:
    """A text without its marks."""
    return "".join(part.words if isinstance(part, Phrase) else part for part in text)


def spans(text: Text) -> dict[str, str]:
    """The places of marked words, counted by word ("3", or "3:5" with the end left out), to object numbers."""
    found: dict[str, str] = {}
    so_far = ""
    for part in text:
        if isinstance(part, Phrase):
            start, length = len(so_far.split()), len(part.words.split())
            found[str(start) if length == 1 else f"{start}:{start + length}"] = part.object_id
            so_far += part.words
        else:
            so_far += part
    return found


def program_text(steps: Iterable[Step]) -> str:
    """GQA's one-line form of a program: "select: square (3)->query: color [0]"."""
    parts = []
    for step in steps:
        after = f" [{', '.join(map(str, step.dependencies))}]" if step.dependencies else ""
        parts.append(f"{step.operation}: {step.argument}{after}")
    return "->".join(parts)


def scene_graph(view: View) -> Record:
    """A scene graph: every thing with its box, attributes and clear relations."""
    things = view.scene.things
    objects = {}
    for index, thing in enumerate(things):
        relations = [
            {"name": words, "object": view.object_id(other)}
            for other in range(len(things))
            if other != index
            for axis in ("h", "v")
            if (words := relation(thing, things[other], axis)) is not None
        ]
        objects[view.object_id(index)] = {
            "name": thing.shape,
            "x": thing.x,
            "y": thing.y,
            "w": thing.extent,
            "h": thing.extent,
            "attributes": [thing.size, thing.pattern, thing.color, thing.material],
            "relations": relations,
        }
    return {
        "width": SIDE,
        "height": SIDE,
        "location": view.scene.location,
        "weather": view.scene.weather,
        "objects": objects,
    }
