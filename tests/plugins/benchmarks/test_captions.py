"""NoCaps and COCO Captions, which share their reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import DataError, DataSource, FileImage
from plugins.benchmarks.captions import Captions
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
    assert first.shared is second.shared
    assert not first.shared
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


@pytest.mark.parametrize("benchmark", [coco_captions(), nocaps()])
def test_results(tmp_path: Path, write: Write, benchmark: Captions) -> None:
    rows = [{"image_id": 5, "caption": " A dog. ", "id": 1}, {"image_id": "2", "caption": ""}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    data = DataSource(path=tmp_path)
    for path in (write("results.json", rows), write("results.jsonl.gz", lines)):
        found = [(name, output.text) for name, output in benchmark.results([path, path], data)]
        assert found == [("5", " A dog. "), ("2", "")] * 2


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"imageId": 5, "caption": "A"}, r"no field 'image_id' \(did you mean 'imageId'\?\)"),
        ({"image_id": 5, "caption": None}, "caption: expected `str`, got `null`"),
        ({"image_id": 5, "caption": ["A"]}, "caption: expected `str`, got `array`"),
        ({"image_id": [5], "caption": "A"}, r"image_id: expected `int \| str`, got `array`"),
    ],
)
def test_results_that_are_none(tmp_path: Path, write: Write, row: dict[str, Any], problem: str) -> None:
    path = write("results.json", [{"image_id": 1, "caption": "A"}, row])
    with pytest.raises(DataError, match=rf"{path}: \[1\].*{problem}"):
        list(coco_captions().results([path], DataSource(path=tmp_path)))


def test_the_file_itself_and_a_file_without_images(tmp_path: Path, write: Write) -> None:
    write("captions_val2014.json", {"images": IMAGES, "annotations": CAPTIONS})
    path = write("test_gt.json.gz", {"annotations": CAPTIONS})
    first, second = coco_captions().samples(DataSource(path=path))
    # In the order in which the captions name them.
    assert [(sample.id, sample.references) for sample in (first, second)] == [("2", ("B.", "B again.")), ("5", ("A.",))]
    assert first.images == (FileImage(tmp_path / "val2014" / "COCO_val2014_000000000002.jpg"),)
    assert [sample.id for sample in coco_captions().samples(DataSource(path=tmp_path))] == ["5", "2"]
    (first, _) = nocaps().samples(DataSource(path=path))
    assert first.images == (FileImage(tmp_path / "images" / "2.jpg"),)


def test_the_real_captions(reference: Path) -> None:
    samples = list(coco_captions().samples(DataSource(path=reference / "captions")))
    assert len(samples) == 40504
    assert sum(len(sample.references) for sample in samples) == 202654
    test = coco_captions().samples(DataSource(path=reference / "captions" / "karpathy_test_gt.json.gz"))
    assert sum(len(sample.references) for sample in test) == 25010
    real = coco_captions().samples(DataSource(path=reference / "okvqa_real"))
    assert all(isinstance(image, FileImage) and image.path.is_file() for sample in real for image in sample.images)
