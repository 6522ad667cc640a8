"""Caption benchmarks in their official file layouts: COCO with its instances, NoCaps, and POPE's polls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from .captions import captions
from .dice import Dice
from .layout import INFO, LICENSE, SPLITS, Picture, Record, link, write_json
from .outlines import outline
from .pope import SAMPLINGS, Frequencies, poll
from .scene import KINDS, NOVEL_KINDS, SIDE

COCO_CAPTIONS, NOCAPS_CAPTIONS = 5, 10
"""Captions a picture."""

CATEGORIES = [
    {"supercategory": "shape", "id": number, "name": kind}
    for number, kind in enumerate((*KINDS, *NOVEL_KINDS), start=1)
]


class CocoCaptions:
    """COCO: a captions and an instances file a split."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._pictures: dict[str, list[Picture]] = {split: [] for split in SPLITS}

    def add(self, picture: Picture) -> None:
        self._pictures[picture.split].append(picture)
        link(picture.jpeg, self._folder / f"{picture.split}2014" / picture.coco_name)

    def write(self) -> dict[str, int]:
        counts = {}
        for split in SPLITS:
            pictures = self._pictures[split]
            head = {
                "info": INFO,
                "images": [_image(picture) for picture in pictures],
                "licenses": [{"id": 1, **LICENSE}],
            }
            told = [
                (picture.image_id, caption)
                for picture in pictures
                for caption in captions(
                    picture.view.scene, COCO_CAPTIONS, Dice(self._seed, "coco_captions", picture.image_id)
                )
            ]
            write_json(
                self._folder / "annotations" / f"captions_{split}2014.json",
                {
                    **head,
                    "annotations": [
                        {"image_id": image_id, "id": number, "caption": caption}
                        for number, (image_id, caption) in enumerate(told, start=1)
                    ],
                },
            )
            write_json(
                self._folder / "annotations" / f"instances_{split}2014.json",
                {
                    **head,
                    "annotations": _instances(pictures),
                    "categories": CATEGORIES,
                },
            )
            counts[f"{split}_captions"] = len(told)
        return counts


class Nocaps:
    """NoCaps: one captions file with each picture's domain."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._images: list[Record] = []
        self._annotations: list[Record] = []

    def add(self, picture: Picture) -> None:
        name = hashlib.sha256(f"{self._seed}/nocaps/{picture.image_id}".encode()).hexdigest()[:16]
        image_id = len(self._images)
        self._images.append(
            {
                "license": 0,
                "open_images_id": name,
                "file_name": f"{name}.jpg",
                "coco_url": "",
                "height": SIDE,
                "width": SIDE,
                "date_captured": "",
                "id": image_id,
                "domain": picture.view.scene.domain,
            }
        )
        for caption in captions(picture.view.scene, NOCAPS_CAPTIONS, Dice(self._seed, "nocaps", picture.image_id)):
            self._annotations.append({"image_id": image_id, "id": len(self._annotations), "caption": caption})
        link(picture.jpeg, self._folder / "images" / f"{name}.jpg")

    def write(self) -> dict[str, int]:
        write_json(
            self._folder / "nocaps_val_4500_captions.json",
            {
                "licenses": [{"id": 0, **LICENSE}],
                "info": INFO,
                "images": self._images,
                "annotations": self._annotations,
            },
        )
        domains = [image["domain"] for image in self._images]
        return {domain: domains.count(domain) for domain in ("in-domain", "near-domain", "out-domain")}


class Pope:
    """POPE: three files of JSON lines on the evaluation pictures."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._kinds: dict[str, list[tuple[str, list[str]]]] = {split: [] for split in SPLITS}

    def add(self, picture: Picture) -> None:
        self._kinds[picture.split].append((picture.coco_name, picture.kinds()))
        if picture.split == "val":
            link(picture.jpeg, self._folder / "val2014" / picture.coco_name)

    def write(self) -> dict[str, int]:
        self._folder.mkdir(parents=True, exist_ok=True)
        frequencies = Frequencies(kinds for _, kinds in self._kinds["train"])
        counts = {}
        for sampling in SAMPLINGS:
            records = poll(sampling, self._kinds["val"], frequencies, self._seed)
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (self._folder / f"coco_pope_{sampling}.json").write_text(lines, encoding="utf-8")
            counts[sampling] = len(records)
        return counts


def _image(picture: Picture) -> Record:
    return {
        "license": 1,
        "file_name": picture.coco_name,
        "coco_url": "",
        "height": SIDE,
        "width": SIDE,
        "date_captured": "",
        "flickr_url": "",
        "id": picture.image_id,
    }


def _instances(pictures: Sequence[Picture]) -> list[Record]:
    records: list[Record] = []
    numbers = {category["name"]: category["id"] for category in CATEGORIES}
    for picture in pictures:
        for thing in picture.view.scene.things:
            points = outline(thing)
            records.append(
                {
                    "segmentation": [[value for point in points for value in point]],
                    "area": _area(points),
                    "iscrowd": 0,
                    "image_id": picture.image_id,
                    "bbox": [thing.x, thing.y, thing.extent, thing.extent],
                    "category_id": numbers[thing.shape],
                    "id": len(records) + 1,
                }
            )
    return records


def _area(points: Sequence[tuple[int, int]]) -> float:
    """A polygon's area by the shoelace formula."""
    following = [*points[1:], points[0]]
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, following, strict=True))) / 2
