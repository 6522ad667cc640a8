"""TextVQA (Singh et al., 2019), https://textvqa.org: 5,000 validation questions about text in 3,166 photographs.

`official` is the accuracy of the challenge and of MMF (`TextVQAAccuracyEvaluator`), whose rule lmms-eval's is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import DataSource, FileImage, Sample
from plugins.benchmarks import official
from plugins.benchmarks.prompting import SHORT_ANSWER
from plugins.benchmarks.vqa import EVALAI, TenAnswers


class Question(msgspec.Struct, gc=False, kw_only=True):
    """A question as a test split has it, whose answers may be secret."""

    question_id: int
    image_id: str
    question: str
    answers: list[str] = []


class Answered(Question, gc=False, kw_only=True):
    answers: list[str]


class Questions(msgspec.Struct):
    data: list[Question]


class AnsweredQuestions(msgspec.Struct):
    data: list[Answered]


@dataclass(frozen=True, slots=True)
class TextVqa(TenAnswers):
    """One file a split; the pictures of train and val lie in one folder."""

    def files(self, data: DataSource) -> Iterable[Sample]:
        split = self.info.split
        names = ["TextVQA_0.5.1_{split}.json", "TextVQA_[0-9]*_{split}.json"]
        path = official.find(data, split, names, "TextVQA_[0-9]*.json")
        return official.distinct(self._samples(path, data.split or split), path)

    def _samples(self, path: Path, split: str) -> Iterator[Sample]:
        secret = split.startswith("test")
        folder = path.parent / ("test_images" if secret else "train_images")
        rows: Sequence[Question]
        rows = official.read(path, Questions).data if secret else official.read(path, AnsweredQuestions).data
        for row in rows:
            yield Sample(
                id=str(row.question_id),
                images=(FileImage(folder / f"{row.image_id}.jpg"),),
                question=row.question,
                references=tuple(row.answers),
                group=row.image_id,
                shared=self.shared,
            )


def textvqa() -> TextVqa:
    rules = {"lmms": EVALAI, "official": EVALAI}
    return TextVqa(SHORT_ANSWER, protocols=("lmms", "official"), shared={"rules": rules}, capitalised=True)
