"""Accuracy against ten human answers (Antol et al., 2015)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness import Json, Measured, MetricInfo, Pair, UnknownName
from plugins.metrics.vqa_answers import (
    GROUPED_LOOSELY,
    TYPOGRAPHIC_CONTRACTIONS,
    cleaned,
    normalised,
    separated,
    unchanged,
    without_punctuation,
)

Compared = tuple[str, Sequence[str]]

BREAKDOWNS = ("question_type", "answer_type")
ENOUGH = 4
"""So many humans who gave an answer make it right, however many there are: each has three others."""


class VqaAccuracy:
    """The mean over annotators of min(1, others who gave this answer / 3).

    Protocols, which differ in what is rewritten before answers are compared:
        official: the challenge's script since 2021 (GT-Vision-Lab/VQA a013f00). Where the human answers are
            unanimous, nothing but white space at the ends: "Yes" is wrong where all ten say "yes".
        official-2017: the script before (a4f1afd). The answer always and fully; the human answers only where they
            differ, and only their punctuation.
        lmms: always and fully, both, as lmms-eval scores VQA v2.
        evalai: the same by EvalAI's answer processor, which first deletes commas and question marks and splits off
            "'s": what MMF (m4c) does on TextVQA, and lmms-eval on all sets but VQA v2.
        vizwiz-api: VizWiz's own evaluation. The answer always and fully, with typographic apostrophes; the human
            answers never.

    A benchmark on which a protocol means another's rule says so to all of its samples: `shared["rules"]` is a mapping
    from protocols to the rules above. `shared["incomparable"]`, from protocols to reasons, becomes the score's note.

    Which annotators are "the others" of one: all but this one, however many there are. Only `official`,
    `official-2017` and `lmms` leave out whose record equals theirs as well, the rewritten answer included. That
    needs the fact `alike`, [annotators] numbers, equal where all but the answer is equal in two records; without it
    no two records are equal.

    Sets with more or fewer than ten answers a question have the same mean over as many as there are, so that a lone
    annotator's answer scores 0. A sample without human answers has no value.

    Breakdowns: question_type and answer_type. Values are added in the pairs' order, as the scripts add theirs.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {"accuracy": MetricInfo("fraction", higher_is_better=True)}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        rule: Rule | None = None
        shared: Mapping[str, Json] = {}
        values: list[float] = []
        labels: dict[str, list[str | None]] = {name: [] for name in BREAKDOWNS}
        breakdowns = [(name, keys.append) for name, keys in labels.items()]
        for pair in pairs:
            sample = pair.sample
            facts = sample.facts
            if rule is None or sample.shared is not shared:
                shared = sample.shared
                rule = _rule(protocol, shared)
            values.append(rule.value(pair.answer, sample.references, facts.get("alike")))
            for name, append in breakdowns:
                append(facts.get(name))
        return {"accuracy": _mean(values, labels, shared.get("incomparable", {}).get(protocol, ""))}


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done with the answer and the human answers to a question.

    Attributes:
        rewrite: both, as they are compared.
        evenly: whether it rewrites equal texts to equal ones, whichever side they are on.
        by_record: whether annotators with equal records are left out together.
    """

    rewrite: Callable[[str, Sequence[str]], Compared]
    evenly: bool
    by_record: bool

    def value(self, answer: str, humans: Sequence[str], alike: Sequence[int] | None) -> float:
        """The accuracy of one answer; NaN without human answers."""
        if not humans:
            return math.nan
        kinds = alike if self.by_record else None
        if self.evenly and kinds is None and humans.count(answer) >= ENOUGH:
            return 1.0
        if not unchanged(f"{answer} {' '.join(humans)}"):
            answer, humans = self.rewrite(answer, humans)
        return agreement(answer, humans, kinds)


def agreement(answer: str, humans: Sequence[str], alike: Sequence[int] | None = None) -> float:
    """The mean over annotators of min(1, others who gave this answer / 3), of one annotator at least.

    Args:
        alike: an annotator's others are those who gave another answer, or have another number here.
    """
    same = humans.count(answer)
    if same == 0:
        return 0.0
    if same >= ENOUGH and alike is None:
        return 1.0
    numbers = range(len(humans)) if alike is None else alike
    gave = [number for human, number in zip(humans, numbers, strict=True) if human == answer]
    total = 0.0
    for human, number in zip(humans, numbers, strict=True):
        others = same - gave.count(number) if human == answer else same
        total += min(1.0, others / 3)
    return total / len(humans)


def _rule(protocol: str, shared: Mapping[str, Json]) -> Rule:
    name = shared.get("rules", {}).get(protocol, protocol)
    rule = RULES.get(name)
    if rule is None:
        raise UnknownName("protocol", name, RULES)
    return rule


def _mean(values: Sequence[float], labels: Mapping[str, Sequence[str | None]], incomparable: str) -> Measured:
    """The mean of [n] values that are not NaN, added one by one; a breakdown that no pair has is left out."""
    per_sample = np.array(values)
    known = per_sample[~np.isnan(per_sample)]
    value = float(np.add.accumulate(known)[-1]) / known.size if known.size else None
    found = {name: keys for name, keys in labels.items() if any(key is not None for key in keys)}
    return Measured(value, per_sample, labels=found, incomparable=incomparable)


def _each(rewrite: Callable[[str], str], answers: Sequence[str]) -> list[str]:
    """Every answer rewritten, equal ones once."""
    rewritten = {answer: rewrite(answer) for answer in set(answers)}
    return [rewritten[answer] for answer in answers]


def _official(answer: str, humans: Sequence[str]) -> Compared:
    answer, humans = cleaned(answer), _each(cleaned, humans)
    if len(set(humans)) > 1:
        return normalised(answer), _each(normalised, humans)
    return answer, humans


def _official_2017(answer: str, humans: Sequence[str]) -> Compared:
    if len(set(humans)) > 1:
        humans = _each(without_punctuation, humans)
    return normalised(cleaned(answer)), humans


def _lmms(answer: str, humans: Sequence[str]) -> Compared:
    def rewrite(text: str) -> str:
        return normalised(cleaned(text), GROUPED_LOOSELY)

    return rewrite(answer), _each(rewrite, humans)


def _evalai(answer: str, humans: Sequence[str]) -> Compared:
    def rewrite(text: str) -> str:
        return normalised(cleaned(separated(text)), GROUPED_LOOSELY)

    return rewrite(answer), _each(rewrite, humans)


def _vizwiz_api(answer: str, humans: Sequence[str]) -> Compared:
    return normalised(cleaned(answer), contractions=TYPOGRAPHIC_CONTRACTIONS), humans


RULES: Mapping[str, Rule] = {
    "lmms": Rule(_lmms, evenly=True, by_record=True),
    "official": Rule(_official, evenly=True, by_record=True),
    "official-2017": Rule(_official_2017, evenly=False, by_record=True),
    "evalai": Rule(_evalai, evenly=True, by_record=False),
    "vizwiz-api": Rule(_vizwiz_api, evenly=False, by_record=False),
}
