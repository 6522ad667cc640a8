"""Captions as numbers: the words and n-grams of many captions at once, in flat arrays.

A caption's words are read in two ways: BLEU and CIDEr split it at any white space, ROUGE at every single space, so that
for ROUGE an empty caption is one empty word. The two also differ where a token holds white space of another kind, such
as the no-break space in a fraction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
from numpy.typing import NDArray

ORDERS = (1, 2, 3, 4)
KEY_BITS = 63
PART = 1 << 14

Ints = NDArray[np.int64]
Shorts = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """The words of captions, equal numbers for equal words.

    Attributes:
        ids: [w] the words of all captions, one caption after the other.
        lengths: [c] words of each caption.
        names: the words by number.
    """

    ids: Ints
    lengths: Ints
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Grams:
    """The n-grams of one order: an entry for every caption and different n-gram in it, by n-gram, then by caption.

    Attributes:
        captions: [m] the caption that an entry is of.
        counts: [m] how often the n-gram occurs in it.
        starts: [g] each n-gram's first entry.
        documents: [g] pictures that have the n-gram in a caption that counts for document frequencies.
        shared: [k] entries of references whose n-gram is in their picture's answer too.
        answers: [k] the entries of these answers.
    """

    captions: Shorts
    counts: Shorts
    starts: Ints
    documents: Ints
    shared: Ints
    answers: Ints


class Captions:
    """Tokenised answers with their references, and perhaps a corpus that document frequencies are taken from.

    Captions are numbered picture by picture, each picture's answer first, then its references; the corpus comes last.

    Attributes:
        groups: [n] each picture's answer and references, of which there is one at least.
        texts: [c] all captions.
        documents: pictures that document frequencies are taken from.
        pictures: [c] the number of the picture that a caption is of; the corpus has numbers of its own.
        is_answer: [c] whether it is an answer.
        counted: [c] whether it counts for document frequencies: the corpus does, or the references where there is none.
        references: [n] how many references a picture has.
        answer_of_pair, reference_of_pair: [r] the captions that are compared: an answer and one of its references.
        first_pairs: [n] each picture's first pair.
    """

    def __init__(self, groups: Sequence[tuple[str, ...]], corpus: Sequence[tuple[str, ...]] = ()) -> None:
        sizes = np.array([len(group) for group in (*groups, *corpus)], np.int64)
        self.groups = groups
        self.texts = [text for group in (*groups, *corpus) for text in group]
        self.documents = len(corpus) or len(groups)
        self.pictures: Ints = np.repeat(np.arange(sizes.size), sizes)
        answers = (np.cumsum(sizes) - sizes)[: len(groups)]
        self.is_answer: Bools = np.zeros(len(self.texts), np.bool_)
        self.is_answer[answers] = True
        scored = self.pictures < len(groups)
        self.counted: Bools = ~scored if corpus else ~self.is_answer
        self.references: Ints = sizes[: len(groups)] - 1
        self.answer_of_pair: Ints = np.repeat(answers, self.references)
        self.reference_of_pair: Ints = np.flatnonzero(scored & ~self.is_answer)
        self.first_pairs: Ints = np.cumsum(self.references) - self.references

    @cached_property
    def between_spaces(self) -> Words:
        """The words as `split(" ")` finds them."""
        return _split(self.texts)

    @cached_property
    def words(self) -> Words:
        """The words as `split()` finds them."""
        found = self.between_spaces
        parts = {number: name.split() for number, name in enumerate(found.names) if name.split() != [name]}
        if not parts:
            return found
        numbers = {name: number for number, name in enumerate(found.names)}
        number_of = {part: numbers.setdefault(part, len(numbers)) for split in parts.values() for part in split}
        sizes = np.ones(len(found.names), np.int64)
        sizes[list(parts)] = [len(split) for split in parts.values()]
        at = np.flatnonzero(np.isin(found.ids, list(parts)))
        ids = np.repeat(found.ids, sizes[found.ids])
        ids[np.isin(ids, list(parts))] = [number_of[part] for word in found.ids[at].tolist() for part in parts[word]]
        lengths = found.lengths.copy()
        np.add.at(lengths, np.searchsorted(np.cumsum(lengths), at, side="right"), sizes[found.ids[at]] - 1)
        return Words(ids, lengths, tuple(numbers))

    @cached_property
    def grams(self) -> tuple[Grams, ...]:
        """The n-grams of orders 1 to 4."""
        bits = len(self.texts).bit_length()
        return tuple(self._entries(places, bits) for places in _places(self.words, bits))

    def _entries(self, places: Ints, bits: int) -> Grams:
        """Count what `_places` found."""
        first = np.flatnonzero(_changes(places))
        counts = np.diff(first, append=places.size).astype(np.int32)
        places = places[first]
        captions = (places & ((1 << bits) - 1)).astype(np.int32)
        new = _changes(places >> bits)
        # The entries of one n-gram and one picture lie side by side: a bundle, with the answer's at its head.
        head = new | _changes(self.pictures[captions])
        heads = np.flatnonzero(head)
        last = np.append(heads[1:], captions.size) - 1 if heads.size else heads
        first_bundles = np.flatnonzero(new[heads])
        counted = self.counted[captions[last]].astype(np.int64)
        documents = np.add.reduceat(counted, first_bundles) if first_bundles.size else counted
        head_of = np.repeat(heads, np.diff(heads, append=captions.size))
        shared = np.flatnonzero(self.is_answer[captions[head_of]] & ~head)
        return Grams(captions, counts, heads[first_bundles], documents, shared, head_of[shared])


def _split(texts: Sequence[str]) -> Words:
    """Words between single spaces; part by part, since the words of all captions at once would take much memory."""
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    lengths = np.fromiter((text.count(" ") for text in texts), np.int64, len(texts)) + 1
    ids = np.empty(lengths.sum(), np.int64)
    done = 0
    for start in range(0, len(texts), PART):
        words = " ".join(texts[start : start + PART]).split(" ")
        ids[done : done + len(words)] = np.fromiter(map(numbers.__getitem__, words), np.int64, len(words))
        done += len(words)
    return Words(ids, lengths, tuple(numbers))


def _places(words: Words, bits: int) -> Iterator[Ints]:
    """For each order, where its n-grams stand: [p] the n-gram's number and, in the lowest bits, the caption's; sorted.

    As one number they are sorted far faster than as two. An n-gram's number is made of those of words and of pairs of
    words, which is exact; where it leaves no room for the caption's, it is replaced by its rank.
    """
    ids, size = words.ids, len(words.names)
    captions = np.repeat(np.arange(words.lengths.size, dtype=np.int32), words.lengths)
    pairs = _ranks(ids[:-1] * size + ids[1:])
    most = int(pairs.max(initial=0)) + 1
    for order in ORDERS:
        if order == 1:
            keys, bound = ids, size
        elif order == 2:
            keys, bound = pairs, most
        elif order == 3:
            keys, bound = pairs[:-1] * size + ids[2:], most * size
        else:
            keys, bound = pairs[:-2] * most + pairs[2:], most * most
        of_last_word = captions[order - 1 :]
        whole = captions[: keys.size] == of_last_word
        keys = keys[whole]
        if bound.bit_length() + bits > KEY_BITS:
            keys = _ranks(keys)
        places = keys << bits
        places |= of_last_word[whole]
        places.sort()
        yield places


def _ranks(keys: Ints) -> Ints:
    """[p] each key's place among the different keys."""
    order = np.argsort(keys)
    ranks = np.empty_like(keys)
    ranks[order] = np.cumsum(_changes(keys[order])) - 1
    return ranks


def _changes(values: Ints) -> Bools:
    """[p] whether each value differs from the one before it; the first does."""
    changes = np.ones(values.size, np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes
