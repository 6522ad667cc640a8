"""CIDEr and CIDEr-D (Vedantam, Zitnick and Parikh, 2015, https://arxiv.org/abs/1411.5726) of many answers at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plugins.metrics.ngrams import Captions, Grams

SIGMA = 6.0
SCALE = 10.0

Floats = NDArray[np.float64]


def cider(captions: Captions) -> Floats:
    """[n] CIDEr of each answer: 10 times the mean cosine of TF-IDF vectors, over references and n-gram orders 1 to 4.

    This is the paper's section 3, and vrama91/cider's `cider`; as there, words are not stemmed.
    An n-gram weighs how often the caption has it times log(pictures / pictures whose references have it). A caption
    without any weight has a cosine of 0: an empty one, or any where there is only one picture.
    """
    return _mean(captions, _cosines(captions, clipped=False))


def cider_d(captions: Captions) -> Floats:
    """[n] CIDEr-D of each answer: CIDEr that neither repeated words nor length can raise.

    This is pycocoevalcap's `cider`, and vrama91/cider's `ciderD`: no n-gram of the answer weighs more than it does in
    the reference, and each cosine is times exp(-d²/2σ²), σ = 6, where d is the difference in the number of bigrams.
    """
    bigrams = np.maximum(captions.words.lengths - 1, 0)
    difference = bigrams[captions.answer_of_pair] - bigrams[captions.reference_of_pair]
    penalty = np.exp(-np.square(difference) / (2 * SIGMA**2))
    return _mean(captions, _cosines(captions, clipped=True) * penalty)


def _mean(captions: Captions, cosines: Floats) -> Floats:
    """[4, r] cosines with each reference -> [n] scores."""
    sums = np.add.reduceat(cosines, captions.first_pairs, axis=1)
    means: Floats = sums.mean(axis=0) / captions.references * SCALE
    return means


def _cosines(captions: Captions, *, clipped: bool) -> Floats:
    # One table for all logarithms, so that what every picture has weighs nothing at all.
    logs = np.log(np.maximum(1, np.arange(captions.documents + 1)))
    return np.stack([_cosines_of(captions, grams, logs[-1] - logs, clipped) for grams in captions.grams])


def _cosines_of(captions: Captions, grams: Grams, weights: Floats, clipped: bool) -> Floats:
    """[documents + 1] weights by document frequency -> [r] cosines of one order."""
    count = len(captions.texts)
    sizes = np.diff(grams.starts, append=grams.counts.size)
    vectors = grams.counts * np.repeat(weights[grams.documents], sizes)
    norms = np.sqrt(np.bincount(grams.captions, np.square(vectors), count))
    ours, theirs = vectors[grams.answers], vectors[grams.shared]
    products = (np.minimum(ours, theirs) if clipped else ours) * theirs
    dots = np.bincount(grams.captions[grams.shared], products, count)[captions.reference_of_pair]
    lengths = norms[captions.reference_of_pair] * norms[captions.answer_of_pair]
    cosines: Floats = np.divide(dots, lengths, out=np.zeros(dots.size), where=lengths > 0)
    return cosines
