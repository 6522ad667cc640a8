"""GQA (Hudson and Manning, 2019), https://cs.stanford.edu/people/dorarad/gqa: 12,578 questions in testdev_balanced."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from harness import BenchmarkInfo, DataError, DataSource, FileImage, ImageRef, Json, Output, Sample
from plugins.benchmarks import gqa_records, gqa_results, hub, official
from plugins.benchmarks.prompting import COST, SHORT_ANSWER, Profile, Prompted


class Row(gqa_records.Question, gc=False, kw_only=True):
    id: str


class Picture(msgspec.Struct, gc=False):
    id: str


@dataclass(frozen=True, slots=True)
class Gqa(Prompted):
    """One answer a question. The split `testdev` is testdev_balanced; `testdev_all` has the unbalanced ones too.

    Facts, in the official files' words: types (structural, semantic, detailed), fullAnswer, isBalanced, entailed and
    equivalent (ids of questions), group (`groups.global`), steps (of the functional program, as eval.py counts them),
    objects (ids that question and full answer point to, with repetitions), and where there is a file of choices,
    valid and plausible: places in `shared["choices"]`.

    Shared: choices (distinct lists of answers) where `SPLIT_choices.json` is there, and scenes (picture -> its size,
    and the boxes of the objects that questions point to) where `SPLIT_sceneGraphs.json` is.
    """

    profiles: Mapping[str, Profile] = field(default_factory=lambda: SHORT_ANSWER)

    @property
    def info(self) -> BenchmarkInfo:
        return BenchmarkInfo(
            version="2",
            metrics=("gqa_accuracy", "gqa_companions", "gqa_grounding", *COST),
            profiles=tuple(self.profiles),
            protocols=("lmms", "official"),
            split="testdev",
        )

    def samples(self, data: DataSource) -> Iterable[Sample]:
        split = data.split or self.info.split
        named = split if split.endswith(("_balanced", "_all")) else f"{split}_balanced"
        config = data.config or f"{named}_instructions"
        if hub.is_dataset(data, config):
            # A dataset of the hub has balanced and all questions in configs of their own, each with the plain split.
            split = split.removesuffix("_balanced").removesuffix("_all")
            data = replace(data, split=data.split and split)
            table = hub.open_table(data, split, config)
            return official.distinct(_rows(table, _pictures(table, data, split, config)), table.place)
        name = "{split}_questions.json" if named == split else "{split}_balanced_questions.json"
        path = official.find(data, self.info.split, [name, f"questions*/{name}"], "*questions.json")
        return _files(path, official.folder(data))

    def results(self, paths: Sequence[Path], data: DataSource) -> Iterable[tuple[str, Output]]:
        """`[{"questionId", "prediction"}]`, then files of `[{"questionId", "attention"}]`: see `read_attention`."""
        return gqa_results.read_results(paths)


def _files(path: Path, root: Path) -> Iterator[Sample]:
    records = official.read(path, dict[str, msgspec.Raw])
    shared: dict[str, Json] = {}
    places: dict[str, tuple[int, int]] = {}
    if found := gqa_records.beside(root, path, "choices"):
        shared["choices"], places = gqa_records.read_choices(found, records)
    if found := gqa_records.beside(root, path, "sceneGraphs"):
        shared["scenes"] = gqa_records.read_scenes(found, _pointed_to(records, path))
    for key, question in gqa_records.decoded(records, gqa_records.Record, f"{path}: question"):
        facts: dict[str, Json] = {} if question.annotations is None else {"objects": question.annotations.objects}
        if key in places:
            facts["valid"], facts["plausible"] = places[key]
        image = FileImage(root / "images" / f"{question.image_id}.jpg")
        yield _sample(key, question, image, facts, shared)


def _pointed_to(records: Mapping[str, msgspec.Raw], path: Path) -> dict[str, dict[str, None]]:
    """Picture -> the objects that questions point to, in order."""
    wanted: dict[str, dict[str, None]] = {}
    for _, question in gqa_records.decoded(records, gqa_records.Pointing, f"{path}: question"):
        objects = [] if question.annotations is None else question.annotations.objects
        wanted.setdefault(question.image_id, {}).update(dict.fromkeys(objects))
    return wanted


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
        yield _sample(row.id, row, image, {}, {})


def _sample(
    question_id: str,
    question: gqa_records.Question,
    image: ImageRef,
    facts: Mapping[str, Json],
    shared: Mapping[str, Json],
) -> Sample:
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
            "steps": question.steps,
            **facts,
        },
        shared=shared,
    )


def _ids(ids: list[str] | str) -> list[str]:
    return ids if isinstance(ids, list) else re.findall(r"\w+", ids)
