"""The embedded world's captions, instances and polls: true to their scenes, in the official layouts."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from training.microworld import build

KNOWN = ("square", "circle", "triangle", "diamond", "cross", "ring")
NOVEL = ("star", "heart", "moon", "arrow")
KIND = re.compile(rf"\b({'|'.join(KNOWN + NOVEL)})\b")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("microworld") / "world"
    build(out, images=60, evaluation_images=40, seed=3)
    return out


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def kinds_by_image(path: Path) -> dict[int, set[str]]:
    content = load(path)
    names = {category["id"]: category["name"] for category in content["categories"]}
    found: dict[int, set[str]] = {image["id"]: set() for image in content["images"]}
    for instance in content["annotations"]:
        found[instance["image_id"]].add(names[instance["category_id"]])
    return found


@pytest.mark.parametrize("split", ["train", "val"])
def test_captions_are_five_a_picture_and_true(world: Path, split: str) -> None:
    content = load(world / f"coco_captions/annotations/captions_{split}2014.json")
    graphs = load(world / f"gqa/{'train' if split == 'train' else 'testdev'}_sceneGraphs.json")
    assert Counter(caption["image_id"] for caption in content["annotations"]) == {
        image["id"]: 5 for image in content["images"]
    }
    for caption in content["annotations"]:
        graph = graphs[str(caption["image_id"])]
        text = caption["caption"]
        shown = {(color, thing["name"]) for thing in graph["objects"].values() for color in thing["attributes"]}
        named = re.findall(r"(\w+) (square|circle|triangle|diamond|cross|ring)\b", text)
        assert named
        assert set(named) <= shown
        assert not set(KIND.findall(text)) & set(NOVEL)
        assert set(re.findall("sunny|cloudy", text)) <= {graph["weather"]}
        assert set(re.findall("beach|field|street|deck|pool", text)) <= {graph["location"]}
        for number, word in enumerate(("three", "four", "five", "six"), start=3):
            assert word not in text.lower() or number == len(graph["objects"])


def test_instances_fit_the_scene_graphs(world: Path) -> None:
    content = load(world / "coco_captions/annotations/instances_val2014.json")
    graphs = load(world / "gqa/testdev_sceneGraphs.json")
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert set(names.values()) == {*KNOWN, *NOVEL}
    found: dict[str, list[tuple[str, list[int]]]] = {}
    for instance in content["annotations"]:
        x, y, w, h = instance["bbox"]
        flat = instance["segmentation"][0]
        assert all(x <= value <= x + w for value in flat[::2])
        assert all(y <= value <= y + h for value in flat[1::2])
        assert 0.15 * w * h < instance["area"] <= w * h
        found.setdefault(str(instance["image_id"]), []).append((names[instance["category_id"]], instance["bbox"]))
    assert found == {
        image: [(thing["name"], [thing[key] for key in "xywh"]) for thing in graph["objects"].values()]
        for image, graph in graphs.items()
    }


def test_nocaps_has_ten_captions_a_picture_and_its_domains_are_true(world: Path) -> None:
    content = load(world / "nocaps/nocaps_val_4500_captions.json")
    assert Counter(image["domain"] for image in content["images"]) == {
        "in-domain": 8,
        "near-domain": 4,
        "out-domain": 4,
    }
    told: dict[int, list[str]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        told[annotation["image_id"]].append(annotation["caption"])
    for image in content["images"]:
        assert (world / "nocaps/images" / image["file_name"]).is_file()
        assert len(told[image["id"]]) == 10
        assert len(set(told[image["id"]])) == 10
        kinds = set(KIND.findall(" ".join(told[image["id"]])))
        expected = {"in-domain": (True, False), "near-domain": (True, True), "out-domain": (False, True)}[
            image["domain"]
        ]
        assert (bool(kinds & set(KNOWN)), bool(kinds & set(NOVEL))) == expected


@pytest.mark.parametrize("sampling", ["random", "popular", "adversarial"])
def test_pope_is_even_true_and_sampled_as_named(world: Path, sampling: str) -> None:
    train = kinds_by_image(world / "coco_captions/annotations/instances_train2014.json")
    val = kinds_by_image(world / "coco_captions/annotations/instances_val2014.json")
    lines = (world / f"pope/coco_pope_{sampling}.json").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["question_id"] for record in records] == list(range(1, len(records) + 1))
    assert [record["label"] for record in records] == ["yes", "no"] * (len(records) // 2)
    asked: dict[int, dict[str, str]] = {}
    for record in records:
        found = re.fullmatch(r"Is there (?:a|an) (\w+) in the image\?", record["text"])
        assert found is not None
        image = int(record["image"].removesuffix(".jpg")[-12:])
        assert (found[1] in val[image]) == (record["label"] == "yes")
        asked.setdefault(image, {})[found[1]] = record["label"]
    assert len(asked) == 32

    def weight(image: int, kind: str) -> int:
        if sampling == "popular":
            return sum(kind in kinds for kinds in train.values())
        if sampling == "adversarial":
            return sum(len(kinds & val[image]) for kinds in train.values() if kind in kinds)
        return 0

    for image, labels in asked.items():
        assert len(labels) == 2 * min(3, len(val[image]))
        taken = [kind for kind, label in labels.items() if label == "no"]
        left = [kind for kind in (*KNOWN, *NOVEL) if kind not in val[image] and kind not in taken]
        assert min(weight(image, kind) for kind in taken) >= max(weight(image, kind) for kind in left)
