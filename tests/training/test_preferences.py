"""Preferences: each kind of bad record is told by its line, good ones are kept as written, and the world's are true."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from harness import DataError, Session
from training.aligning.preferences import SHOWN, normalised, read_preferences
from training.microworld import build

GOOD = {"image": "a.png", "prompt": "Is there a dog?", "chosen": "no", "rejected": "yes"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


def write(folder: Path, *records: Any) -> str:
    path = folder / "train.jsonl"
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in records), encoding="utf-8")
    return str(path)


def test_good_records_are_kept_in_order_as_written(folder: Path) -> None:
    other = {**GOOD, "image": "b.png", "chosen": " No. "}
    found = read_preferences(write(folder, GOOD, "", other))
    assert [(Path(r.image.name).name, r.prompt, r.chosen, r.rejected) for r in found.records] == [
        ("a.png", "Is there a dog?", "no", "yes"),
        ("b.png", "Is there a dog?", " No. ", "yes"),
    ]
    assert [r.where.rpartition(":")[2] for r in found.records] == ["1", "3"]
    assert found.skipped == {}


BAD = [
    ({**GOOD, "image": "absent.png"}, "image: no such file"),
    ({**GOOD, "image": "broken.png"}, "image: no picture that can be read"),
    ({**GOOD, "chosen": "  "}, "chosen: empty"),
    ({**GOOD, "prompt": ""}, "prompt: empty"),
    ({**GOOD, "chosen": "YES\n"}, "rejected: identical to chosen"),
    ({**GOOD, "chosen": "\uff39es"}, "rejected: identical to chosen"),
    ({**GOOD, "prompt": "is there  a DOG?"}, "record: duplicate"),
    ({**GOOD, "chosen": "yes", "rejected": "No"}, "record: contradiction"),
    ({**GOOD, "rejected": 3}, "rejected: a int, not text"),
    ({**GOOD, "rejected": None}, "rejected: a NoneType, not text"),
    ({k: v for k, v in GOOD.items() if k != "prompt"}, "prompt: missing"),
    ({**GOOD, "chosn": "no"}, "chosn: unknown key; did you mean 'chosen'?"),
    ([1], "record: a list"),
    ('{"image": ', "record: not JSON"),
]


@pytest.mark.parametrize(("record", "told"), BAD, ids=[told for _, told in BAD])
def test_each_bad_record_is_named_by_line_and_field(folder: Path, record: Any, told: str) -> None:
    source = write(folder, GOOD, record)
    with pytest.raises(DataError, match="1 of 2 records are bad") as caught:
        read_preferences(source)
    (line,) = str(caught.value).splitlines()[1:]
    assert line.startswith(f"  {source}:2: {told}")
    assert "; " in line  # the next step
    skipped = read_preferences(source, on_bad="skip")
    assert len(skipped.records) == 1
    assert sum(skipped.skipped.values()) == 1


def test_many_bad_records_are_named_in_part_and_counted(folder: Path) -> None:
    records = [{**GOOD, "prompt": f"{n}?", "chosen": ""} for n in range(SHOWN + 30)]
    with pytest.raises(DataError) as caught:
        read_preferences(write(folder, *records, GOOD))
    assert len(re.findall(r"chosen: empty", str(caught.value))) == SHOWN
    assert "42 of 43" in str(caught.value)
    assert str(caught.value).endswith("and 30 more")
    found = read_preferences(write(folder, *records, GOOD), on_bad="skip")
    assert found.skipped == {"empty": 42}


def test_nothing_left_and_nothing_there_are_errors(folder: Path) -> None:
    with pytest.raises(DataError, match="no record that can be used"):
        read_preferences(write(folder, {**GOOD, "chosen": ""}), on_bad="skip")
    for absent in ("absent.jsonl", "./absent", "no/such/file"):
        with pytest.raises(DataError, match="no such file"):
            read_preferences(absent)
    with pytest.raises(DataError, match="pin the commit with preferences_revision:"):
        read_preferences("org/name")


def test_the_digest_is_of_contents_alone(folder: Path, tmp_path: Path) -> None:
    session = Session(tmp_path / "home")
    try:
        first = read_preferences(write(folder, GOOD)).digest(session)
        (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
        assert read_preferences(write(folder, {**GOOD, "image": "copy.png"})).digest(session) == first
        for changed in ({"image": "b.png"}, {"prompt": "?"}, {"chosen": "No"}, {"rejected": "maybe"}):
            assert read_preferences(write(folder, {**GOOD, **changed})).digest(session) != first
    finally:
        session.database.close()


def test_a_dataset_s_folder_is_read_as_a_file_is(folder: Path) -> None:
    rows = {
        "image": [str(folder / "a.png"), str(folder / "b.png")],
        "prompt": ["one?", "two?"],
        "chosen": ["yes", "no"],
        "rejected": ["no", " NO"],
    }
    made = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    made.save_to_disk(str(folder / "saved"))
    with pytest.raises(DataError, match=r"saved\[1\]: rejected: identical"):
        read_preferences(str(folder / "saved"))
    (record,) = read_preferences(str(folder / "saved"), on_bad="skip").records
    assert (record.prompt, record.chosen, record.rejected) == ("one?", "yes", "no")
    assert record.image.read() == (folder / "a.png").read_bytes()


# ---------------------------------------------------------------- those of the embedded world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("data") / "world", images=40, evaluation_images=8, seed=3).path


def test_the_world_s_preferences_are_good_and_from_training_pictures(world: Path) -> None:
    found = read_preferences(str(world / "preferences" / "train.jsonl"))
    assert {Path(r.image.name).parent.name for r in found.records} == {"train2014"}
    assert len({r.image.name for r in found.records}) == 40
    assert 200 < len(found.records) < 400


def scenes(world: Path) -> dict[str, set[str]]:
    """File name -> kinds of things in the picture, as the benchmark's own annotations have them."""
    content = json.loads((world / "coco_captions/annotations/instances_train2014.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    kinds: dict[int, set[str]] = {image["id"]: set() for image in content["images"]}
    for annotation in content["annotations"]:
        kinds[annotation["image_id"]].add(names[annotation["category_id"]])
    return {image["file_name"]: kinds[image["id"]] for image in content["images"]}


def test_what_is_chosen_is_there_and_what_is_rejected_is_not(world: Path) -> None:
    """Against the annotations of another benchmark."""
    present = scenes(world)
    every = {"square", "circle", "triangle", "diamond", "cross", "ring", "star", "heart", "moon", "arrow"}
    seen: Counter[str] = Counter()
    for record in read_preferences(str(world / "preferences" / "train.jsonl")).records:
        kinds = present[Path(record.image.name).name]
        if polled := re.fullmatch(r"Is there an? (\w+) in the image\?\n.*", record.prompt):
            truth = "yes" if polled[1] in kinds else "no"
            assert (record.chosen, record.rejected) == (truth, "no" if truth == "yes" else "yes")
            seen[truth] += 1
        elif record.prompt.startswith("Provide"):
            assert every & set(re.findall(r"\w+", record.chosen)) <= kinds
            assert len(every & set(re.findall(r"\w+", record.rejected)) - kinds) == 1
            seen["caption"] += 1
        else:
            assert normalised(record.chosen) != normalised(record.rejected)
            seen["short"] += 1
    assert seen["yes"] == seen["no"] > 80
    assert min(seen["caption"], seen["short"]) > 30


def test_the_world_s_preferences_depend_on_its_seed_alone(world: Path, tmp_path: Path) -> None:
    def digest(path: Path) -> str:
        return hashlib.sha256((path / "preferences" / "train.jsonl").read_bytes()).hexdigest()

    assert digest(build(tmp_path / "same", images=40, evaluation_images=8, seed=3).path) == digest(world)
    assert digest(build(tmp_path / "other", images=40, evaluation_images=8, seed=4).path) != digest(world)
