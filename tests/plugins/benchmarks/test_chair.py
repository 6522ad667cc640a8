"""CHAIR's descriptions: which images, which objects they show, and the official figures from files to score."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import DataError, DataSource, FileImage, Output, Pair, Sample
from plugins.benchmarks.chair import Chair
from plugins.benchmarks.coco_captions import coco_captions
from plugins.metrics.chair import Chair as ChairMetric

Write = Callable[[str, Any], Path]

SYNONYMS = "person, man, child\n\nmotorcycle,  motor bike\ndog, puppy \nbus\ntv, television\n"
ROWS = [["person", "man", "child"], ["motorcycle", " motor bike"], ["dog", "puppy"], ["bus"], ["tv", "television"]]
OBJECTS = {"42": ["dog", "person"], "7": [], "3": ["bus"]}
INSTANCES = {
    "images": [{"id": 42}, {"id": 7}, {"id": 3}],
    "categories": [{"id": 1, "name": "person"}, {"id": 6, "name": "bus"}, {"id": 72, "name": "television"}],
    "annotations": [
        {"id": 1, "image_id": 42, "category_id": 72, "bbox": [0, 0, 1, 1]},
        {"id": 2, "image_id": 42, "category_id": 1},
        {"id": 3, "image_id": 42, "category_id": 1},
        {"id": 4, "image_id": 3, "category_id": 6},
    ],
}
CAPTIONS = {
    "images": [{"id": 7}, {"id": 3}, {"id": 42}],
    "annotations": [
        {"image_id": 42, "caption": "A child watches TV with puppies."},
        {"image_id": 3, "caption": "A bus."},
        {"image_id": 7, "caption": "Motor bikes."},
        {"image_id": 3, "caption": "Two men."},
    ],
}


def read(folder: Path, split: str | None = None) -> list[Sample]:
    return list(Chair().samples(DataSource(path=folder, split=split)))


def objects(samples: list[Sample]) -> dict[str, list[str]]:
    return {sample.id: sample.facts["objects"] for sample in samples}


@pytest.mark.parametrize(("synonyms", "ending"), [("synonyms.txt", ""), ("data/synonyms.txt", ".gz")])
def test_objects_by_image(tmp_path: Path, write: Write, synonyms: str, ending: str) -> None:
    write(synonyms, SYNONYMS)
    write(f"image_objects.json{ending}", OBJECTS)
    samples = read(tmp_path)
    assert objects(samples) == OBJECTS
    first = samples[0]
    assert (first.id, first.group, first.question, first.references) == ("42", "42", "", ())
    assert first.images == (FileImage(tmp_path / "val2014" / "COCO_val2014_000000000042.jpg"),)
    assert first.shared == {"synonyms": ROWS}
    assert all(sample.shared is first.shared for sample in samples)
    request = Chair().request(first, "llava")
    assert request.prompt == "Please describe this image in detail."
    assert request.generation.max_new_tokens == 512


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chair_images.json", [{"image_id": 3}, {"image_id": 42}]),
        ("chair_images.jsonl", '{"image_id": 3, "caption": "A dog."}\n{"image_id": 42}\n'),
    ],
)
def test_chosen_images(tmp_path: Path, write: Write, name: str, content: Any) -> None:
    write("synonyms.txt", SYNONYMS)
    write("image_objects.json", OBJECTS)
    path = write(name, content)
    assert objects(read(tmp_path)) == {"3": ["bus"], "42": ["dog", "person"]}
    path.write_text('[{"image_id": 3}, {"image_id": 5}]')
    with pytest.raises(DataError, match="image 5 is to be described, and nothing tells its objects"):
        read(tmp_path)
    path.write_text('[{"image_id": 3}, {"image_id": 3}]')
    with pytest.raises(DataError, match="id 3 is there twice"):
        read(tmp_path)


@pytest.mark.parametrize("folder", ["", "annotations/"])
def test_objects_by_cocos_annotations(tmp_path: Path, write: Write, folder: str) -> None:
    write("synonyms.txt", SYNONYMS)
    write(f"{folder}instances_val2014.json", INSTANCES)
    with pytest.raises(DataError, match=r"no captions_val2014\.json, and segmentations alone"):
        read(tmp_path)
    write(f"{folder}captions_val2014.json", CAPTIONS)
    samples = read(tmp_path)
    # What is segmented, and what captions mention; a "motor bike" is none by the list's slip.
    assert objects(samples) == {"7": [], "3": ["bus", "person"], "42": ["dog", "person", "tv"]}
    assert samples[1].references == ("A bus.", "Two men.")
    asked = coco_captions().samples(DataSource(path=tmp_path))
    assert objects(list(asked)) == objects(samples)


def test_the_training_split(tmp_path: Path, write: Write) -> None:
    write("synonyms.txt", SYNONYMS)
    write("instances_train2014.json", INSTANCES)
    write("captions_train2014.json", CAPTIONS)
    (_, sample, _) = read(tmp_path, "train")
    assert sample.images == (FileImage(tmp_path / "train2014" / "COCO_train2014_000000000003.jpg"),)
    with pytest.raises(DataError, match=r"no file of the objects in each image \(looked for image_objects\.json and"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("instances", "problem"),
    [
        ({"categories": [{"id": 1, "name": "spoon"}]}, "synonyms.txt: has no 'spoon', which is a category of"),
        ({"categories": [{"id": 1, "name": "person"}]}, "an object of category 72, which is not among its categories"),
        ({"annotations": [{"image_id": 1, "category": 1}]}, "no field 'category_id' .did you mean 'category'"),
    ],
)
def test_annotations_that_do_not_match(tmp_path: Path, write: Write, instances: dict[str, Any], problem: str) -> None:
    write("synonyms.txt", SYNONYMS)
    write("instances_val2014.json", INSTANCES | instances)
    with pytest.raises(DataError, match=problem):
        read(tmp_path)


def test_no_list_of_synonyms(tmp_path: Path, write: Write) -> None:
    write("image_objects.json", OBJECTS)
    with pytest.raises(DataError, match=r"no list of synonyms \(looked for synonyms\.txt and data/synonyms\.txt\)"):
        read(tmp_path)
    (tmp_path / "synonyms.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"synonyms\.txt: cannot be read"):
        read(tmp_path)


def test_results(tmp_path: Path, write: Write) -> None:
    data = DataSource(path=tmp_path)
    path = write("a.jsonl", '{"image_id": 42, "caption": "A dog."}\n{"image_id": "3", "caption": ""}\n')
    assert [(name, output.text) for name, output in Chair().results([path], data)] == [("42", "A dog."), ("3", "")]
    path = write("b.json", [{"image_id": 42, "captions": "A dog."}])
    with pytest.raises(DataError, match=r"\[0\]: no field 'caption' \(did you mean 'captions'\?\)"):
        list(Chair().results([path], data))


def test_captions_know_their_objects(tmp_path: Path, write: Write) -> None:
    write("captions_val2014.json", CAPTIONS)
    data = DataSource(path=tmp_path)
    assert all(not sample.facts and not sample.shared for sample in coco_captions().samples(data))
    write("synonyms.txt", SYNONYMS)
    write("image_objects.json", {"3": ["bus", "person"]})
    first, second, _ = coco_captions().samples(data)
    assert (first.facts, second.facts) == ({}, {"objects": ["bus", "person"]})
    said = "A dog by a man."
    assert ChairMetric().compute([Pair(second, said, Output(said))], "official")["chair_i"].value == 1 / 2


def test_real_descriptions(reference: Path, tmp_path: Path) -> None:
    for name in ("synonyms.txt", "image_objects.json.gz"):
        shutil.copy(reference / "chair" / name, tmp_path)
    file = reference / "chair" / "minigpt4_ours.jsonl"
    shutil.copy(file, tmp_path / "chair_images.jsonl")  # a results file names its images
    data = DataSource(path=tmp_path)
    samples = {sample.id: sample for sample in Chair().samples(data)}
    results = dict(Chair().results([file], data))
    assert len(samples) == len(results) == 500
    pairs = [Pair(samples[name], output.text, output) for name, output in results.items()]
    measured = ChairMetric().compute(pairs, "official")
    assert {name: round(100 * (item.value or 0), 4) for name, item in measured.items()} == {
        "chair_s": 23.0, "chair_i": 8.7544, "chair_recall": 60.7612, "hallucination_rate": 23.0
    }  # fmt: skip


def test_objects_of_real_captions(reference: Path, tmp_path: Path, write: Write) -> None:
    """Of COCO's annotations without a segmentation, what is left are the captions: all of it was in the union."""
    truth = json.loads((reference / "okvqa_real" / "captions_val2014.json").read_text())
    write("captions_val2014.json", truth)
    write("instances_val2014.json", {"images": truth["images"], "categories": [], "annotations": []})
    write("synonyms.txt", (reference / "chair" / "synonyms.txt").read_text())
    by_captions = objects(read(tmp_path))
    united = json.loads(gzip.decompress((reference / "chair" / "image_objects.json.gz").read_bytes()))
    assert all(set(names) <= set(united[name]) for name, names in by_captions.items())
    assert (len(by_captions), sum(map(len, by_captions.values()))) == (120, 201)
    write("image_objects.json", united)
    assert objects(read(tmp_path)) == {name: united[name] for name in by_captions}  # the first of the sources
