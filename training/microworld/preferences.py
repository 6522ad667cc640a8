"""Preferences on training pictures: the right answer against one that tells of what is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from . import vqa
from .balance import Balance
from .captions import captions
from .dice import Dice
from .layout import Picture, Record
from .pope import Frequencies, poll
from .scene import KINDS, VALUES, another

PICTURES = 500
"""At most so many training pictures are asked about, the first ones: some thousands of records."""
QUESTIONS = 2
"""Short questions a picture, beside those that poll for objects."""

# As the benchmarks of questions and of captions ask under the profile `llava`.
SHORT = "{}\nAnswer the question using a single word or phrase."
DESCRIBE = "Provide a one-sentence caption for the provided image."


class Preferences:
    """Records {image, prompt, chosen, rejected}, one a line; pictures are those of `pictures`, a folder beside it."""

    def __init__(self, folder: Path, pictures: str, seed: int) -> None:
        self._folder, self._images, self._seed = folder, pictures, seed
        self._pictures: list[Picture] = []

    def add(self, picture: Picture) -> None:
        if picture.split == "train" and len(self._pictures) < PICTURES:
            self._pictures.append(picture)

    def write(self) -> dict[str, int]:
        self._folder.mkdir(parents=True, exist_ok=True)
        frequencies = Frequencies(picture.kinds() for picture in self._pictures)
        balance = Balance()
        records = [
            {"image": f"../{self._images}/{picture.coco_name}", "prompt": prompt, "chosen": right, "rejected": wrong}
            for picture in self._pictures
            for prompt, right, wrong in self._asked(picture, frequencies, balance)
        ]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (self._folder / "train.jsonl").write_text(lines, encoding="utf-8")
        return {"train": len(records)}

    def _asked(self, picture: Picture, frequencies: Frequencies, balance: Balance) -> Iterator[tuple[str, str, str]]:
        """Prompt, right answer, wrong answer."""
        dice = Dice(self._seed, "preferences", picture.image_id)
        for record in poll("adversarial", [(picture.coco_name, picture.kinds())], frequencies, self._seed):
            yield SHORT.format(record["text"]), record["label"], _opposite(record["label"])
        questions, annotations = vqa.ask(picture.view, dice, balance, QUESTIONS)
        for question, annotation in zip(questions, annotations, strict=True):
            yield (
                SHORT.format(question["question"]),
                annotation["multiple_choice_answer"],
                _plausible(annotation, dice),
            )
        (caption,) = captions(picture.view.scene, 1, dice)
        if (hallucinated := _with_another_kind(caption, picture.kinds(), dice)) is not None:
            yield DESCRIBE, caption, hallucinated


def _opposite(answer: str) -> str:
    return "no" if answer == "yes" else "yes"


def _plausible(annotation: Record, dice: Dice) -> str:
    """A wrong answer of the right kind."""
    answer = str(annotation["multiple_choice_answer"])
    match annotation["answer_type"]:
        case "yes/no":
            return _opposite(answer)
        case "number":
            return str(int(answer) + 1) if answer == "0" or dice.chance(50) else str(int(answer) - 1)
    return another(dice, next(key for key, values in VALUES.items() if answer in values), answer)


def _with_another_kind(caption: str, present: list[str], dice: Dice) -> str | None:
    """The caption, one kind in it replaced by one that is not in the picture; None where all are."""
    absent = [kind for kind in KINDS if kind not in present]
    if not absent:
        return None
    told = [kind for kind in sorted(set(present)) if re.search(rf"\b{kind}\b", caption)]
    return re.sub(rf"\b{dice.pick(told)}\b", dice.pick(absent), caption)
