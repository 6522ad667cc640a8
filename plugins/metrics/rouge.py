"""ROUGE-L (Lin, 2004, https://aclanthology.org/W04-1013) of many answers at once, as pycocoevalcap has it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plugins.metrics.ngrams import Captions, Ints, Words

BETA = 1.2
BITS = 64
PART = 1 << 15

Floats = NDArray[np.float64]


def rouge_l(captions: Captions) -> Floats:
    """[n] ROUGE-L of each answer: F, β = 1.2, of the longest common subsequence with its references.

    Precision and recall are the best of any reference, each on its own.
    """
    words = captions.between_spaces
    answers, references = captions.answer_of_pair, captions.reference_of_pair
    common = _common(words, answers, references)
    precision, recall = (
        np.maximum.reduceat(common / words.lengths[side], captions.first_pairs) for side in (answers, references)
    )
    above = (1 + BETA**2) * precision * recall
    scores: Floats = np.divide(above, recall + BETA**2 * precision, out=np.zeros(above.size), where=above > 0)
    return scores


def _common(words: Words, answers: Ints, references: Ints) -> Ints:
    """[r] lengths of the longest common subsequences of pairs of captions."""
    common = np.empty(answers.size, np.int64)
    ends = np.cumsum(words.lengths)
    starts = ends - words.lengths
    # The longest answers first: those that have a word at some place are then the first so many.
    order = np.argsort(-words.lengths[answers], kind="stable")
    long = int((words.lengths[answers] > BITS).sum())
    for pair in order[:long].tolist():
        sides = [words.ids[starts[side[pair]] : ends[side[pair]]].tolist() for side in (answers, references)]
        common[pair] = _common_of_two(*sorted(sides, key=len))
    for begin in range(long, order.size, PART):
        part = order[begin : begin + PART]
        common[part] = _common_of_many(words, starts, answers[part], references[part])
    return common


def _common_of_two(short: Sequence[int], long: Sequence[int]) -> int:
    """Hyyrö's bit-parallel algorithm (2004): a row's bit is 0 where a word of the one makes the subsequence longer."""
    places: dict[int, int] = {}
    for place, word in enumerate(short):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(short)) - 1
    row = full
    for word in long:
        match = row & places.get(word, 0)
        row = (row + match | row - match) & full
    return len(short) - row.bit_count()


def _common_of_many(words: Words, starts: Ints, answers: Ints, references: Ints) -> Ints:
    """The same for many pairs at once; answers have at most 64 words, the longest come first.

    Args:
        starts: [c] each caption's first word.
        answers, references: [p] numbers of captions.
    """
    lengths = words.lengths[references]
    first = np.cumsum(lengths) - lengths
    theirs = words.ids[np.arange(lengths.sum()) + np.repeat(starts[references] - first, lengths)]
    ours = np.repeat(starts[answers], lengths)
    places = np.zeros(theirs.size, np.uint64)
    for place in range(int(words.lengths[answers].max())):
        having = int(lengths[words.lengths[answers] > place].sum())
        equal = words.ids[ours[:having] + place] == theirs[:having]
        places[:having] |= equal.astype(np.uint64) << np.uint64(place)
    rows = np.full(lengths.size, ~np.uint64(0))
    for place in range(int(lengths.max())):
        going = np.flatnonzero(lengths > place)
        row = rows[going]
        match = row & places[first[going] + place]
        rows[going] = row + match | row - match
    counts: Ints = np.unpackbits((~rows)[:, None].view(np.uint8), axis=1).sum(axis=1, dtype=np.int64)
    return counts
