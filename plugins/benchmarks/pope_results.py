"""Answers to POPE's questions, in its own layout and in LLaVA's: which question each is to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from harness import DataError, Output, Sample
from plugins.benchmarks import official

CATEGORIES = ("random", "popular", "adversarial")
LLAVA_QUESTIONS = "llava_pope_test.jsonl"


class Answer(msgspec.Struct, gc=False, kw_only=True):
    """A record as POPE has it: the question's text and the answer."""

    answer: str
    question: str | None = None
    question_id: int | None = None
    category: str | None = None


class LlavaAnswer(Answer, gc=False, kw_only=True):
    """A record as LLaVA has it: the question's number, the prompt and the answer."""

    answer: str = msgspec.field(name="text")
    question: str | None = msgspec.field(name="prompt", default=None)
    question_id: int


class LlavaQuestion(msgspec.Struct, gc=False):
    """A question under LLaVA's number, which counts through all categories."""

    question_id: int
    image: str
    text: str
    category: str


@dataclass(frozen=True, slots=True)
class Questions:
    """What can be answered.

    Attributes:
        samples: by id.
        ordered: category -> its samples' ids, in order.
        numbered: LLaVA's number -> sample id.
    """

    samples: Mapping[str, Sample]
    ordered: Mapping[str, Sequence[str]]
    numbered: Mapping[int, str]

    def of_number(self, category: str, number: int) -> str:
        """The id by a category and the number in it, or LLaVA's number."""
        plain, of_llava = f"{category}/{number}", self.numbered.get(number, "")
        return of_llava if plain not in self.samples and of_llava.startswith(f"{category}/") else plain

    def matches(self, sample_id: str, text: str | None) -> bool:
        """Whether a text, where there is one, asks this question, as far as it is known."""
        return text is None or sample_id not in self.samples or self.samples[sample_id].question in text


def read(paths: Sequence[Path], samples: Sequence[Sample], folder: Path | None) -> Iterator[tuple[str, Output]]:
    """Sample ids and answers.

    An answer's category is its field `category`, else the one that its file is named for, else the one under which
    LLaVA's file of questions has its number. That file is one of the paths, or lies in the folder or beside the
    answers. Where a file of one category has no `question_id`, its answers are in the order of the questions.

    Raises:
        DataError: a file is of another layout, or nothing tells which question an answer is to.
    """
    answers = [path for path in paths if not path.name.startswith(LLAVA_QUESTIONS)]
    given = [path for path in paths if path not in answers]
    near = [place / LLAVA_QUESTIONS for place in (folder, *(path.parent for path in answers)) if place is not None]
    ordered: dict[str, list[str]] = {category: [] for category in CATEGORIES}
    for sample in samples:
        ordered.setdefault(sample.facts["category"], []).append(sample.id)
    file = next((path for path in given + near if path.is_file()), None)
    numbered = _numbered(file, samples) if file else {}
    questions = Questions({sample.id: sample for sample in samples}, ordered, numbered)
    for path in answers:
        yield from _file(path, questions)


def _numbered(path: Path, samples: Sequence[Sample]) -> dict[int, str]:
    """LLaVA's numbers -> sample ids, by category, picture and text: it left some questions out."""
    ids = {(sample.facts["category"], sample.group, sample.question): sample.id for sample in samples}
    numbered: dict[int, str] = {}
    for row in official.records([path], LlavaQuestion):
        key = (row.category, PurePosixPath(row.image).stem, row.text.partition("\n")[0])
        numbered[row.question_id] = ids.get(key, "/".join(key))
    return numbered


def _file(path: Path, questions: Questions) -> Iterator[tuple[str, Output]]:
    first = next(official.records([path], dict[str, Any]), {})
    rows = list(official.records([path], LlavaAnswer if "text" in first and "answer" not in first else Answer))
    named = [category for category in CATEGORIES if category in path.name]
    for place, row in enumerate(rows):
        category = row.category or (named[0] if len(named) == 1 else None)
        if category is not None and row.question_id is not None:
            yield questions.of_number(category, row.question_id), Output(row.answer)
            continue
        if category is not None:
            sample_id = _in_order(path, place, row, questions.ordered.get(category, ()), len(rows))
        else:
            sample_id = questions.numbered.get(-1 if row.question_id is None else row.question_id, "")
        if not sample_id:
            raise DataError(
                f"{path}, record {place + 1}: nothing tells its category, and question {row.question_id} is not one in "
                f"{LLAVA_QUESTIONS}; add a field `category`, name the file for its category (coco_pope_random.json), "
                f"or give {LLAVA_QUESTIONS} as one more results file"
            )
        if not questions.matches(sample_id, row.question):
            raise DataError(
                f"{path}, record {place + 1}: is an answer to {row.question!r}, and {sample_id} asks "
                f"{questions.samples[sample_id].question!r}; add the fields `category` and `question_id`"
            )
        yield sample_id, Output(row.answer)


def _in_order(path: Path, place: int, row: Answer, ids: Sequence[str], answers: int) -> str:
    """The id of the question in this place."""
    if place >= len(ids) or (row.question is None and answers != len(ids)):
        raise DataError(
            f"{path}: {answers} answers without `question_id` to {len(ids)} questions; without it they are taken in "
            "the questions' order, and none may be missing"
        )
    return ids[place]
