"""CHAIR (Rohrbach et al., 2018): photographs of COCO described at length, against the objects that they show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import msgspec

from harness import BenchmarkInfo, DataError, DataSource, FileImage, Output, Sample
from plugins.benchmarks import captions, coco_objects, official
from plugins.benchmarks.coco_objects import found
from plugins.benchmarks.prompting import COST, Profile, Prompted

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "llava": Profile("Please describe this image in detail.", 512),
        "plain": Profile("Describe the image in detail.", 512),
    }
)
CHOSEN = ("chair_images.json", "chair_images.jsonl")


class Chosen(msgspec.Struct, gc=False):
    image_id: int


@dataclass(frozen=True, slots=True)
class Chair(Prompted):
    """Descriptions of images. Facts: objects, the names of those that are there; shared: synonyms.

    Which images are asked about is a choice of each publication: they are the records of `chair_images.json`
    (`[{"image_id"}]`, or JSON lines, other fields being passed over), else the images of the split's caption file,
    else all whose objects are known.
    """

    profiles: Mapping[str, Profile] = field(default_factory=lambda: PROFILES)

    @property
    def info(self) -> BenchmarkInfo:
        return BenchmarkInfo(
            version="1",
            metrics=("chair", *COST),
            profiles=tuple(self.profiles),
            protocols=("official", "corrected"),
            split="val",
        )

    def samples(self, data: DataSource) -> Iterable[Sample]:
        root = official.folder(data)
        split = data.split or self.info.split
        objects = coco_objects.read(root, split)
        file = found(root, coco_objects.CAPTIONS, split)
        if file is None and found(root, coco_objects.OBJECTS, split) is None:
            raise DataError(
                f"{root}: no captions_{split}2014.json, and segmentations alone are not all that is there; add COCO's "
                "caption annotations"
            )
        references = {str(picture.id): said for picture, said in captions.gathered(file)} if file else {}
        chosen = found(root, CHOSEN, split)
        ids: Iterable[str] = references or objects.ids
        if chosen is not None:
            ids = (str(record.image_id) for record in official.records([chosen], Chosen))
        return official.distinct(_samples(ids, objects, references, root / f"{split}2014", split), chosen or root)

    def results(self, paths: Sequence[Path], data: DataSource) -> Iterable[tuple[str, Output]]:
        """`[{"image_id", "caption"}]`, or JSON lines."""
        return captions.results(paths)


def _samples(
    ids: Iterable[str],
    objects: coco_objects.Objects,
    references: Mapping[str, Sequence[str]],
    images: Path,
    split: str,
) -> Iterator[Sample]:
    for image_id in ids:
        said = references.get(image_id, ())
        there = objects.of(image_id, said)
        if there is None:
            raise DataError(
                f"{images.parent}: image {image_id} is to be described, and nothing tells its objects; take it out of "
                f"{CHOSEN[0]}, or look for the split that it belongs to"
            )
        yield Sample(
            id=image_id,
            images=(FileImage(images / f"COCO_{split}2014_{image_id:0>12}.jpg"),),
            question="",
            references=tuple(said),
            group=image_id,
            facts={"objects": there},
            shared=objects.shared,
        )
