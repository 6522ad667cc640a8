"""GQA (Hudson and Manning, 2019), https://cs.stanford.edu/people/dorarad/gqa: 12,578 questions in testdev_balanced."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from harness import BenchmarkInfo, DataError, DataSource, FileImage, ImageRef, Sample
from plugins.benchmarks import hub, official
from plugins.benchmarks.prompting import SHORT_ANSWER, Profile, Prompted


class Types(msgspec.Struct, gc=False):
    structural: str | None = None
    semantic: str | None = None
    detailed: str | None = None


class Groups(msgspec.Struct, gc=False, rename={"all": "global"}):
    all: str | None = None


class Question(msgspec.Struct, gc=False, rename="camel"):
    """A question as the official files have it; the hub's copy writes lists of ids as text."""

    image_id: str
    question: str
    answer: str
    types: Types = msgspec.field(default_factory=Types)
    groups: Groups = msgspec.field(default_factory=Groups)
    full_answer: str | None = None
    is_balanced: bool = True
    entailed: list[str] | str = msgspec.field(default_factory=list)
    equivalent: list[str] | str = msgspec.field(default_factory=list)
    semantic: list[Any] = msgspec.field(default_factory=list)


class Row(Question, gc=False, kw_only=True):
    id: str


class Picture(msgspec.Struct, gc=False):
    id: str


@dataclass(frozen=True, slots=True)
class Gqa(Prompted):
    """One answer a question. Facts, in the official files' words:

    types (structural, semantic, detailed), fullAnswer, isBalanced, entailed and equivalent (ids of questions),
    group (`groups.global`), steps (of the functional program).
    """

    profiles: Mapping[str, Profile] = field(default_factory=lambda: SHORT_ANSWER)

    @property
    def info(self) -> BenchmarkInfo:
        return BenchmarkInfo(
            version="1",
            metrics=("gqa_accuracy", "compression", "tokens"),
            profiles=tuple(self.profiles),
            protocols=("lmms", "official"),
            split="testdev",
        )

    def samples(self, data: DataSource) -> Iterable[Sample]:
        split = data.split or self.info.split
        config = data.config or f"{split}_balanced_instructions"
        if hub.is_dataset(data, config):
            table = hub.open_table(data, split, config)
            return official.distinct(_rows(table, _pictures(table, data, split, config)), table.place)
        name = "{split}_balanced_questions.json"
        path = official.find(data, self.info.split, [name, f"questions*/{name}"], "*questions.json")
        return _files(path, official.folder(data) / "images")


def _files(path: Path, images: Path) -> Iterator[Sample]:
    decoder = msgspec.json.Decoder(Question)
    for key, raw in official.read(path, dict[str, msgspec.Raw]).items():
        try:
            question = decoder.decode(raw)
        except msgspec.ValidationError as error:
            raise DataError(f"{path}: question {key}: {official.explain(str(error), bytes(raw))}") from error
        yield _sample(key, question, FileImage(images / f"{question.image_id}.jpg"))


def _pictures(questions: hub.Table, data: DataSource, split: str, config: str) -> Mapping[str, hub.RowImage]:
    """Image id -> picture: the hub keeps the pictures of each set of questions in a config of their own."""
    if questions.has_images:
        return {}
    table = hub.open_table(data, split, config.replace("_instructions", "_images"))
    return {row.id: table.image(number) for number, row in table.rows(Picture)}


def _rows(table: hub.Table, pictures: Mapping[str, hub.RowImage]) -> Iterator[Sample]:
    for number, row in table.rows(Row):
        image = table.image(number) if table.has_images else pictures.get(row.image_id)
        if image is None:
            raise DataError(f"{table.place}, row {number}: no picture {row.image_id!r} in the config of the images")
        yield _sample(row.id, row, image)


def _sample(question_id: str, question: Question, image: ImageRef) -> Sample:
    return Sample(
        id=question_id,
        images=(image,),
        question=question.question,
        references=(question.answer,),
        group=question.image_id,
        facts={
            "types": msgspec.structs.asdict(question.types),
            "fullAnswer": question.full_answer,
            "isBalanced": question.is_balanced,
            "entailed": _ids(question.entailed),
            "equivalent": _ids(question.equivalent),
            "group": question.groups.all,
            "steps": len(question.semantic),
        },
    )


def _ids(ids: list[str] | str) -> list[str]:
    return ids if isinstance(ids, list) else re.findall(r"\w+", ids)
