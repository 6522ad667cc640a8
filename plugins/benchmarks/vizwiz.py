"""VizWiz-VQA (Gurari et al., 2018), https://vizwiz.org: 4,319 validation questions that blind people asked.

`official` is the VQA challenge's script on VizWiz's answers. These have no ids, so that for each annotator it leaves
out all who gave the same answer with the same confidence. VizWiz's own evaluation leaves out nobody else: its
protocol is `vizwiz-api`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from harness import DataError, DataSource, FileImage, Output, Sample
from plugins.benchmarks import hub, official
from plugins.benchmarks.okvqa import UNANSWERABLE
from plugins.benchmarks.vqa import EVALAI, Answer, Row, TenAnswers, kinds, told_apart

NO_CONFIDENCE = "the hub's copy lacks the annotators' confidence, by which the official script tells them apart"


class Question(msgspec.Struct, gc=False, kw_only=True):
    """A question as a test split has it, whose answers may be secret."""

    image: str
    question: str
    question_id: int | str | None = None
    answer_type: str | None = None
    answers: list[Answer] = []


class Answered(Question, gc=False, kw_only=True):
    answers: list[Answer]


class Records(msgspec.Struct, gc=False):
    answers: list[dict[str, Any]] = []


class Result(msgspec.Struct, gc=False):
    answer: str
    image: str | None = None
    question_id: int | str | None = None


@dataclass(frozen=True, slots=True)
class VizWiz(TenAnswers):
    """One file a split, one question a picture: the picture's name is the question's id, unless a file has others."""

    def files(self, data: DataSource) -> Iterable[Sample]:
        split = self.info.split
        path = official.find(data, split, ["Annotations/{split}.json", "{split}.json"], "*.json")
        folder = official.folder(data) / (data.split or split)
        return official.distinct(self._samples(path, folder), path)

    def _samples(self, path: Path, folder: Path) -> Iterator[Sample]:
        secret = folder.name.startswith("test")
        rows: Sequence[Question]
        rows = official.read(path, list[Question]) if secret else official.read(path, list[Answered])
        for row, full in zip(rows, official.read(path, list[Records]), strict=True):
            yield Sample(
                id=row.image if row.question_id is None else str(row.question_id),
                images=(FileImage(folder / row.image),),
                question=row.question,
                references=tuple(given.answer for given in row.answers),
                group=row.image,
                facts={**kinds(None, row.answer_type), **told_apart(full.answers)},
                shared=self.shared,
            )

    def rows(self, table: hub.Table) -> Iterator[Sample]:
        notes = {protocol: NO_CONFIDENCE for protocol in self.protocols if protocol.startswith("official")}
        return TenAnswers.rows(replace(self, shared={**self.shared, "incomparable": notes}), table)

    def name(self, row: Row) -> str:
        return self.group(row)

    def group(self, row: Row) -> str:
        return f"{row.question_id}.jpg"

    def results(self, paths: Sequence[Path], data: DataSource) -> Iterator[tuple[str, Output]]:
        """Answers by picture, as the challenge has them, or by question id."""
        names = {sample.group: sample.id for sample in self.samples(data)}
        for path in paths:
            for number, record in enumerate(official.records([path], Result)):
                if record.image is not None:
                    name = names.get(record.image, record.image)
                elif record.question_id is not None:
                    name = names.get(f"{record.question_id}.jpg", str(record.question_id))
                else:
                    raise DataError(f"{path}: [{number}]: neither a field 'image' nor 'question_id'")
                yield name, Output(record.answer)


def vizwiz() -> VizWiz:
    protocols = ("lmms", "official", "official-2017", "vizwiz-api")
    return VizWiz(UNANSWERABLE, protocols=protocols, shared={"rules": {"lmms": EVALAI}}, capitalised=True)
