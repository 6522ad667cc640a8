"""TextVQA: one file a split, ten plain answers, the challenge's and MMF's accuracy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from harness import DataError, DataSource, FileImage, Output, Pair
from plugins.benchmarks.textvqa import textvqa
from plugins.metrics.vqa_accuracy import VqaAccuracy

Write = Callable[[str, Any], Path]


def question(number: int, image: str, **more: Any) -> dict[str, Any]:
    return {
        "question_id": number,
        "image_id": image,
        "question": "what BRAND is it?",
        "image_classes": ["Camera"],
        "set_name": "val",
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path, write: Write) -> Path:
    answers = ["nokia"] * 3 + ["nokia's"] + ["the phone"] * 6
    rows = [question(34602, "003a8ae2ef43b901", answers=answers), question(34603, "003a8ae2ef43b901", answers=answers)]
    write("TextVQA_0.5.1_val.json", {"dataset_type": "val", "data": rows})
    write("TextVQA_0.5.1_train.json", {"data": rows[:1]})
    write("TextVQA_0.5.1_test.json", {"data": [question(36602, "00685bc495504d61")]})
    write("TextVQA_Rosetta_OCR_v0.2_val.json", {"data": []})
    return tmp_path


def test_a_sample(folder: Path) -> None:
    first, second = textvqa().samples(DataSource(path=folder))
    assert (first.id, second.id) == ("34602", "34603")
    assert first.images == (FileImage(folder / "train_images" / "003a8ae2ef43b901.jpg"),)
    assert first.group == second.group == "003a8ae2ef43b901"
    assert first.question == "what BRAND is it?"
    assert first.references == ("nokia",) * 3 + ("nokia's",) + ("the phone",) * 6
    assert first.facts == {}


def test_the_answers_of_a_test_split_are_secret(folder: Path) -> None:
    (sample,) = textvqa().samples(DataSource(path=folder, split="test"))
    assert sample.images == (FileImage(folder / "test_images" / "00685bc495504d61.jpg"),)
    assert sample.references == ()


def test_answers_that_are_missing_elsewhere(folder: Path, write: Write) -> None:
    path = write("TextVQA_0.5.1_val.json", {"data": [question(1, "i", answer=["a"])]})
    with pytest.raises(DataError) as caught:
        list(textvqa().samples(DataSource(path=folder)))
    assert str(caught.value) == f"{path}: data[0]: no field 'answers' (did you mean 'answer'?)"


def test_a_question_that_comes_twice(folder: Path, write: Write) -> None:
    path = write("TextVQA_0.5.1_val.json", {"data": [question(1, "i", answers=["a"])] * 2})
    with pytest.raises(DataError, match=f"{path}: id 1 is there twice"):
        list(textvqa().samples(DataSource(path=folder)))


def test_prompts_have_one_capital(folder: Path) -> None:
    sample = next(iter(textvqa().samples(DataSource(path=folder))))
    request = textvqa().request(sample, "llava")
    assert request.prompt == "What brand is it?\nAnswer the question using a single word or phrase."
    assert request.images == sample.images
    assert textvqa().info.profiles == ("llava", "plain")


def test_official_is_the_rule_of_evalais_processor(folder: Path, write: Write) -> None:
    results = write(
        "results.json", [{"question_id": 34602, "answer": "Nokia 's"}, {"question_id": 34603, "answer": "Phone,"}]
    )
    samples = list(textvqa().samples(DataSource(path=folder)))
    outputs = dict(textvqa().results([results], DataSource(path=folder)))
    pairs = [Pair(sample, outputs[sample.id].text, outputs[sample.id]) for sample in samples]
    for protocol in textvqa().info.protocols:
        measured = VqaAccuracy().compute(pairs, protocol)["accuracy"]
        assert measured.per_sample is not None
        assert measured.per_sample.tolist() == pytest.approx([0.3, 1], abs=1e-12)
    assert textvqa().info.protocols == ("lmms", "official")


def test_a_copy_of_the_hubs_dataset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = {
        "image_id": ["a1", "b2"],
        "question_id": [34602, 34603],
        "question": ["what?", "who?"],
        "answers": [["x"] * 10, [""] * 10],
        "set_name": ["val", "test"],
    }
    datasets.Dataset.from_dict({**rows, "image": [b"", b""]}).to_parquet(tmp_path / "validation.parquet")
    first, second = textvqa().samples(DataSource(path=tmp_path))
    assert (first.id, first.group, first.references, first.facts) == ("34602", "a1", ("x",) * 10, {})
    assert second.references == ()
    assert first.shared == {"rules": {"lmms": "evalai", "official": "evalai"}}
    pair = Pair(second, "", Output(""))
    assert VqaAccuracy().compute([pair], "official")["accuracy"].value is None
