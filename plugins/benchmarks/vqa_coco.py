"""Questions about COCO photographs, in the VQA challenge's two files: questions, and annotations with the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from harness import DataError, DataSource, FileImage, Sample
from plugins.benchmarks import official
from plugins.benchmarks.vqa import Answer, Facts, Row, TenAnswers, have_ids, kinds, told_apart

T = TypeVar("T")


class Question(msgspec.Struct, gc=False):
    question_id: int
    image_id: int
    question: str


class Named(msgspec.Struct, gc=False):
    question_id: int


class Annotation(Named, gc=False):
    answers: list[Answer]
    question_type: str | None = None
    answer_type: str | None = None


class Questions(msgspec.Struct):
    questions: list[Question]


class Annotations(msgspec.Struct):
    annotations: list[Annotation]


class Undecoded(msgspec.Struct):
    annotations: list[msgspec.Raw]


NAMED = msgspec.json.Decoder(Named)
ANNOTATION = msgspec.json.Decoder(Annotation)


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoQuestions(TenAnswers):
    """A benchmark in the challenge's layout.

    Attributes:
        prefix: what the official file names begin with.
        image_of_question: the image's id in a question's id, for rows that lack it.
    """

    prefix: str
    image_of_question: Callable[[str], str]

    def files(self, data: DataSource) -> Iterable[Sample]:
        split = self.info.split
        name = f"{self.prefix}OpenEnded_mscoco_{{split}}2014_questions.json"
        questions = official.find(data, split, [name], "*questions.json")
        name = f"{self.prefix}mscoco_{{split}}2014_annotations.json"
        annotations = official.find(data, split, [name], "*annotations.json")
        return self._joined(questions, annotations, data.split or split)

    def group(self, row: Row) -> str:
        return self.image_of_question(str(row.question_id)) if row.image_id is None else str(row.image_id)

    def _joined(self, questions: Path, annotations: Path, split: str) -> Iterator[Sample]:
        folder = questions.parent / f"{split}2014"

        @cache
        def picture(image_id: int) -> tuple[tuple[FileImage], str]:
            return (FileImage(folder / f"COCO_{split}2014_{image_id:012d}.jpg"),), str(image_id)

        known: dict[str, str] = {}  # few answers are new ones: equal ones are kept once
        asked = official.read(questions, Questions).questions
        answered = Answered(annotations, questions)
        for row in asked:
            found, facts = answered.take(row.question_id)
            texts = tuple([known.setdefault(given.answer, given.answer) for given in found.answers])
            images, group = picture(row.image_id)
            yield Sample(str(row.question_id), images, row.question, texts, group, facts, self.shared)
        answered.check_rest()


class Answered:
    """The annotations in a file. Each is decoded when it is taken, as a rule in the file's order.

    So a file of 200 MB takes little more memory than that, not five times as much.
    """

    def __init__(self, path: Path, questions: Path) -> None:
        self._path, self._questions = path, questions
        self._rest = iter(official.read(path, Undecoded).annotations)
        self._passed: dict[int, msgspec.Raw] = {}
        self._seen: set[int] = set()

    def take(self, question_id: int) -> tuple[Annotation, Facts]:
        """The annotation of a question, and the facts in it.

        Raises:
            DataError: it isn't there, comes twice or is not as it should be.
        """
        raw = self._passed.pop(question_id, None)
        if raw is not None:
            found = self._decode(ANNOTATION, raw)
            return found, _facts(found, raw)
        if question_id in self._seen:
            raise DataError(f"{self._questions}: id {question_id} is there twice; export the data again")
        for raw in self._rest:
            found = self._decode(ANNOTATION, raw)
            self._see(found.question_id)
            if found.question_id == question_id:
                return found, _facts(found, raw)
            self._passed[found.question_id] = raw
        raise DataError(f"{self._path}: no answers to question {question_id} of {self._questions.name}")

    def check_rest(self) -> None:
        """See that no annotation of a question that was taken comes once more in what is left of the file."""
        for raw in self._rest:
            self._see(self._decode(NAMED, raw).question_id)

    def _see(self, question_id: int) -> None:
        if question_id in self._seen:
            raise DataError(f"{self._path}: question {question_id} is answered twice; export the data again")
        self._seen.add(question_id)

    def _decode(self, decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T:
        try:
            return decoder.decode(raw)
        except (msgspec.ValidationError, UnicodeDecodeError):
            official.read(self._path, Annotations)  # knows how to say which record it is, and what is wrong with it
            raise


def _facts(found: Annotation, raw: msgspec.Raw) -> Facts:
    facts = kinds(found.question_type, found.answer_type)
    return facts if have_ids(found.answers) else {**facts, **told_apart(msgspec.json.decode(raw)["answers"])}
