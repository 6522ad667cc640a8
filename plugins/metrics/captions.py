"""CIDEr, BLEU and ROUGE-L, by pycocoevalcap, in its scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider import cider
from pycocoevalcap.rouge import rouge

from harness import Measured, MetricInfo, Pair
from plugins.metrics.means import Labels, labels
from plugins.metrics.ptb import tokenised

ORDERS = (1, 2, 3, 4)
TINY, SMALL = 1e-15, 1e-9
POINTS = MetricInfo("points", higher_is_better=True, needs=("java",))

Floats = NDArray[np.float64]
Tokens = dict[int, list[str]]


def tokens(pairs: Iterable[Pair]) -> tuple[Tokens, Tokens]:
    """Tokenised references and answers, by the pair's number; each read in the pairs' order, as pycocoevalcap does."""
    references = iter(tokenised(tuple(caption for pair in pairs for caption in pair.sample.references)))
    answers = tokenised(tuple(pair.answer for pair in pairs))
    return (
        {n: [next(references) for _ in pair.sample.references] for n, pair in enumerate(pairs)},
        {n: [answer] for n, answer in enumerate(answers)},
    )


def domains(pairs: Iterable[Pair]) -> Labels:
    """The breakdown that every caption metric gives. Document frequencies stay those of all pairs."""
    return labels(pairs, ("domain",))


class Cider:
    """CIDEr-D (Vedantam et al., 2015), a mean over pictures; document frequencies are those of all pairs."""

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {"cider": replace(POINTS, corpus=True)}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        return {"cider": _averaged(cider.Cider().compute_score, pairs)}


class RougeL:
    """ROUGE-L (Lin, 2004): F of the longest common subsequence, β 1.2, best precision and best recall apart."""

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {"rouge_l": POINTS}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        return {"rouge_l": _averaged(rouge.Rouge().compute_score, pairs)}


class Bleu:
    """BLEU (Papineni et al., 2002) over the whole set, against the reference of the closest length.

    Statistics of a pair: [10] matched n-grams of orders 1 to 4, n-grams of orders 1 to 4, the answer's length, the
    closest reference's.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {f"bleu_{order}": POINTS for order in ORDERS}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        references, answers = tokens(pairs)
        if not answers:
            return {name: Measured(None) for name in self.info}
        scorer = BleuScorer(n=len(ORDERS))
        for n, (answer,) in answers.items():
            scorer += (answer, references[n])
        values, per_pair = scorer.compute_score(option="closest")
        statistics = np.array([_counts(counted) for counted in scorer.ctest], np.float64)
        return {
            f"bleu_{order}": Measured(
                float(values[order - 1]),
                np.array(per_pair[order - 1]),
                statistics,
                partial(corpus_bleu, order),
                domains(pairs),
            )
            for order in ORDERS
        }


def corpus_bleu(order: int, sums: Floats) -> Floats:
    """[..., 10] summed statistics -> [...] BLEU of this order."""
    matched, possible = sums[..., :order], sums[..., 4 : 4 + order]
    precision = np.prod((matched + TINY) / (possible + SMALL), axis=-1) ** (1 / order)
    ratio = (sums[..., 8] + TINY) / (sums[..., 9] + SMALL)
    brevity: Floats = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    bleu: Floats = precision * brevity
    return bleu


def _counts(counted: Mapping[str, Any]) -> list[int]:
    length = counted["testlen"]
    closest = min(counted["reflen"], key=lambda other: (abs(other - length), other))
    return [*counted["correct"], *counted["guess"], length, closest]


def _averaged(score: Callable[[Tokens, Tokens], tuple[float, Floats]], pairs: Iterable[Pair]) -> Measured:
    references, answers = tokens(pairs)
    if not answers:
        return Measured(None)
    value, per_pair = score(references, answers)
    return Measured(float(value), np.asarray(per_pair), labels=domains(pairs))
