"""Pictures with several reference captions, in COCO's annotation and results formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec

from harness import BenchmarkInfo, DataError, DataSource, FileImage, ImageRef, Json, Output, Sample
from plugins.benchmarks import coco_objects, hub, official
from plugins.benchmarks.prompting import COST, Profile, Prompted

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "llava": Profile("Provide a one-sentence caption for the provided image.", 64),
        "plain": Profile("Describe the image.", 64),
    }
)

ALONE: Mapping[str, Json] = {}
"""What samples share that share nothing."""


class Picture(msgspec.Struct, gc=False):
    id: int
    file_name: str | None = None
    domain: str | None = None


class Caption(msgspec.Struct, gc=False):
    image_id: int
    caption: str


class Captioned(msgspec.Struct):
    annotations: list[Caption]
    images: list[Picture] | None = None


class Result(msgspec.Struct, gc=False):
    image_id: int | str
    caption: str


class Row(msgspec.Struct, gc=False, kw_only=True):
    """A row of a hub dataset; each benchmark's own says what the columns are called."""

    image_id: int | str
    captions: list[str]
    domain: str | None = None


@dataclass(frozen=True, slots=True)
class Captions(Prompted):
    """A benchmark of captions. The data may also be the annotation file itself.

    Facts: domain, where the data has it; objects and shared synonyms, where their files lie beside the captions.

    Attributes:
        names: patterns of the official annotation file below the folder; `{split}` stands for the split.
        folder: of the pictures.
        file_name: of a picture whose record names none; `{id}` and `{split}` are filled in.
        row: the columns of the hub's copy.
        image_of_row: the image's id in the one that a row has.
        coco: whether the pictures are COCO's, whose objects are known.
    """

    names: tuple[str, ...]
    folder: str
    file_name: str
    row: type[Row]
    image_of_row: Callable[[str], str] = str
    coco: bool = False

    @property
    def info(self) -> BenchmarkInfo:
        return BenchmarkInfo(
            version="1",
            metrics=("cider", "bleu", "rouge_l", "meteor", *(("chair",) if self.coco else ()), *COST),
            profiles=tuple(self.profiles),
            protocols=("official",),
            split="val",
        )

    def samples(self, data: DataSource) -> Iterable[Sample]:
        default = self.info.split
        if hub.is_dataset(data, data.config):
            table = hub.open_table(data, default, data.config)
            return official.distinct(self._rows(table), table.place)
        if data.path is not None and data.path.is_file():
            path, root = data.path, data.path.parent
        else:
            path, root = official.find(data, default, self.names, "*captions*.json"), official.folder(data)
        return official.distinct(self._files(path, root, data.split or default), path)

    def results(self, paths: Sequence[Path], data: DataSource) -> Iterable[tuple[str, Output]]:
        """`[{"image_id", "caption"}]`, or JSON lines."""
        return results(paths)

    def _files(self, path: Path, root: Path, split: str) -> Iterator[Sample]:
        known = coco_objects.read(root, split) if self.coco and coco_objects.are_there(root, split) else None
        images = root / self.folder.format(split=split)
        for picture, captions in gathered(path):
            name = picture.file_name or self.file_name.format(id=picture.id, split=split)
            facts: dict[str, Json] = {"domain": picture.domain}
            if known is not None:
                facts["objects"] = known.of(str(picture.id), captions)
            yield _sample(str(picture.id), FileImage(images / name), captions, facts, known.shared if known else ALONE)

    def _rows(self, table: hub.Table) -> Iterator[Sample]:
        for number, row in table.rows(self.row):
            image_id = self.image_of_row(str(row.image_id))
            yield _sample(image_id, table.image(number), row.captions, {"domain": row.domain}, ALONE)


def gathered(path: Path) -> Iterator[tuple[Picture, list[str]]]:
    """The pictures of an annotation file with their captions, in the file's order.

    A file that lists no pictures has them in the order in which the captions name them.

    Raises:
        DataError: the pictures and the captions do not match.
    """
    document = official.read(path, Captioned)
    pictures = document.images
    if pictures is None:
        pictures = [Picture(image_id) for image_id in dict.fromkeys(row.image_id for row in document.annotations)]
    captions: dict[int, list[str]] = {picture.id: [] for picture in pictures}
    for caption in document.annotations:
        if caption.image_id not in captions:
            raise DataError(f"{path}: a caption of image {caption.image_id}, which is not among its images")
        captions[caption.image_id].append(caption.caption)
    for picture in pictures:
        if not captions[picture.id]:
            raise DataError(f"{path}: no captions of image {picture.id}")
        yield picture, captions[picture.id]


def results(paths: Sequence[Path]) -> Iterator[tuple[str, Output]]:
    """What results files say of images."""
    for row in official.records(paths, Result):
        yield str(row.image_id), Output(row.caption)


def _sample(
    image_id: str, image: ImageRef, captions: Sequence[str], facts: Mapping[str, Json], shared: Mapping[str, Json]
) -> Sample:
    return Sample(
        id=image_id,
        images=(image,),
        question="",
        references=tuple(captions),
        group=image_id,
        facts={name: value for name, value in facts.items() if value is not None},
        shared=shared,
    )
