"""GQA's accuracy (Hudson and Manning, 2019), and what its protocols take for the same answer."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from harness import Json, Measured, MetricInfo, Pair, UnknownName
from plugins.metrics.means import mean

PUNCTUATION = str.maketrans("", "", string.punctuation)
BREAKDOWNS = ("structural", "semantic", "detailed", "length", "steps")
OPEN = "query"
"""The structural type of open questions; all others are binary, as eval.py has it."""


class GqaAccuracy:
    """The share of balanced questions whose answer is right; `open` and `binary`, that of these questions alone.

    Protocols:
        official: equal, letter by letter, as in GQA's eval.py.
        lmms: equal after lower-casing and deleting ASCII punctuation, as in lmms-eval, which strips answers first.

    Breakdowns: the question's structural, semantic and detailed type, its length in words, and the steps of its
    program (see `Gqa`). eval.py gives percents, and 0 where there is no question of a kind; here there is no score.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return dict.fromkeys(("accuracy", "binary", "open"), MetricInfo("fraction", higher_is_better=True))

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        rewrite = rewriting(protocol)
        right: list[float] = []
        labels: dict[str, list[str | None]] = {name: [] for name in BREAKDOWNS}
        for pair in pairs:
            right.append(_right(pair, rewrite))
            for name, key in _keys(pair).items():
                labels[name].append(key)
        known = {name: keys for name, keys in labels.items() if any(key is not None for key in keys)}
        structural = list(zip(right, labels["structural"], strict=True))
        return {
            "accuracy": mean(right, known),
            "binary": mean(score if kind not in (OPEN, None) else np.nan for score, kind in structural),
            "open": mean(score if kind == OPEN else np.nan for score, kind in structural),
        }


def rewriting(protocol: str) -> Callable[[str], str]:
    """What a protocol does to answers, said and right ones, before it compares them.

    Raises:
        UnknownName: there is no such protocol.
    """
    if protocol not in PROTOCOLS:
        raise UnknownName("protocol", protocol, PROTOCOLS)
    return PROTOCOLS[protocol]


def _lmms(answer: str) -> str:
    return answer.strip().lower().translate(PUNCTUATION)


PROTOCOLS: Mapping[str, Callable[[str], str]] = {"lmms": _lmms, "official": str}


def _right(pair: Pair, rewrite: Callable[[str], str]) -> float:
    if not pair.sample.facts.get("isBalanced", True):
        return np.nan
    return float(rewrite(pair.answer) == rewrite(pair.sample.references[0]))


def _keys(pair: Pair) -> dict[str, str | None]:
    facts: Mapping[str, Json] = pair.sample.facts
    types, steps = facts.get("types", {}), facts.get("steps")
    return {
        "structural": types.get("structural"),
        "semantic": types.get("semantic"),
        "detailed": types.get("detailed"),
        "length": str(len(pair.sample.question.split())),
        "steps": None if steps is None else str(steps),
    }
