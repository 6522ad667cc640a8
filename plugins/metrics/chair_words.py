"""The objects that a caption mentions, as CHAIR finds them (Rohrbach et al., 2018, section 2.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

# A full stop that ends a sentence: last but for brackets and quotes, or before white space or a mark that starts no
# word. No object's name is an abbreviation, so what stands before it need not be known.
_STOP = re.compile(r"""(?<=[^.])\.(?=[\])}>"'»”’\s]*$|\s+\S|[\])}(\[{:;*@?!"'])""")
_QUOTED_LETTER = re.compile(r"'(?![mtsdn])(?=\w\b)")
_PAUSE = re.compile(r"([:,])(\D|$)")  # what follows is taken too, so that the second of two stays with its word
_ALONE = re.compile(r"""[\[\](){}<>;@#$%&?!*"«“‘„»”’]|`+|--|''|\.{2,}""")
_CLITIC = re.compile(r"(?<=[^'\s])('(?:[smd]|ll|re|ve)?|n't)(?='?(?:\s|$))")

# Nouns that keep their -s; the last two by a slip in the original's rules.
_UNCHANGED = re.compile(r"^scissors$|(?:collie|doggie)s$")
_SINGULARS = [
    (re.compile(plural + "$"), singular)
    for plural, singular in [
        ("children", "child"),
        ("people", "person"),
        ("men", "man"),
        ("geese", "goose"),
        ("oxen", "ox"),
        ("kine", "cow"),
        ("mice", "mouse"),
        ("(.)ae", r"\1a"),
        ("(x|ss|[cs]h|o|bus)es", r"\1"),
        ("([^aeiouy])ies", r"\1y"),
        ("([aeo]l)ves", r"\1f"),
        ("nives", "nife"),
        ("s", ""),
    ]
]

_ANIMALS = ("animal", "bear", "bird", "cat", "cow", "cub", "dog", "elephant", "giraffe", "horse", "sheep", "zebra")
# Pairs of words that no list of synonyms has -> the word that they count as. A "train track" is no train.
_QUALIFIED = {
    "train track": "train track",
    "toilet seat": "toilet",
    "wine glas": "wine glass",
    "passenger jet": "jet",
    "passenger train": "train",
    **{f"{age} {animal}": animal for age in ("baby", "adult") for animal in _ANIMALS},
}


class Mentions:
    """Finds objects in captions.

    The original's rules: lower case, NLTK 3.9's tokens, pattern.en's singulars, pairs of words that name one object
    ("hot dog") or that qualify one ("baby elephant", "passenger train", "toilet seat"), no "seat" beside a "toilet",
    synonyms. They have slips: "bus" becomes "bu" and is never found, though "buses" is; so it is with "canoes",
    "ties", "magpies", "collies", "doggies", and with a synonym that the list has with a space before it.

    Args:
        synonyms: rows of an object's name and what else it is called, spaces kept.
        corrected: without these slips: a word of the list counts as it stands, and without its last s.
    """

    def __init__(self, synonyms: Sequence[Sequence[str]], *, corrected: bool = False) -> None:
        self._names: dict[str, str] = {}
        self._doubles = dict(_QUALIFIED)
        self._kept: set[str] = set()
        for row in synonyms:
            for entry in row:
                words = entry.lower().split() if corrected else entry.split()
                together = " ".join(words)
                self._names[together if corrected else entry] = row[0]
                if len(words) == 2:
                    self._doubles[together] = together
                if corrected:
                    self._kept.update(words)

    def find(self, caption: str) -> list[str]:
        """The names of the objects, in the caption's order, repetitions kept."""
        words = [self._singular(word) for word in tokens(caption)]
        found: list[str] = []
        place = 0
        while place < len(words):
            double = self._doubles.get(" ".join(words[place : place + 2]))
            found.append(words[place] if double is None else double)
            place += 1 if double is None else 2
        if "toilet" in found:
            found = [word for word in found if word != "seat"]
        return [self._names[word] for word in found if word in self._names]

    def _singular(self, word: str) -> str:
        if word in self._kept:
            return word
        if word.endswith("s") and word[:-1] in self._kept:
            return word[:-1]
        return singular(word)


def tokens(text: str) -> list[str]:
    """The text in lower case, cut as NLTK's `word_tokenize` cuts it.

    Equal where it matters: in which letters stand alone. A stop after an abbreviation, say, may be cut off here.
    """
    text = _STOP.sub(" . ", text.lower())
    text = _QUOTED_LETTER.sub("' ", text)
    text = _PAUSE.sub(r" \1 \2", text)
    text = _ALONE.sub(r" \g<0> ", text)
    return _CLITIC.sub(r" \1 ", text).split()


@lru_cache(maxsize=1 << 16)
def singular(word: str) -> str:
    """A noun's singular by pattern.en's rules, as far as they can lead to the name of one of COCO's objects."""
    if _UNCHANGED.search(word):
        return word
    for plural, replacement in _SINGULARS:
        found = plural.search(word)
        if found:
            return word[: found.start()] + found.expand(replacement)
    return word
