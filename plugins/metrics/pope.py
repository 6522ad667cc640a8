"""Yes or no to "is there such an object?": POPE (Li et al., 2023)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from harness import Measured, MetricInfo, Pair, UnknownName
from plugins.metrics.means import Labels, mean

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SHARE = MetricInfo("fraction", higher_is_better=True)


class Pope:
    """What a model affirms against what is there; "yes" is the positive class.

    accuracy: right answers / answers.
    precision: affirmed objects that are there / affirmed.
    recall: affirmed / present.
    f1: their harmonic mean, 2TP / (2TP + FP + FN): 0 where nothing was rightly affirmed.
    yes_rate: affirmed / answers.
    hallucination_rate: affirmed / absent.

    A share of nothing is none: there is no precision where nothing is affirmed (the original divides by zero), no
    recall where nothing is present. Samples whose reference is neither yes nor no are left out.

    Protocols:
        official: the original's reading of an answer. Of its first sentence, up to a full stop and without commas,
            the words between spaces: "no" where No, not or no is among them, else "yes".
        lmms: the whole answer, in lower case and stripped, must be "yes" or "no", as in lmms-eval. Any other is wrong,
            but neither affirms nor denies, and recall passes it over. (Its yes-ratio is that of the references.)

    Breakdown: category.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {
            "accuracy": SHARE,
            "precision": SHARE,
            "recall": SHARE,
            "f1": SHARE,
            "yes_rate": MetricInfo("fraction", higher_is_better=None),
            "hallucination_rate": MetricInfo("fraction", higher_is_better=False),
        }

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        read = PROTOCOLS.get(protocol)
        if read is None:
            raise UnknownName("protocol", protocol, PROTOCOLS)
        said: list[str] = []
        right: list[str] = []
        categories: list[str | None] = []
        for pair in pairs:
            said.append(read(pair.answer))
            right.append(_lmms(pair.sample.references[0]) if pair.sample.references else "")
            categories.append(pair.sample.facts.get("category"))
        labels = {"category": categories} if any(categories) else {}
        return _scores(np.array(said, np.str_), np.array(right, np.str_), labels)


def _scores(said: NDArray[np.str_], right: NDArray[np.str_], labels: Labels) -> Mapping[str, Measured]:
    present, absent = right == "yes", right == "no"
    asked = present | absent
    yes, no = (said == "yes") & asked, (said == "no") & asked

    def share(part: Mask, whole: Mask) -> Measured:
        return mean(np.where(whole, part, np.nan), labels)

    outcomes = np.stack([yes & present, yes & absent, no & present], axis=-1).astype(np.float64)
    f1 = float(_f1(outcomes.sum(axis=0)))
    return {
        "accuracy": share((said == right) & asked, asked),
        "precision": share(present, yes),
        "recall": share(yes, present & (yes | no)),
        "f1": Measured(None if np.isnan(f1) else f1, statistics=outcomes, reduce=_f1, labels=labels),
        "yes_rate": share(yes, asked),
        "hallucination_rate": share(yes, absent),
    }


def _f1(sums: Floats) -> Floats:
    """[..., 3] true positives, false positives, false negatives -> [...], NaN where there are none of them.

    By way of precision and recall, as the original has it, so that the last digit is equal.
    """
    hits, alarms, misses = sums[..., 0], sums[..., 1], sums[..., 2]
    found = hits > 0
    hits = np.where(found, hits, 1.0)
    precision, recall = hits / (hits + alarms), hits / (hits + misses)
    f1: Floats = np.where(found, 2 * precision * recall / (precision + recall), 0.0)
    return np.where(sums.sum(axis=-1) > 0, f1, np.nan)


def _official(answer: str) -> str:
    words = answer.partition(".")[0].replace(",", "").split(" ")
    return "no" if not {"No", "not", "no"}.isdisjoint(words) else "yes"


def _lmms(answer: str) -> str:
    whole = answer.lower().strip()
    return whole if whole in ("yes", "no") else ""


PROTOCOLS: Mapping[str, Callable[[str], str]] = {"lmms": _lmms, "official": _official}
