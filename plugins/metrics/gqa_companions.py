"""GQA's companions of accuracy (Hudson and Manning, 2019, section 4.4): what right and wrong answers tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness import Json, Measured, MetricInfo, Pair
from plugins.metrics.gqa import rewriting
from plugins.metrics.means import mean

COMMON = frozenset({"color", "material", "shape"})
"""What fits a question for what two things have in common, whatever the choices say."""

PARTS = 50
"""Parts that the jackknife leaves out, one at a time."""

Floats = NDArray[np.float64]


class GqaCompanions:
    """Four scores of balanced questions, as in GQA's eval.py.

    consistency: over the right ones, the mean share of right answers to the questions that they entail, without
        themselves; balanced or not, an entailed question counts as often as it is named. A question that entails
        none has no value.
    validity, plausibility: the share whose answer is among those that could answer such a question, and among those
        that make sense in the world. Questions for what is common to things take color, material and shape for both.
    distribution: how far answers are spread otherwise than the right ones. In each group of questions, Pearson's
        chi-square over its right answers; answers that are right to no question of the group go uncounted. The mean
        over groups, weighted by their questions, / 100. It grows with the set. Questions without a group are left out.

    Under the protocol `lmms`, which has no such scores of its own, all answers are rewritten first: the model's, the
    right ones and the choices.

    eval.py stops where an answer is missing; here the scores are made of the questions that are there: consistency
    leaves out entailed questions that were not asked, and says so.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        share = MetricInfo("fraction", higher_is_better=True)
        return {
            "consistency": replace(share, corpus=True),
            "validity": share,
            "plausibility": share,
            "distribution": MetricInfo("points", higher_is_better=False, corpus=True),
        }

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        rewrite = rewriting(protocol)
        choices: Sequence[Sequence[str]] = ()
        answers: list[Answer] = []
        for pair in pairs:
            choices = choices or pair.sample.shared.get("choices", ())
            answers.append(_answer(pair, rewrite))
        fitting = [frozenset(map(rewrite, entries)) for entries in choices]
        return {
            "consistency": consistency(answers),
            "validity": mean(_fits(answer, answer.valid, fitting) for answer in answers),
            "plausibility": mean(_fits(answer, answer.plausible, fitting) for answer in answers),
            "distribution": distribution(answers),
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and what the scores need of its question; `valid` and `plausible` are places among the choices."""

    id: str
    image: str
    said: str
    gold: str
    balanced: bool
    entailed: Sequence[str]
    group: str | None
    common: bool
    valid: int | None
    plausible: int | None


def _answer(pair: Pair, rewrite: Callable[[str], str]) -> Answer:
    sample = pair.sample
    facts: Mapping[str, Json] = sample.facts
    return Answer(
        sample.id,
        sample.group,
        rewrite(pair.answer),
        rewrite(sample.references[0]),
        facts.get("isBalanced", True),
        facts.get("entailed", ()),
        facts.get("group"),
        "Common" in (facts.get("types", {}).get("detailed") or ""),
        facts.get("valid"),
        facts.get("plausible"),
    )


def consistency(answers: Sequence[Answer]) -> Measured:
    right = {answer.id: answer.said == answer.gold for answer in answers}
    values: list[float] = []
    named = asked = 0
    for answer in answers:
        if not (answer.balanced and right[answer.id]):
            values.append(np.nan)
            continue
        entailed = [name for name in answer.entailed if name != answer.id]
        known = [right[name] for name in entailed if name in right]
        values.append(sum(known) / len(known) if known else np.nan)
        named, asked = named + len(entailed), asked + len(known)
    note = (
        f"{named - asked} of {named} entailed questions were not asked: the official consistency needs all questions, "
        "balanced or not (a split such as testdev_all)"
    )
    return replace(mean(values), incomparable=note if asked < named else "")


def _fits(answer: Answer, place: int | None, fitting: Sequence[frozenset[str]]) -> float:
    """Whether what was said is among the choices at a place; NaN where it is not known."""
    if not answer.balanced or place is None:
        return np.nan
    return float(answer.said in (COMMON if answer.common else fitting[place]))


def distribution(answers: Sequence[Answer]) -> Measured:
    """The score, and its jackknife over parts made of whole pictures.

    As with any squared statistic, the jackknife errs on the wide side where answers are spread nearly as they should.
    """
    counted = [answer for answer in answers if answer.balanced and answer.group is not None]
    if not counted:
        return Measured(None)
    counted.sort(key=lambda answer: str(answer.group))
    cells: dict[tuple[str | None, str], int] = {}
    images: dict[str, int] = {}
    gold = np.array([cells.setdefault((answer.group, answer.gold), len(cells)) for answer in counted])
    said = np.array([cells.get((answer.group, answer.said), -1) for answer in counted])
    image = np.array([images.setdefault(answer.image, len(images)) for answer in counted])
    parts = min(PARTS, len(images))
    groups = [group for group, _ in cells]
    starts = np.array([n for n, group in enumerate(groups) if n == 0 or group != groups[n - 1]])

    def counts(cell: NDArray[np.int64], part: NDArray[np.int64]) -> Floats:
        """[parts, cells]"""
        flat = np.bincount(part * len(cells) + cell, minlength=parts * len(cells))
        return flat.reshape(parts, len(cells)).astype(np.float64)

    expected = counts(gold, image % parts)
    observed = counts(said[said >= 0], image[said >= 0] % parts)
    value = float(chi_square(expected.sum(axis=0), observed.sum(axis=0), starts))
    if parts < 2:
        return Measured(value)
    without = chi_square(expected.sum(axis=0) - expected, observed.sum(axis=0) - observed, starts)
    return Measured(value, replicates=without)


def chi_square(expected: Floats, observed: Floats, starts: NDArray[np.int64]) -> Floats:
    """[..., cells] counts of right and of given answers -> [...] scores. A group's cells begin at its start."""
    deviation = np.divide(np.square(observed - expected), expected, out=np.zeros_like(expected), where=expected > 0)
    size = np.add.reduceat(expected, starts, axis=-1)
    score: Floats = (np.add.reduceat(deviation, starts, axis=-1) * size).sum(axis=-1) / size.sum(axis=-1) / 100
    return score
