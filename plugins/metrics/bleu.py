"""BLEU (Papineni et al., 2002, https://aclanthology.org/P02-1040) of many answers at once, as pycocoevalcap has it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plugins.metrics.ngrams import ORDERS, Captions, Grams, Ints

# Added to counts above and below the line, so that nothing is divided by zero.
TINY, SMALL = 1e-15, 1e-9

Floats = NDArray[np.float64]


def statistics(captions: Captions) -> Floats:
    """[n, 10] of each answer: matched n-grams of orders 1 to 4, all of them, its length, the closest reference's.

    An n-gram is matched as often as it is in the answer and in the reference that has it most often. Of references that
    are equally close in length, the shortest counts.
    """
    lengths = captions.words.lengths[captions.is_answer]
    matched = [_matched(captions, grams) for grams in captions.grams]
    possible = [np.maximum(lengths - order + 1, 0) for order in ORDERS]
    return np.stack([*matched, *possible, lengths, _closest(captions)], axis=1).astype(np.float64)


def corpus_bleu(order: int, sums: Floats) -> Floats:
    """[..., 10] summed statistics -> [...] BLEU of this order."""
    matched, possible = sums[..., :order], sums[..., 4 : 4 + order]
    precision = np.prod((matched + TINY) / (possible + SMALL), axis=-1) ** (1 / order)
    ratio = (sums[..., 8] + TINY) / (sums[..., 9] + SMALL)
    brevity: Floats = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    bleu: Floats = precision * brevity
    return bleu


def _matched(captions: Captions, grams: Grams) -> Floats:
    """[n] the answers' n-grams that references have."""
    first = np.flatnonzero(np.diff(grams.answers, prepend=-1))
    if not first.size:
        return np.zeros(captions.references.size)
    entries = grams.answers[first]
    most = np.maximum.reduceat(grams.counts[grams.shared], first)
    pictures = captions.pictures[grams.captions[entries]]
    matched = np.bincount(pictures, np.minimum(most, grams.counts[entries]), captions.references.size)
    return matched.astype(np.float64)


def _closest(captions: Captions) -> Ints:
    """[n] the closest reference's length."""
    lengths = captions.words.lengths[captions.reference_of_pair]
    away = np.abs(lengths - captions.words.lengths[captions.answer_of_pair])
    beyond = int(lengths.max()) + 1
    closest: Ints = np.minimum.reduceat(away * beyond + lengths, captions.first_pairs) % beyond
    return closest
