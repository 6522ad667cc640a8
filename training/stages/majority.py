"""The honest floor without a picture: the most frequent answer to training questions that begin with the same words.

A checkpoint is a folder with one file, `majority.json`:

    {"version": 1, "answers": {"how many": "2", "is the": "yes", …}, "fallback": "yes"}

The keys are leading words of a prompt's first line, in lower case, divided by single spaces. The longest one that the
prompt begins with gives the answer; where there is none, the fallback does. The model plugin `majority` reads it.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field

from harness import DataError, Session
from training.identity import content
from training.job import Job
from training.recipe import Result
from training.settings import StageSettings

FILE = "majority.json"
PICTURES = 2000
"""Pictures whose captions are compared, at most."""
Gram: TypeAlias = tuple[str, ...]


class MajorityStage(StageSettings):
    """A config whose `stage` is `majority`."""

    stage: Literal["majority"] = "majority"
    name: str = Field(default="majority", min_length=1)
    benchmarks: tuple[str, ...] = Field(min_length=1)
    """Whose questions are learnt, all together: the model is not told which one it is asked from."""
    split: str = "train"
    """The split that is learnt from."""
    words: int = Field(default=8, ge=1)
    """Leading words that are told apart, at most."""

    def data_digests(self, session: Session) -> dict[str, str]:
        """What is learnt from: benchmark -> digest of its samples and prompts."""
        return {name: content(session.benchmark(name, split=self.split), None) for name in self.benchmarks}


@dataclass(frozen=True, slots=True)
class Table:
    """What was learnt: the content of `majority.json`."""

    answers: dict[str, str]
    fallback: str

    def save(self, directory: Path) -> None:
        """Write it into a folder, which is made where there is none."""
        directory.mkdir(parents=True, exist_ok=True)
        content = {"version": 1, "answers": dict(sorted(self.answers.items())), "fallback": self.fallback}
        (directory / FILE).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def run(job: Job) -> Result:
    """Learn from the training split and write the checkpoint's folder.

    Raises:
        UnknownName, ConfigError, DataError: a benchmark is unknown, or its training split is not there or empty.
    """
    settings, session = job.settings, job.session
    questions: list[tuple[str, Sequence[str]]] = []
    captions: dict[str, list[Sequence[str]]] = defaultdict(list)
    for name in settings.benchmarks:
        task = session.benchmark(name, split=settings.split)
        for sample in task.samples():
            line, _, _ = task.request(sample).prompt.partition("\n")
            if sample.question:
                questions.append((line, sample.references))
            else:
                captions[line].append(sample.references)
    table = learn(questions, words=settings.words)
    told = {_key(line): typical(references) for line, references in captions.items()}
    if not table.fallback and not told:
        raise DataError(f"{', '.join(settings.benchmarks)}: nothing to learn in the split {settings.split!r}")
    Table(table.answers | told, table.fallback or next(iter(told.values()))).save(job.folder)
    return Result(job.folder)


def learn(pairs: Iterable[tuple[str, Sequence[str]]], *, words: int = 8) -> Table:
    """The most frequent answer for all leading words of questions.

    Args:
        pairs: a question and its accepted answers, repetitions kept. A question has one vote, divided among them.
        words: leading words that are told apart, at most.
    """
    votes: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for question, answers in pairs:
        leading = question.lower().split()
        for count in range(min(words, len(leading)) + 1):
            key = " ".join(leading[:count])
            for answer in answers:
                votes[key][answer] += 1 / len(answers)
    favourites = {key: _favourite(counts) for key, counts in votes.items()}
    fallback = favourites.pop("", "")
    return Table(_without_repetition(favourites, fallback), fallback)


def _favourite(counts: Mapping[str, float]) -> str:
    # Sums of tenths: equal ones may differ in their last digit.
    return min(counts, key=lambda answer: (-round(counts[answer], 6), answer))


def _without_repetition(favourites: dict[str, str], fallback: str) -> dict[str, str]:
    """Without the words that give the answer which fewer words give anyway."""
    kept: dict[str, str] = {}
    for key in sorted(favourites, key=lambda key: key.count(" ")):
        leading = key.split(" ")
        shorter = (" ".join(leading[:count]) for count in range(len(leading) - 1, 0, -1))
        if favourites[key] != next((kept[words] for words in shorter if words in kept), fallback):
            kept[key] = favourites[key]
    return kept


def typical(captions: Sequence[Sequence[str]]) -> str:
    """The caption that is most like all others: the largest mean cosine of TF-IDF weighted n-grams, n of 1 to 4.

    That is the likeness that CIDEr measures (Vedantam et al. 2015, equations 2 and 3), without its stemming. Of many
    pictures, some PICTURES are taken at even distances.

    Args:
        captions: those of each picture; n-grams are weighted by how few pictures have them.
    """
    some = captions[:: math.ceil(len(captions) / PICTURES)]
    pictures = Counter(gram for of_one in some for gram in {gram for caption in of_one for gram in _ngrams(caption)})

    def vector(caption: str) -> dict[Gram, float]:
        weighted = {gram: count * math.log(len(some) / pictures[gram]) for gram, count in _ngrams(caption).items()}
        squares = [0.0] * 5
        for gram, weight in weighted.items():
            squares[len(gram)] += weight**2
        return {gram: weight / math.sqrt(squares[len(gram)]) for gram, weight in weighted.items() if weight}

    total: defaultdict[Gram, float] = defaultdict(float)
    distinct = Counter(caption for of_one in some for caption in of_one)
    for caption, times in distinct.items():
        for gram, weight in vector(caption).items():
            total[gram] += times * weight
    likeness = {caption: sum(weight * total[gram] for gram, weight in vector(caption).items()) for caption in distinct}
    return min(likeness, key=lambda caption: (-likeness[caption], caption))


def _ngrams(caption: str) -> Counter[Gram]:
    words = caption.lower().rstrip(" .").split()
    return Counter(tuple(words[start : start + size]) for size in range(1, 5) for start in range(len(words) - size + 1))


def _key(line: str) -> str:
    return " ".join(line.lower().split())
