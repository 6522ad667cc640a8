"""POPE's polling questions: is this kind in the picture? As many yes as no, the "no" kinds sampled in three ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from .dice import Dice
from .reference import with_article
from .scene import KINDS, NOVEL_KINDS

Record = dict[str, Any]

SAMPLINGS = ("random", "popular", "adversarial")
_PER_PICTURE = 3  # yes questions, and as many no questions


class Frequencies:
    """How often each kind appears, and appears together with each other kind, in the training pictures."""

    def __init__(self, pictures: Iterable[Iterable[str]]) -> None:
        self.alone: Counter[str] = Counter()
        self.together: Counter[tuple[str, str]] = Counter()
        for kinds in pictures:
            present = sorted(set(kinds))
            self.alone.update(present)
            self.together.update((one, other) for one in present for other in present if one != other)


def poll(
    sampling: str, pictures: Sequence[tuple[str, Sequence[str]]], frequencies: Frequencies, seed: int
) -> list[Record]:
    """Question records on `pictures` = (file name, kinds in it), yes and no in turn.

    "popular" asks for the absent kinds that training pictures show most often, "adversarial" for those that
    appear there most often together with the kinds that are present, "random" for any.
    """
    records: list[Record] = []
    for file_name, kinds in pictures:
        dice = Dice(seed, "pope", sampling, file_name)
        present = sorted(set(kinds))
        asked = dice.some(present, _PER_PICTURE)
        absent = [kind for kind in (*KINDS, *NOVEL_KINDS) if kind not in present]
        for yes, no in zip(asked, _absent(sampling, present, absent, frequencies, dice), strict=False):
            for kind, label in ((yes, "yes"), (no, "no")):
                records.append(
                    {
                        "question_id": len(records) + 1,
                        "image": file_name,
                        "text": f"Is there {with_article(kind)} in the image?",
                        "label": label,
                    }
                )
    return records


def _absent(
    sampling: str,
    present: Sequence[str],
    absent: Sequence[str],
    frequencies: Frequencies,
    dice: Dice,
) -> list[str]:
    shuffled = dice.some(absent, len(absent))
    if sampling == "popular":
        shuffled.sort(key=lambda kind: -frequencies.alone[kind])
    elif sampling == "adversarial":
        shuffled.sort(key=lambda kind: -sum(frequencies.together[kind, other] for other in present))
    return shuffled[:_PER_PICTURE]
