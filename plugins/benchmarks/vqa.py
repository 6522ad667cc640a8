"""Questions with ten human answers, as VQA and the sets after it have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from harness import BenchmarkInfo, DataError, DataSource, FileImage, ImageRef, Sample
from plugins.benchmarks import hub, official
from plugins.benchmarks.prompting import Prompted


class Answer(msgspec.Struct, gc=False):
    answer: str


class Question(msgspec.Struct, gc=False):
    question_id: int
    image_id: int
    question: str


class Annotation(msgspec.Struct, gc=False):
    question_id: int
    answers: list[Answer]
    question_type: str | None = None
    answer_type: str | None = None


class Questions(msgspec.Struct):
    questions: list[Question]


class Annotations(msgspec.Struct):
    annotations: list[Annotation]


class Row(msgspec.Struct, gc=False):
    """A row of a hub dataset, where answers may be objects or plain text."""

    question_id: int | str
    question: str
    answers: list[Answer | str]
    image_id: int | str | None = None
    question_type: str | None = None
    answer_type: str | None = None


@dataclass(frozen=True, slots=True)
class TenAnswers(Prompted):
    """A benchmark in VQA's layout. Facts: question_type and answer_type, where known.

    Attributes:
        prefix: what the official file names begin with.
        image_of_question: the image's id in a question's id, for rows that lack it.
    """

    prefix: str
    image_of_question: Callable[[str], str]

    @property
    def info(self) -> BenchmarkInfo:
        return BenchmarkInfo(
            version="1",
            metrics=("vqa_accuracy", "compression", "tokens"),
            profiles=tuple(self.profiles),
            protocols=("lmms", "official", "official-2017"),
            split="val",
        )

    def samples(self, data: DataSource) -> Iterable[Sample]:
        split = self.info.split
        if hub.is_dataset(data, data.config):
            table = hub.open_table(data, split, data.config)
            return official.distinct(self._rows(table), table.place)
        name = f"{self.prefix}OpenEnded_mscoco_{{split}}2014_questions.json"
        questions = official.find(data, split, [name], "*questions.json")
        name = f"{self.prefix}mscoco_{{split}}2014_annotations.json"
        annotations = official.find(data, split, [name], "*annotations.json")
        return official.distinct(self._files(questions, annotations, data.split or split), questions)

    def _files(self, questions: Path, annotations: Path, split: str) -> Iterator[Sample]:
        answered = {row.question_id: row for row in official.read(annotations, Annotations).annotations}
        images = questions.parent / f"{split}2014"

        @cache
        def image(image_id: int) -> FileImage:
            return FileImage(images / f"COCO_{split}2014_{image_id:012d}.jpg")

        for row in official.read(questions, Questions).questions:
            found = answered.get(row.question_id)
            if found is None:
                raise DataError(f"{annotations}: no answers to question {row.question_id} of {questions.name}")
            yield _sample(row.question_id, row.image_id, image(row.image_id), row.question, found)

    def _rows(self, table: hub.Table) -> Iterator[Sample]:
        for number, row in table.rows(Row):
            image_id = row.image_id
            if image_id is None:
                image_id = self.image_of_question(str(row.question_id))
            yield _sample(row.question_id, image_id, table.image(number), row.question, row)


def _sample(
    question_id: int | str, image_id: int | str, image: ImageRef, question: str, found: Annotation | Row
) -> Sample:
    kinds = {"question_type": found.question_type, "answer_type": found.answer_type}
    answers: Sequence[Answer | str] = found.answers
    return Sample(
        id=str(question_id),
        images=(image,),
        question=question,
        references=tuple(given if isinstance(given, str) else given.answer for given in answers),
        group=str(image_id),
        facts={name: kind for name, kind in kinds.items() if kind is not None},
    )
