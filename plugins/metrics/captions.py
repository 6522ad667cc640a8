"""CIDEr, BLEU and ROUGE-L in pycocoevalcap's scale, and equal to it; plain CIDEr, which it lacks, beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness import DataError, Measured, MetricInfo, Pair, file_sha256
from plugins.metrics import bleu, cider, rouge
from plugins.metrics.corpus import read_corpus
from plugins.metrics.means import Labels
from plugins.metrics.ngrams import ORDERS, Captions
from plugins.metrics.ptb import tokenised

POINTS = MetricInfo("points", higher_is_better=True)

Groups = tuple[tuple[str, ...], ...]


def captions(pairs: Iterable[Pair], corpus: Groups = ()) -> tuple[Captions, Labels]:
    """The pairs' answers and references, tokenised, and the breakdown by domain that every caption metric gives.

    Args:
        corpus: raw captions by picture, which document frequencies are taken from instead of the references.

    Raises:
        DataError: a sample has no reference.
    """
    groups: list[tuple[str, ...]] = []
    domains: list[str | None] = []
    for pair in pairs:
        if not pair.sample.references:
            raise DataError(f"sample {pair.sample.id!r} has no reference caption to be scored against")
        groups.append((pair.answer, *pair.sample.references))
        domains.append(pair.sample.facts.get("domain"))
    return _tokenised(tuple(groups), corpus), {"domain": domains} if any(domains) else {}


@lru_cache(maxsize=2)
def _tokenised(groups: Groups, corpus: Groups) -> Captions:
    """Kept, so that all metrics of the same captions tokenise them and count their n-grams once.

    References and answers are each read in the pairs' order, as pycocoevalcap reads them.
    """
    references = iter(tokenised(tuple(caption for _, *others in groups for caption in others)))
    answers = iter(tokenised(tuple(answer for answer, *_ in groups)))
    of_corpus = iter(tokenised(tuple(caption for group in corpus for caption in group)))
    return Captions(
        [(next(answers), *(next(references) for _ in others)) for _, *others in groups],
        [tuple(next(of_corpus) for _ in group) for group in corpus],
    )


class Cider:
    """CIDEr as pycocoevalcap and published tables have it, which is CIDEr-D; a mean over pictures.

    Document frequencies are those of all pairs' references, so that a part of a benchmark cannot be compared with the
    whole; with `corpus`, the path of a captions annotation file in COCO's layout, they are that file's, and it can.

    Raises:
        ConfigError: there is no such file, or it is of a kind that is not read.
        DataError: it is not JSON, or not a captions annotation file.
    """

    name = "cider"
    score = staticmethod(cider.cider_d)

    def __init__(self, corpus: str | None = None) -> None:
        self.corpus = () if corpus is None else read_corpus(corpus)
        self.fingerprint = "" if corpus is None else file_sha256(Path(corpus).expanduser())
        same = f"comparable only with scores whose document frequencies come from {corpus} too"
        self.note = "" if corpus is None else same

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {self.name: replace(POINTS, corpus=not self.corpus)}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        read, labels = captions(pairs, self.corpus)
        measured = averaged(self.score(read), labels) if read.groups else Measured(None)
        return {self.name: replace(measured, incomparable=self.note)}


class CiderD(Cider):
    """The same figure by its exact name."""

    name = "cider_d"


class CiderPlain(Cider):
    """CIDEr as its paper defines it: neither clipped nor penalised for length, times 10; a mean over pictures."""

    name = "cider_plain"
    score = staticmethod(cider.cider)


class RougeL:
    """ROUGE-L, β = 1.2, a mean over pictures."""

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {"rouge_l": POINTS}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        read, labels = captions(pairs)
        return {"rouge_l": averaged(rouge.rouge_l(read), labels) if read.groups else Measured(None)}


class Bleu:
    """BLEU over the whole set, against the reference of the closest length.

    Statistics of a pair: [10], see `bleu.statistics`.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {f"bleu_{order}": POINTS for order in ORDERS}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        read, labels = captions(pairs)
        if not read.groups:
            return {name: Measured(None) for name in self.info}
        statistics = bleu.statistics(read)
        sums = statistics.sum(axis=0)
        measured = {}
        for order in ORDERS:
            reduce = partial(bleu.corpus_bleu, order)
            value = float(reduce(sums))
            measured[f"bleu_{order}"] = Measured(value, reduce(statistics), statistics, reduce, labels=labels)
        return measured


def averaged(per_picture: NDArray[np.float64], labels: Labels) -> Measured:
    """A mean over pictures."""
    return Measured(float(per_picture.mean()), per_picture, labels=labels)
