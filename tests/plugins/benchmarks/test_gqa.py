"""GQA: what a sample is made of, and where its file may lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import DataError, DataSource, FileImage
from plugins.benchmarks.gqa import Gqa

Write = Callable[[str, Any], Path]


def test_a_sample_and_its_facts(tmp_path: Path, write: Write, gqa_record: dict[str, Any]) -> None:
    write("testdev_balanced_questions.json", {"30": gqa_record, "4": {**gqa_record, "imageId": "1"}})
    first, second = Gqa().samples(DataSource(path=tmp_path))
    assert (first.id, first.group, first.question, first.references) == ("30", "n5", "What is it?", ("couch",))
    assert first.images == (FileImage(tmp_path / "images" / "n5.jpg"),)
    assert first.facts == {
        "types": gqa_record["types"],
        "fullAnswer": "It is a couch.",
        "isBalanced": True,
        "entailed": ["8"],
        "equivalent": ["9"],
        "group": "furniture",
        "steps": 1,
    }
    assert second.id == "4"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("questions1.2/testdev_balanced_questions.json", None),
        ("questions1.2/val_balanced_questions.json", "val"),
        ("train_balanced_questions.json.gz", "train"),
        ("questions.json.gz", None),
    ],
)
def test_where_the_file_may_lie(
    tmp_path: Path, write: Write, gqa_record: dict[str, Any], name: str, split: str | None
) -> None:
    write(name, {"30": gqa_record})
    (sample,) = Gqa().samples(DataSource(path=tmp_path, split=split))
    assert sample.images == (FileImage(tmp_path / "images" / "n5.jpg"),)


def test_a_record_that_lacks_a_field_is_named(tmp_path: Path, write: Write, gqa_record: dict[str, Any]) -> None:
    broken = {"image_id" if key == "imageId" else key: value for key, value in gqa_record.items()}
    path = write("testdev_balanced_questions.json", {"30": gqa_record, "31": broken})
    with pytest.raises(DataError) as caught:
        list(Gqa().samples(DataSource(path=tmp_path)))
    assert str(caught.value) == f"{path}: question 31: no field 'imageId' (did you mean 'image_id'?)"


def test_the_real_questions(reference: Path) -> None:
    samples = list(Gqa().samples(DataSource(path=reference / "gqa_ood")))
    assert len(samples) == 2796
    assert samples[0].facts["steps"] == 4
