"""The embedded world's VQAv2 and OK-VQA questions against their scene graphs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from training.microworld import build

Record = dict[str, Any]

CLASS = {
    "color": {"red", "green", "blue", "yellow", "orange", "purple", "pink", "white"},
    "size": {"small", "large"},
    "material": {"rubber", "metal", "glass"},
    "pattern": {"plain", "striped", "dotted", "checked"},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("microworld") / "world"
    build(out, images=240, evaluation_images=60, seed=1)
    return out


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def scene_graphs(world: Path, split: str) -> dict[str, Record]:
    return dict(load(world / f"gqa/{'train' if split == 'train' else 'testdev'}_sceneGraphs.json"))


def words_fit(thing: Record, words: str) -> bool:
    """Whether a thing is a "red square" or a "small object"."""
    *attributes, noun = words.split()
    return noun in ("object", thing["name"]) and set(attributes) <= set(thing["attributes"])


def value_of(thing: Record, key: str) -> str:
    if key == "name":
        return str(thing["name"])
    (value,) = CLASS[key] & set(thing["attributes"])
    return value


def ten_answer_files(folder: Path, prefix: str, split: str) -> tuple[dict[int, Record], list[Record]]:
    questions = load(folder / f"{prefix}OpenEnded_mscoco_{split}2014_questions.json")
    annotations = load(folder / f"{prefix}mscoco_{split}2014_annotations.json")
    assert set(questions) == {"info", "license", "data_type", "data_subtype", "task_type", "questions"}
    assert set(annotations) == {"info", "license", "data_type", "data_subtype", "annotations"}
    assert (questions["task_type"], questions["data_subtype"]) == ("Open-Ended", f"{split}2014")
    by_number = {question["question_id"]: question for question in questions["questions"]}
    assert list(by_number) == [annotation["question_id"] for annotation in annotations["annotations"]]
    for annotation in annotations["annotations"]:
        image = by_number[annotation["question_id"]]["image_id"]
        assert annotation["image_id"] == image
        assert (folder / f"{split}2014" / f"COCO_{split}2014_{image:012d}.jpg").is_file()
    return by_number, annotations["annotations"]


VQA_ORACLES: tuple[tuple[str, Callable[[Record, list[Record], str], str]], ...] = (
    (r"How many objects are there\?", lambda graph, things, _: str(len(things))),
    (r"How many (\w+) objects are there\?", lambda graph, things, w: str(sum(w in t["attributes"] for t in things))),
    (r"How many (\w+?)(?:(?<=s)e)?s are there\?", lambda graph, things, w: str(sum(w == t["name"] for t in things))),
    (
        r"Is there an? (.+) in the picture\?",
        lambda graph, things, w: "yes" if any(words_fit(t, w) for t in things) else "no",
    ),
    (r"Is it (\w+)\?", lambda graph, things, w: "yes" if graph["weather"] == w else "no"),
    (r"What place is this\?", lambda graph, things, _: str(graph["location"])),
    (r"What color is the (.+)\?", lambda graph, things, w: value_of(the(things, w), "color")),
    (r"What shape is the (.+)\?", lambda graph, things, w: value_of(the(things, w), "name")),
    (r"What kind of pattern is on the (.+)\?", lambda graph, things, w: value_of(the(things, w), "pattern")),
    (r"What is the (.+) made of\?", lambda graph, things, w: value_of(the(things, w), "material")),
    (
        r"Is the (.+ \w+)\?",
        lambda graph, things, w: (
            "yes" if w.split()[-1] in the(things, " ".join(w.split()[:-1]))["attributes"] else "no"
        ),
    ),
)


def the(things: Sequence[Record], words: str) -> Record:
    (thing,) = [thing for thing in things if words_fit(thing, words)]
    return thing


def test_vqav2_answers_are_true(world: Path) -> None:
    graphs = scene_graphs(world, "train")
    questions, annotations = ten_answer_files(world / "vqav2", "v2_", "train")
    used: Counter[str] = Counter()
    for annotation in annotations:
        text = questions[annotation["question_id"]]["question"]
        graph = graphs[str(annotation["image_id"])]
        things = list(graph["objects"].values())
        beside = re.fullmatch(r"What is (above|below|to the left of|to the right of) the (.+)\?", text)
        if beside is not None:
            anchor = next(number for number, thing in graph["objects"].items() if words_fit(thing, beside[2]))
            (expected,) = [t["name"] for t in things if {"name": beside[1], "object": anchor} in t["relations"]]
            used["beside"] += 1
        else:
            pattern, oracle = next((p, o) for p, o in VQA_ORACLES if re.fullmatch(p, text))
            found = re.fullmatch(pattern, text)
            assert found is not None
            expected = oracle(graph, things, found[1] if found.groups() else "")
            used[pattern] += 1
        assert annotation["multiple_choice_answer"] == expected, text
    assert len(used) == len(VQA_ORACLES) + 1


@pytest.mark.parametrize("split", ["train", "val"])
def test_vqav2_annotations_are_ten_people_s(world: Path, split: str) -> None:
    questions, annotations = ten_answer_files(world / "vqav2", "v2_", split)
    disputed = 0
    for annotation in annotations:
        given = [answer["answer"] for answer in annotation["answers"]]
        assert [answer["answer_id"] for answer in annotation["answers"]] == list(range(1, 11))
        assert {answer["answer_confidence"] for answer in annotation["answers"]} <= {"yes", "maybe", "no"}
        assert given.count(annotation["multiple_choice_answer"]) >= 7
        disputed += len(set(given)) > 1
        kind = {"yes/no": r"yes|no", "number": r"\d+", "other": r"(?!yes|no)[a-z]+"}[annotation["answer_type"]]
        assert re.fullmatch(kind, annotation["multiple_choice_answer"])
        assert questions[annotation["question_id"]]["question"].lower().startswith(annotation["question_type"])
    assert 0.1 < disputed / len(annotations) < 0.35


SIDES = {"square": "4", "diamond": "4", "triangle": "3", "cross": "12", "circle": "0", "ring": "0"}
LIGHT = {"red": "stop", "yellow": "slow", "green": "go"}
MIXED = {"blue red": "purple", "blue yellow": "green", "red white": "pink", "red yellow": "orange"}


@pytest.mark.parametrize("split", ["train", "val"])
def test_okvqa_answers_are_five_people_s_twice_and_right(world: Path, split: str) -> None:
    graphs = scene_graphs(world, split)
    questions, annotations = ten_answer_files(world / "okvqa", "", split)
    checked = 0
    for annotation in annotations:
        given = [answer["answer"] for answer in annotation["answers"]]
        assert given[::2] == given[1::2]
        assert len(given) == 10
        assert Counter(given)[given[0]] >= 6
        assert annotation["question_type"] in {
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
        }
        text = questions[annotation["question_id"]]["question"]
        things = list(graphs[str(annotation["image_id"])]["objects"].values())
        if found := re.fullmatch(r"How many sides does the (.+) have\?", text):
            expected = SIDES[the(things, found[1])["name"]]
        elif found := re.fullmatch(r"What does a traffic light with the color of the (.+) tell you\?", text):
            expected = LIGHT[value_of(the(things, found[1]), "color")]
        elif found := re.fullmatch(r"Does the material of the (.+) conduct electricity\?", text):
            expected = "yes" if value_of(the(things, found[1]), "material") == "metal" else "no"
        elif found := re.fullmatch(r"Which color do you get by mixing the colors of the (.+) and the (.+)\?", text):
            colors = sorted(value_of(the(things, words), "color") for words in found.groups())
            expected = MIXED[" ".join(colors)]
        else:
            continue
        checked += 1
        assert given[0] == expected, text
    assert checked > 0.25 * len(annotations)
