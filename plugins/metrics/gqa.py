"""GQA's accuracy."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping

import numpy as np

from harness import Measured, MetricInfo, Pair, UnknownName
from plugins.metrics.means import mean

PUNCTUATION = str.maketrans("", "", string.punctuation)
TYPES = ("structural", "semantic", "detailed")


class GqaAccuracy:
    """The share of balanced questions whose answer is right.

    Protocols:
        official: equal, letter by letter, as GQA's eval.py has it.
        lmms: equal after lower-casing and deleting ASCII punctuation, as in lmms-eval.

    Breakdowns: the question's structural, semantic and detailed type.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {"accuracy": MetricInfo("fraction", higher_is_better=True)}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        if protocol not in ("lmms", "official"):
            raise UnknownName("protocol", protocol, ("lmms", "official"))
        types = [pair.sample.facts.get("types", {}) for pair in pairs]
        labels = {name: [of_pair.get(name) for of_pair in types] for name in TYPES}
        return {"accuracy": mean((_right(pair, protocol == "lmms") for pair in pairs), labels)}


def _right(pair: Pair, loose: bool) -> float:
    if not pair.sample.facts.get("isBalanced", True):
        return np.nan
    said, right = pair.answer, pair.sample.references[0]
    if loose:
        said, right = (text.lower().translate(PUNCTUATION) for text in (said, right))
    return float(said == right)
