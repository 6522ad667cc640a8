"""Questions about COCO photographs, in the VQA challenge's two files: questions, and annotations with the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
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


TEXT = attrgetter("answer")
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

        asked = official.read(questions, Questions).questions
        for row, found, raw in _answered(asked, annotations, questions):
            texts = tuple(map(TEXT, found.answers))
            images, group = picture(row.image_id)
            yield Sample(str(row.question_id), images, row.question, texts, group, _facts(found, raw), self.shared)


def _answered(
    asked: Iterable[Question], annotations: Path, questions: Path
) -> Iterator[tuple[Question, Annotation, msgspec.Raw]]:
    """The questions with their annotations. Each is decoded when it is wanted, as a rule in the file's order.

    So a file of 200 MB takes little more memory than that, not five times as much.

    Raises:
        DataError: an annotation isn't there, comes twice or is not as it should be.
    """
    passed: dict[int, msgspec.Raw] = {}
    seen: set[int] = set()
    rest = iter(official.read(annotations, Undecoded).annotations)

    def decode(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T:
        try:
            return decoder.decode(raw)
        except (msgspec.ValidationError, UnicodeDecodeError):
            official.read(annotations, Annotations)  # knows how to say which record it is, and what is wrong with it
            raise

    def following() -> Iterator[tuple[Annotation, msgspec.Raw]]:
        for raw in rest:
            found = decode(ANNOTATION, raw)
            if found.question_id in seen:
                raise DataError(f"{annotations}: question {found.question_id} is answered twice; export the data again")
            seen.add(found.question_id)
            yield found, raw

    answers = following()
    for row in asked:
        if row.question_id in passed:
            raw = passed.pop(row.question_id)
            yield row, decode(ANNOTATION, raw), raw
            continue
        if row.question_id in seen:
            raise DataError(f"{questions}: id {row.question_id} is there twice; export the data again")
        for found, raw in answers:
            if found.question_id == row.question_id:
                yield row, found, raw
                break
            passed[found.question_id] = raw
        else:
            raise DataError(f"{annotations}: no answers to question {row.question_id} of {questions.name}")
    for raw in rest:  # no annotation of a question that was asked may come once more
        if (left := decode(NAMED, raw).question_id) in seen:
            raise DataError(f"{annotations}: question {left} is answered twice; export the data again")
        seen.add(left)


def _facts(found: Annotation, raw: msgspec.Raw) -> Facts:
    facts = kinds(found.question_type, found.answer_type)
    return facts if have_ids(found.answers) else {**facts, **told_apart(msgspec.json.decode(raw)["answers"])}
