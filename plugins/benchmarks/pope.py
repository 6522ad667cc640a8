"""POPE (Li et al., 2023): is there such an object in the photograph? 9,000 questions about 500 images of COCO."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import msgspec

from harness import BenchmarkInfo, DataError, DataSource, FileImage, ImageRef, Output, Sample
from plugins.benchmarks import hub, official, pope_results
from plugins.benchmarks.pope_results import CATEGORIES
from plugins.benchmarks.prompting import COST, SHORT_ANSWER, Profile, Prompted

FOLDERS = (".", "output/coco", "coco")


class Question(msgspec.Struct, gc=False):
    question_id: int
    image: str
    text: str
    label: str


class Row(msgspec.Struct, gc=False):
    """A row of the hub's copy."""

    question_id: int | str
    question: str
    answer: str
    category: str
    image_source: str


@dataclass(frozen=True, slots=True)
class Pope(Prompted):
    """Questions that are answered yes or no. Facts: category.

    Each category's file counts its questions from 1, so an id is `category/question_id`. A split that is named as a
    category is this category alone.
    """

    profiles: Mapping[str, Profile] = field(default_factory=lambda: SHORT_ANSWER)

    @property
    def info(self) -> BenchmarkInfo:
        return BenchmarkInfo(
            version="1",
            metrics=("pope", *COST),
            profiles=tuple(self.profiles),
            protocols=("lmms", "official"),
            split="test",
        )

    def samples(self, data: DataSource) -> Iterable[Sample]:
        if hub.is_dataset(data, data.config):
            table = hub.open_table(data, self.info.split, data.config)
            return official.distinct(_rows(table), table.place)
        root = official.folder(data)
        categories = CATEGORIES if data.split in (None, self.info.split) else (str(data.split),)
        return official.distinct(_files(root, categories), root)

    def results(self, paths: Sequence[Path], data: DataSource) -> Iterable[tuple[str, Output]]:
        """POPE's own layout, a file a category, or LLaVA's; see `pope_results.read`."""
        return pope_results.read(paths, list(self.samples(data)), data.path)


def _files(root: Path, categories: Iterable[str]) -> Iterator[Sample]:
    for category in categories:
        name = f"coco_pope_{category}.json"
        paths = [root / folder / (name + end) for folder in FOLDERS for end in ("", ".gz")]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise DataError(f"{root}: no {name}, neither there nor in {' or '.join(FOLDERS[1:])}; {official.ELSEWHERE}")
        for row in official.records([path], Question):
            image = FileImage(root / "val2014" / row.image)
            yield _sample(category, row.question_id, row.image, image, row.text, row.label)


def _rows(table: hub.Table) -> Iterator[Sample]:
    for number, row in table.rows(Row):
        yield _sample(row.category, row.question_id, row.image_source, table.image(number), row.question, row.answer)


def _sample(category: str, number: int | str, file: str, image: ImageRef, question: str, label: str) -> Sample:
    return Sample(
        id=f"{category}/{number}",
        images=(image,),
        question=question,
        references=(label,),
        group=PurePosixPath(file).stem,
        facts={"category": category},
    )
