"""Accuracy against ten human answers (Antol et al., 2015)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from harness import Measured, MetricInfo, Pair, UnknownName
from plugins.metrics.means import labels, mean
from plugins.metrics.vqa_answers import cleaned, normalised, without_punctuation

Compared = tuple[str, Sequence[str]]


class VqaAccuracy:
    """The mean over annotators of min(1, others who gave this answer / 3).

    Protocols, which differ in what is rewritten before answers are compared:
        official: the challenge's script since 2021 (GT-Vision-Lab/VQA a013f00). Where the human answers are
            unanimous, nothing but white space at the ends: "Yes" is wrong where all ten say "yes".
        official-2017: the script before (a4f1afd). The answer always and fully; the human answers only where they
            differ, and only their punctuation.
        lmms: always and fully, both, as lmms-eval scores VQA v2. (For sets whose answers are plain text it deletes
            commas and splits off "'s" first; few scores change: 12 of 214,354 in one large set.)

    Breakdowns: question_type and answer_type. A sample without human answers has no value.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {"accuracy": MetricInfo("fraction", higher_is_better=True)}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        rewrite = PROTOCOLS.get(protocol)
        if rewrite is None:
            raise UnknownName("protocol", protocol, PROTOCOLS)
        values = (agreement(*rewrite(pair.answer, pair.sample.references)) for pair in pairs)
        return {"accuracy": mean(values, labels(pairs, ("question_type", "answer_type")))}


def agreement(answer: str, humans: Sequence[str]) -> float:
    """The rule itself, in closed form: to each who gave this answer, one fewer others did than to the rest."""
    if not humans:
        return math.nan
    same = sum(human == answer for human in humans)
    rest = len(humans) - same
    return (same * min(1.0, (same - 1) / 3) + rest * min(1.0, same / 3)) / len(humans)


def _official(answer: str, humans: Sequence[str]) -> Compared:
    answer, humans = cleaned(answer), [cleaned(human) for human in humans]
    if len(set(humans)) > 1:
        return normalised(answer), [normalised(human) for human in humans]
    return answer, humans


def _official_2017(answer: str, humans: Sequence[str]) -> Compared:
    if len(set(humans)) > 1:
        humans = [without_punctuation(human) for human in humans]
    return normalised(cleaned(answer)), humans


def _lmms(answer: str, humans: Sequence[str]) -> Compared:
    return normalised(cleaned(answer)), [normalised(cleaned(human)) for human in humans]


PROTOCOLS: Mapping[str, Callable[[str, Sequence[str]], Compared]] = {
    "lmms": _lmms,
    "official": _official,
    "official-2017": _official_2017,
}
