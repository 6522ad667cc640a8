"""Whether training data holds what a model is later examined by.

A picture is in an evaluation set where bytes, pixels or looks are the same (see `fingerprints`). A lesson is
where question and an answer are, as words: on whatever picture, if there are many of them. Few words prove nothing,
since "is there a dog" and "yes" go with every second picture; such are only counted. Thirteen words in a row are what
Brown et al. (2020, appendix C) call an overlap of training and evaluation.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness import DataError, ImageRef, Json, Session
from training.preparing.fingerprints import Fingerprint, Looks, Take

BYTES, PIXELS, ALIKE = "same bytes", "same pixels", "alike"
TEXT, SHORT = "same question and answer", "same question and answer, in few words"
EXAMPLES = 5
"""Of each kind that a report shows."""


class Lesson(Protocol):
    """What is checked of a lesson."""

    @property
    def prompt(self) -> str: ...
    @property
    def answers(self) -> Sequence[str]: ...


class Entry(Protocol):
    """What is checked of a training picture."""

    @property
    def fingerprint(self) -> Fingerprint: ...
    @property
    def label(self) -> str: ...
    @property
    def lessons(self) -> Sequence[Lesson]: ...


@dataclass(frozen=True, slots=True)
class Examined:
    """A picture of an evaluation set, with the questions that are asked about it there."""

    benchmark: str
    sample: str
    questions: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Exam:
    """What the evaluation sets hold.

    Attributes:
        sets: benchmark -> what was read of it.
        pictures, fingerprints: side by side, one a picture and benchmark.
        answers: question -> answer -> a sample with both; all as words.
        tasks: what is asked of every picture alike, such as to describe it; its words prove nothing.
    """

    sets: dict[str, dict[str, Json]] = field(default_factory=dict)
    pictures: list[Examined] = field(default_factory=list)
    fingerprints: list[Fingerprint] = field(default_factory=list)
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    tasks: set[str] = field(default_factory=set)

    def read(self, session: Session, benchmark: str, take: Take, *, allow_unreadable: bool) -> None:
        """Adds the evaluation split of a benchmark.

        Args:
            session: the workspace.
            benchmark: its name.
            take: gives pictures' fingerprints.
            allow_unreadable: whether pictures that cannot be read are counted, and not an error.

        Raises:
            UnknownName, ConfigError, DataError: it is not there, or a picture of it cannot be read.
        """
        task = session.benchmark(benchmark)
        images: dict[str, tuple[ImageRef, Examined]] = {}
        samples = 0
        for sample in task.samples():
            samples += 1
            request, where = task.request(sample), f"{benchmark}: {sample.id}"
            question = words(sample.question or request.prompt)
            if not sample.question:
                self.tasks.add(question)
            for image in request.images:
                images.setdefault(image.name, (image, Examined(benchmark, where)))[1].questions.add(question)
            for answer in sample.references:
                self.answers.setdefault(question, {}).setdefault(words(answer), where)
        if not samples:
            raise DataError(
                f"{task.data}: the evaluation set {benchmark!r} is empty, and nothing can be checked with it"
            )
        unreadable = 0
        found = take([image for image, _ in images.values()])
        for (_, examined), fingerprint in zip(images.values(), found, strict=True):
            if isinstance(fingerprint, Fingerprint):
                self.pictures.append(examined)
                self.fingerprints.append(fingerprint)
            elif allow_unreadable:
                unreadable += 1
            else:
                raise DataError(
                    f"against {benchmark}: {fingerprint}; without it the check says nothing"
                ) from fingerprint
        self.sets[benchmark] = {"pictures": len(images) - unreadable, "unreadable": unreadable, "samples": samples}

    def size(self, question: str, answer: str) -> int:
        """How many words a question and its answer have."""
        return len(answer.split()) + (0 if question in self.tasks else len(question.split()))


@dataclass(frozen=True, slots=True)
class Contamination:
    """What was found.

    Attributes:
        pictures: places of the training pictures that are in an evaluation set.
        lessons: (place of the picture, of the lesson on it) of those that are, by their words, on other pictures.
        report: all that is told of it.
    """

    pictures: frozenset[int]
    lessons: frozenset[tuple[int, int]]
    report: Mapping[str, Json]


@dataclass(slots=True)
class _Tally:
    counts: Counter[str] = field(default_factory=Counter)
    found_in: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[dict[str, Json]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, **example: Json) -> None:
        self.counts[kind] += 1
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(example)


def check(entries: Sequence[Entry], exam: Exam, *, alike: float, long: int | None) -> Contamination:
    """Compares training pictures and lessons with the evaluation sets.

    Args:
        entries: one a picture.
        exam: the evaluation sets.
        alike: the largest distance of looks that is the same picture; 0 compares bytes and pixels alone.
        long: words of question and answer together that make a leak on another picture; None counts them only.
    """
    tally = _Tally()
    pictures: set[int] = set()
    asked: Counter[str] = Counter()
    for place, (kind, matches) in sorted(_pictures(entries, exam, alike).items()):
        entry, examined = entries[place], [exam.pictures[match] for match, _ in matches]
        pictures.add(place)
        tally.found_in.update({one.benchmark for one in examined})
        tally.add(kind, training=entry.label, evaluation=examined[0].sample, distance=round(matches[0][1], 4))
        questions = set().union(*(one.questions for one in examined))
        asked["on these pictures"] += len(entry.lessons)
        asked["the same question on the same picture"] += sum(
            bool(questions & texts(lesson.prompt)) for lesson in entry.lessons
        )
    leaks: set[tuple[int, int]] = set()
    for place, number, match, size in _lessons(entries, exam, pictures):
        leak = long is not None and size >= long
        lesson = entries[place].lessons[number]
        tally.add(
            TEXT if leak else SHORT, training=f"{entries[place].label}: {lesson.prompt}", evaluation=match, words=size
        )
        if leak:
            leaks.add((place, number))
    report: dict[str, Json] = {
        "against": exam.sets,
        "alike": alike,
        "long": long,
        "pictures": {kind: tally.counts[kind] for kind in (BYTES, PIXELS, ALIKE)},
        "pictures_found_in": dict(sorted(tally.found_in.items())),
        "lessons": {**asked, **{kind: tally.counts[kind] for kind in (TEXT, SHORT)}},
        "examples": dict(tally.examples),
    }
    return Contamination(frozenset(pictures), frozenset(leaks), report)


def _pictures(entries: Sequence[Entry], exam: Exam, alike: float) -> dict[int, tuple[str, list[tuple[int, float]]]]:
    """Place of a training picture -> how surely it is in an evaluation set, and where, with the distance."""
    by_digest, by_pixels = defaultdict(list), defaultdict(list)
    for place, fingerprint in enumerate(exam.fingerprints):
        by_digest[fingerprint.digest].append((place, 0.0))
        by_pixels[fingerprint.pixels].append((place, 0.0))
    found: dict[int, tuple[str, list[tuple[int, float]]]] = {}
    for place, entry in enumerate(entries):
        if entry.fingerprint.digest in by_digest:
            found[place] = BYTES, by_digest[entry.fingerprint.digest]
        elif entry.fingerprint.pixels in by_pixels:
            found[place] = PIXELS, by_pixels[entry.fingerprint.pixels]
    if alike:
        rest = [place for place in range(len(entries)) if place not in found]
        mine = Looks([entries[place].fingerprint.look for place in rest])
        theirs = Looks([fingerprint.look for fingerprint in exam.fingerprints])
        for number, match, distance in mine.like(theirs, alike):
            found.setdefault(rest[number], (ALIKE, []))[1].append((match, distance))
    return found


def _lessons(entries: Sequence[Entry], exam: Exam, pictures: set[int]) -> Iterator[tuple[int, int, str, int]]:
    """(place of a picture, of a lesson, the sample with the same question and answer, words of both) elsewhere."""
    for place, entry in enumerate(entries):
        if place in pictures:
            continue
        for number, lesson in enumerate(entry.lessons):
            said = {words(answer) for answer in lesson.answers}
            matches = [
                (exam.size(question, answer), exam.answers[question][answer])
                for question in sorted(texts(lesson.prompt) & exam.answers.keys())
                for answer in sorted(said & exam.answers[question].keys())
            ]
            if matches:
                size, sample = max(matches)
                yield place, number, sample, size


def texts(prompt: str) -> set[str]:
    """A prompt, and each of its lines, as words: instructions stand in lines of their own."""
    return {words(text) for text in (prompt, *prompt.splitlines())} - {""}


def words(text: str) -> str:
    """Lower-case words without punctuation, divided by single spaces."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))
