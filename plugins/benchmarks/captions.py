"""Pictures with several reference captions, in COCO's annotation format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec

from harness import BenchmarkInfo, DataError, DataSource, FileImage, Sample
from plugins.benchmarks import hub, official
from plugins.benchmarks.prompting import Profile, Prompted

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "llava": Profile("Provide a one-sentence caption for the provided image.", 64),
        "plain": Profile("Describe the image.", 64),
    }
)


class Picture(msgspec.Struct, gc=False):
    id: int
    file_name: str | None = None
    domain: str | None = None


class Caption(msgspec.Struct, gc=False):
    image_id: int
    caption: str


class Captioned(msgspec.Struct):
    images: list[Picture]
    annotations: list[Caption]


class Row(msgspec.Struct, gc=False, kw_only=True):
    """A row of a hub dataset; each benchmark's own says what the columns are called."""

    image_id: int | str
    captions: list[str]
    domain: str | None = None


@dataclass(frozen=True, slots=True)
class Captions(Prompted):
    """A benchmark of captions. Facts: domain, where the data has it.

    Attributes:
        names: patterns of the official annotation file below the folder; `{split}` stands for the split.
        folder: of the pictures.
        file_name: of a picture whose record names none; `{id}` and `{split}` are filled in.
        row: the columns of the hub's copy.
        image_of_row: the image's id in the one that a row has.
    """

    names: tuple[str, ...]
    folder: str
    file_name: str
    row: type[Row]
    image_of_row: Callable[[str], str] = str

    @property
    def info(self) -> BenchmarkInfo:
        return BenchmarkInfo(
            version="1",
            metrics=("cider", "bleu", "rouge_l", "meteor", "compression", "tokens"),
            profiles=tuple(self.profiles),
            protocols=("official",),
            split="val",
        )

    def samples(self, data: DataSource) -> Iterable[Sample]:
        split = self.info.split
        if hub.is_dataset(data, data.config):
            table = hub.open_table(data, split, data.config)
            return official.distinct(self._rows(table), table.place)
        path = official.find(data, split, self.names, "*captions*.json")
        root = official.folder(data) / self.folder.format(split=data.split or split)
        return official.distinct(self._files(path, root, data.split or split), path)

    def _files(self, path: Path, images: Path, split: str) -> Iterator[Sample]:
        document = official.read(path, Captioned)
        captions: dict[int, list[str]] = {picture.id: [] for picture in document.images}
        for caption in document.annotations:
            if caption.image_id not in captions:
                raise DataError(f"{path}: a caption of image {caption.image_id}, which is not among its images")
            captions[caption.image_id].append(caption.caption)
        for picture in document.images:
            if not captions[picture.id]:
                raise DataError(f"{path}: no captions of image {picture.id}")
            name = picture.file_name or self.file_name.format(id=picture.id, split=split)
            yield _sample(str(picture.id), FileImage(images / name), captions[picture.id], picture.domain)

    def _rows(self, table: hub.Table) -> Iterator[Sample]:
        for number, row in table.rows(self.row):
            image_id = self.image_of_row(str(row.image_id))
            yield _sample(image_id, table.image(number), row.captions, row.domain)


def _sample(image_id: str, image: FileImage | hub.RowImage, captions: list[str], domain: str | None) -> Sample:
    return Sample(
        id=image_id,
        images=(image,),
        question="",
        references=tuple(captions),
        group=image_id,
        facts={} if domain is None else {"domain": domain},
    )
