"""NoCaps and COCO Captions, which share their reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import DataError, DataSource, FileImage
from plugins.benchmarks.coco_captions import coco_captions
from plugins.benchmarks.nocaps import nocaps

Write = Callable[[str, Any], Path]

IMAGES = [{"id": 5, "file_name": "0a.jpg", "domain": "near-domain"}, {"id": 2, "file_name": "0b.jpg"}]
CAPTIONS = [{"image_id": 2, "id": 0, "caption": "B."}, {"image_id": 5, "id": 1, "caption": "A."}]
CAPTIONS += [{"image_id": 2, "id": 2, "caption": "B again."}]


def test_captions_are_gathered_in_the_images_order(tmp_path: Path, write: Write) -> None:
    write("nocaps_val_4500_captions.json", {"images": IMAGES, "annotations": CAPTIONS})
    first, second = nocaps().samples(DataSource(path=tmp_path))
    assert (first.id, first.group, first.question, first.references) == ("5", "5", "", ("A.",))
    assert first.images == (FileImage(tmp_path / "images" / "0a.jpg"),)
    assert first.facts == {"domain": "near-domain"}
    assert (second.id, second.references, second.facts) == ("2", ("B.", "B again."), {})
    request = nocaps().request(first, "llava")
    assert request.prompt == "Provide a one-sentence caption for the provided image."
    assert request.generation.max_new_tokens == 64
    assert nocaps().request(first, "plain").prompt == "Describe the image."


@pytest.mark.parametrize("folder", ["", "annotations/"])
def test_coco_names_its_pictures_by_id_where_the_file_does_not(tmp_path: Path, write: Write, folder: str) -> None:
    write(f"{folder}captions_val2014.json", {"images": [{"id": 5}, {"id": 2}], "annotations": CAPTIONS})
    first, _ = coco_captions().samples(DataSource(path=tmp_path))
    assert first.images == (FileImage(tmp_path / "val2014" / "COCO_val2014_000000000005.jpg"),)


def test_several_files_and_none_official(tmp_path: Path, write: Write) -> None:
    for name in ("my_captions_a.json", "my_captions_b.json"):
        write(name, {"images": IMAGES, "annotations": CAPTIONS})
    with pytest.raises(DataError, match=r"there is: my_captions_a\.json, my_captions_b\.json"):
        coco_captions().samples(DataSource(path=tmp_path))


@pytest.mark.parametrize(
    ("images", "captions", "problem"),
    [
        (IMAGES, CAPTIONS[:1], "no captions of image 5"),
        (IMAGES[:1], CAPTIONS, "a caption of image 2, which is not among its images"),
        (IMAGES + IMAGES[:1], CAPTIONS, "id 5 is there twice"),
    ],
)
def test_images_and_captions_must_match(
    tmp_path: Path, write: Write, images: list[Any], captions: list[Any], problem: str
) -> None:
    path = write("nocaps_val_4500_captions.json", {"images": images, "annotations": captions})
    with pytest.raises(DataError, match=f"{path}: {problem}"):
        list(nocaps().samples(DataSource(path=tmp_path)))


def test_the_real_captions(reference: Path) -> None:
    samples = list(coco_captions().samples(DataSource(path=reference / "captions")))
    assert len(samples) == 40504
    assert sum(len(sample.references) for sample in samples) == 202654
    real = coco_captions().samples(DataSource(path=reference / "okvqa_real"))
    assert all(isinstance(image, FileImage) and image.path.is_file() for sample in real for image in sample.images)
