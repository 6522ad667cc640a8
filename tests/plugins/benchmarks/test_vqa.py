"""VQA v2 and OK-VQA: what a sample is made of, and which files it is read from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import DataError, DataSource, FileImage, UnknownName
from plugins.benchmarks.okvqa import okvqa
from plugins.benchmarks.vqav2 import vqav2

Write = Callable[[str, Any], Path]


def test_a_sample_joins_question_and_answers_in_the_files_order(vqa_folder: Path) -> None:
    samples = list(vqav2().samples(DataSource(path=vqa_folder)))
    assert [sample.id for sample in samples] == ["42001", "7000", "42000"]
    first = samples[0]
    assert first.images == (FileImage(vqa_folder / "val2014" / "COCO_val2014_000000000042.jpg"),)
    assert first.question == "Is there a dog?"
    assert first.references == tuple(f"answer {n}" for n in range(10))
    assert first.group == "42"
    assert first.facts == {"question_type": "is there a", "answer_type": "yes/no"}


def test_the_split_picks_files_and_pictures(vqa_folder: Path) -> None:
    (sample,) = vqav2().samples(DataSource(path=vqa_folder, split="train"))
    assert sample.images[0].name.endswith("train2014/COCO_train2014_000000000042.jpg")


def test_without_their_official_names_the_only_files_are_taken(tmp_path: Path, vqa_folder: Path, write: Write) -> None:
    for old, new in (("v2_OpenEnded_mscoco_val2014_questions", "questions"), ("v2_mscoco_val2014_annotations", "a")):
        content = json.loads((vqa_folder / f"{old}.json").read_text())
        write(f"plain/{new}{'' if new == 'questions' else '_annotations'}.json.gz", content)
    samples = list(vqav2().samples(DataSource(path=tmp_path / "plain")))
    assert [sample.id for sample in samples] == ["42001", "7000", "42000"]
    with pytest.raises(DataError, match=r"no file of split 'train' .*there is: questions\.json\.gz"):
        vqav2().samples(DataSource(path=tmp_path / "plain", split="train"))


def test_the_training_split_is_never_taken_for_another(vqa_folder: Path) -> None:
    for path in vqa_folder.glob("*val2014*"):
        path.unlink()
    with pytest.raises(DataError, match="no file of split 'val'"):
        vqav2().samples(DataSource(path=vqa_folder))


def test_prompts(vqa_folder: Path) -> None:
    sample = list(vqav2().samples(DataSource(path=vqa_folder)))[1]
    short = "What {colour} is it?\nAnswer the question using a single word or phrase."
    request = vqav2().request(sample, "llava")
    assert (request.prompt, request.generation.max_new_tokens, request.generation.temperature) == (short, 16, 0.0)
    assert request.images == sample.images
    assert vqav2().request(sample, "plain").prompt == "What {colour} is it?"
    assert okvqa().request(sample, "llava").prompt == (
        "What {colour} is it?\nWhen the provided information is insufficient, respond with 'Unanswerable'.\n"
        "Answer the question using a single word or phrase."
    )
    with pytest.raises(UnknownName, match=r"unknown profile 'lava' .*did you mean 'llava'"):
        vqav2().request(sample, "lava")
    assert vqav2().parse(" Yes.\n", "llava") == "Yes."


def test_a_question_without_answers(vqa_folder: Path, write: Write) -> None:
    write("v2_mscoco_val2014_annotations.json", {"annotations": []})
    with pytest.raises(DataError, match=r"v2_mscoco_val2014_annotations\.json: no answers to question 42001"):
        list(vqav2().samples(DataSource(path=vqa_folder)))


def test_a_question_that_comes_twice(vqa_folder: Path, write: Write) -> None:
    row = {"question_id": 7000, "image_id": 7, "question": "?"}
    path = write("v2_OpenEnded_mscoco_val2014_questions.json", {"questions": [row, row]})
    with pytest.raises(DataError, match=f"{path}: id 7000 is there twice"):
        list(vqav2().samples(DataSource(path=vqa_folder)))


def test_the_real_questions(reference: Path) -> None:
    real = list(okvqa().samples(DataSource(path=reference / "okvqa_real")))
    assert len(real) == 120
    assert all(image.read()[:2] == b"\xff\xd8" for sample in real for image in sample.images)
    whole = list(okvqa().samples(DataSource(path=reference / "okvqa_val")))
    assert len(whole) == 5046
    assert len({sample.group for sample in whole}) == 5033
    # What rows without image ids rely on.
    assert all(okvqa().image_of_question(sample.id) == sample.group for sample in whole)
    small = list(vqav2().samples(DataSource(path=reference / "vqav2_smallval")))
    assert len(small) == 589
    assert all(vqav2().image_of_question(sample.id) == sample.group for sample in small)
