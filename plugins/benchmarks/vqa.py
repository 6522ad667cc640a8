"""Questions with ten human answers, as VQA and the sets after it have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

import msgspec

from harness import BenchmarkInfo, DataSource, Json, Output, Request, Sample
from plugins.benchmarks import hub, official
from plugins.benchmarks.prompting import COST, Prompted

ANSWER_ID = attrgetter("answer_id")  # quicker than a comprehension, and there are millions
Facts = Mapping[str, Json]
Shared = Mapping[str, Mapping[str, str]]

EVALAI = "evalai"
"""The rule of EvalAI's answer processor, by which lmms-eval scores all sets but VQA v2."""


class Answer(msgspec.Struct, gc=False):
    answer: str
    answer_id: int | float | str | bool | None = None


class RowAnswer(Answer, gc=False):
    answer_confidence: str | None = None


class Row(msgspec.Struct, gc=False):
    """A row of a hub dataset. Answers may be objects or plain text, which has annotators that are told apart."""

    question_id: int | str
    question: str
    answers: list[RowAnswer | str] | None
    image_id: int | str | None = None
    question_type: str | None = None
    answer_type: str | None = None
    category: str | None = None


class Result(msgspec.Struct, gc=False):
    question_id: int | str
    answer: str


@dataclass(frozen=True, slots=True)
class TenAnswers(Prompted):
    """A benchmark whose questions have ten human answers; what its official files look like is left to heirs.

    Facts: question_type and answer_type, where known, and `alike` as `told_apart` has it.

    Attributes:
        protocols: the default first.
        shared: what the metric must know of all samples: the `rules` of protocols that are not VQA v2's.
        capitalised: whether prompts have the question in lower case but for its first letter, as lmms-eval's have.
    """

    protocols: tuple[str, ...] = ("lmms", "official", "official-2017")
    shared: Shared = field(default_factory=dict)
    capitalised: bool = False

    @property
    def info(self) -> BenchmarkInfo:
        return BenchmarkInfo(
            version="2",
            metrics=("vqa_accuracy", *COST),
            profiles=tuple(self.profiles),
            protocols=self.protocols,
            split="val",
        )

    def samples(self, data: DataSource) -> Iterable[Sample]:
        if hub.is_dataset(data, data.config):
            table = hub.open_table(data, self.info.split, data.config)
            return official.distinct(self.rows(table), table.place)
        return self.files(data)

    def files(self, data: DataSource) -> Iterable[Sample]:
        """The samples in official files."""
        raise NotImplementedError

    def rows(self, table: hub.Table) -> Iterator[Sample]:
        """The samples in a dataset of the hub."""
        for number, row in table.rows(Row):
            answers = row.answers or []
            records = [given for given in answers if isinstance(given, RowAnswer)]
            texts = tuple(given.answer if isinstance(given, RowAnswer) else given for given in answers)
            facts = kinds(row.question_type, row.answer_type or row.category)
            if len(records) == len(answers) and not have_ids(records):
                facts = {**facts, **told_apart([msgspec.structs.asdict(given) for given in records])}
            yield Sample(
                id=self.name(row),
                images=(table.image(number),),
                question=row.question,
                references=texts if any(texts) else (),  # secret ones may be empty text
                group=self.group(row),
                facts=facts,
                shared=self.shared,
            )

    def name(self, row: Row) -> str:
        """The id of a row's question, which official results name."""
        return str(row.question_id)

    def group(self, row: Row) -> str:
        """The id of a row's picture."""
        return str(row.image_id)

    def results(self, paths: Sequence[Path], data: DataSource) -> Iterator[tuple[str, Output]]:
        for record in official.records(paths, Result):
            yield str(record.question_id), Output(record.answer)

    def request(self, sample: Sample, profile: str) -> Request:
        if self.capitalised:
            sample = msgspec.structs.replace(sample, question=sample.question.capitalize())
        return Prompted.request(self, sample, profile)


@lru_cache(maxsize=1024)
def kinds(question_type: str | None, answer_type: str | None) -> Facts:
    """The facts that break scores down, one and the same mapping for all questions of a kind."""
    found = {"question_type": question_type, "answer_type": answer_type}
    return {name: kind for name, kind in found.items() if kind is not None}


def have_ids(answers: Sequence[Answer]) -> bool:
    """Whether each annotator has an `answer_id` of its own: then no two records are equal."""
    return len(set(map(ANSWER_ID, answers))) == len(answers)


def told_apart(records: Sequence[Mapping[str, Json]]) -> Facts:
    """The fact `alike`: a number an annotator, the same for those whose records differ in nothing but the answer.

    Left out where all records differ. The VQA challenge's script takes for an annotator's others those whose record,
    answer included, is not equal.
    """
    beside = [{name: value for name, value in record.items() if name != "answer"} for record in records]
    numbers = [beside.index(record) for record in beside]
    return {} if numbers == list(range(len(beside))) else {"alike": numbers}
