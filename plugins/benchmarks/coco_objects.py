"""Which of COCO's objects a picture shows, for CHAIR: by its segmentations and its reference captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import DataError, Json
from plugins.benchmarks import official
from plugins.metrics.chair_words import Mentions

SYNONYMS = ("synonyms.txt", "data/synonyms.txt")
OBJECTS = ("image_objects.json",)
INSTANCES = ("annotations/instances_{split}2014.json", "instances_{split}2014.json")
CAPTIONS = ("annotations/captions_{split}2014.json", "captions_{split}2014.json")


class Category(msgspec.Struct, gc=False):
    id: int
    name: str


class Instance(msgspec.Struct, gc=False):
    image_id: int
    category_id: int


class Picture(msgspec.Struct, gc=False):
    id: int


class Instances(msgspec.Struct):
    images: list[Picture]
    categories: list[Category]
    annotations: list[Instance]


@dataclass(frozen=True, slots=True)
class Objects:
    """What is known of the pictures' objects.

    Attributes:
        of: an image's id and its reference captions -> its objects' names, sorted; None where nothing is known of it.
        ids: of all images that something is known of.
        shared: what samples share: `synonyms`, the rows of the list.
    """

    of: Callable[[str, Sequence[str]], list[str] | None]
    ids: Sequence[str]
    shared: Mapping[str, Json]


def read(root: Path, split: str) -> Objects:
    """The objects by `image_objects.json` (image id -> names), else by COCO's annotations of the split.

    By the annotations, an object is there that has a segmentation or is mentioned in a reference caption.

    Raises:
        DataError: a file is not there or not of its layout.
    """
    synonyms_file = found(root, SYNONYMS, split)
    if synonyms_file is None:
        raise _absent(root, split, "list of synonyms", SYNONYMS)
    synonyms = list(_rows(synonyms_file))
    shared = {"synonyms": synonyms}
    if path := found(root, OBJECTS, split):
        known = official.read(path, dict[str, list[str]])
        return Objects(lambda image_id, captions: known.get(image_id), list(known), shared)
    if path := found(root, INSTANCES, split):
        segmented = _segmented(path, synonyms, synonyms_file)
        mentions = Mentions(synonyms)

        def of(image_id: str, captions: Sequence[str]) -> list[str] | None:
            if image_id not in segmented:
                return None
            named = (name for caption in captions for name in mentions.find(caption))
            return sorted(segmented[image_id].union(named))

        return Objects(of, list(segmented), shared)
    raise _absent(root, split, "file of the objects in each image", OBJECTS + INSTANCES)


def are_there(root: Path, split: str) -> bool:
    """Whether `read` would find what it needs."""
    return found(root, SYNONYMS, split) is not None and found(root, OBJECTS + INSTANCES, split) is not None


def found(root: Path, names: Sequence[str], split: str) -> Path | None:
    """The first of these files that is there, plain or gzipped."""
    paths = (root / (name.format(split=split) + end) for name in names for end in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def _rows(path: Path) -> Iterator[list[str]]:
    """The list as its authors read it: a comma and one space part the entries, a second space belongs to one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    return (line.strip().split(", ") for line in lines if line.strip())


def _segmented(path: Path, synonyms: Sequence[Sequence[str]], synonyms_file: Path) -> dict[str, set[str]]:
    """Image id -> the names of what is segmented in it."""
    document = official.read(path, Instances)
    names = {entry: row[0] for row in synonyms for entry in row}
    objects: dict[int, str] = {}
    for category in document.categories:
        if category.name not in names:
            raise DataError(f"{synonyms_file}: has no {category.name!r}, which is a category of {path}")
        objects[category.id] = names[category.name]
    segmented: dict[str, set[str]] = {str(picture.id): set() for picture in document.images}
    for instance in document.annotations:
        name = objects.get(instance.category_id)
        if name is None:
            raise DataError(f"{path}: an object of category {instance.category_id}, which is not among its categories")
        segmented.setdefault(str(instance.image_id), set()).add(name)
    return segmented


def _absent(root: Path, split: str, what: str, names: Sequence[str]) -> DataError:
    wanted = " and ".join(name.format(split=split) for name in names)
    return DataError(f"{root}: no {what} (looked for {wanted}); {official.ELSEWHERE}")
