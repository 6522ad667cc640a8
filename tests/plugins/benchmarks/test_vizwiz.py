"""VizWiz: pictures name the questions, answers have no ids, and there are three ways to count the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from harness import DataError, DataSource, FileImage, Output, Pair
from plugins.benchmarks.vizwiz import vizwiz
from plugins.metrics.vqa_accuracy import VqaAccuracy

Write = Callable[[str, Any], Path]
FIRST, SECOND = "VizWiz_val_00000000.jpg", "VizWiz_val_00000001.jpg"


def record(image: str, *answers: tuple[str, str], **more: Any) -> dict[str, Any]:
    given = [{"answer_confidence": confidence, "answer": answer} for answer, confidence in answers]
    return {
        "image": image,
        "question": "Ok. There is another picture I hope it is a better one.",
        "answers": given,
        "answer_type": "unanswerable",
        "answerable": 0,
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path, write: Write) -> Path:
    unsure = [("unanswerable", "yes")] * 6 + [("unanswerable", "maybe")] * 2 + [("Basil.", "yes"), ("basil", "yes")]
    rows = [record(FIRST, *unsure), record(SECOND, *[("blue", "yes")] * 10, answer_type="other")]
    write("Annotations/val.json", rows)
    write("Annotations/train.json", rows[:1])
    write("Annotations/test.json", [{"image": "VizWiz_test_00000000.jpg", "question": "What is it?"}])
    return tmp_path


def test_a_sample(folder: Path) -> None:
    first, second = vizwiz().samples(DataSource(path=folder))
    assert (first.id, first.group) == (FIRST, FIRST)
    assert first.images == (FileImage(folder / "val" / FIRST),)
    assert first.references == ("unanswerable",) * 8 + ("Basil.", "basil")
    assert first.facts == {"answer_type": "unanswerable", "alike": [0] * 6 + [6] * 2 + [0] * 2}
    assert second.facts == {"answer_type": "other", "alike": [0] * 10}


def test_a_split_and_a_file_beside_the_pictures(tmp_path: Path, folder: Path, write: Write) -> None:
    (sample,) = vizwiz().samples(DataSource(path=folder, split="train"))
    assert sample.images == (FileImage(folder / "train" / FIRST),)
    write("plain/val.json.gz", [record(FIRST, ("a", "yes"))])
    (sample,) = vizwiz().samples(DataSource(path=tmp_path / "plain"))
    assert sample.images == (FileImage(tmp_path / "plain" / "val" / FIRST),)
    assert "alike" not in sample.facts


def test_the_answers_of_a_test_split_are_secret(folder: Path) -> None:
    (sample,) = vizwiz().samples(DataSource(path=folder, split="test"))
    assert (sample.id, sample.references) == ("VizWiz_test_00000000.jpg", ())


def test_malformed_files(folder: Path, write: Write) -> None:
    def message(rows: Any) -> str:
        path = write("Annotations/val.json", rows)
        with pytest.raises(DataError) as caught:
            list(vizwiz().samples(DataSource(path=folder)))
        return str(caught.value).removeprefix(f"{path}: ")

    assert message([{"image": FIRST, "question": "?", "answer": []}]) == (
        "[0]: no field 'answers' (did you mean 'answer'?)"
    )
    assert message([{"image": FIRST, "question": "?", "answers": [{"answers": "a"}]}]) == (
        "[0].answers[0]: no field 'answer' (did you mean 'answers'?)"
    )
    assert message([record(FIRST), record(FIRST)]) == f"id {FIRST} is there twice; export the data again"


def test_prompts(folder: Path) -> None:
    sample = next(iter(vizwiz().samples(DataSource(path=folder))))
    assert vizwiz().request(sample, "llava").prompt == (
        "Ok. there is another picture i hope it is a better one.\n"
        "When the provided information is insufficient, respond with 'Unanswerable'.\n"
        "Answer the question using a single word or phrase."
    )


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        # Of eight "unanswerable", six have the two others, two have the six, and both "basil" have all eight.
        ("official", [(6 * 2 / 3 + 2 + 2) / 10, 0]),
        ("official-2017", [(6 * 2 / 3 + 2 + 2) / 10, 0]),
        ("lmms", [1, 1]),
        ("vizwiz-api", [1, 1]),
    ],
)
def test_who_the_others_are(folder: Path, write: Write, protocol: str, expected: list[float]) -> None:
    results = [{"image": FIRST, "answer": "unanswerable"}, {"image": SECOND, "answer": "blue"}]
    assert protocol in vizwiz().info.protocols
    assert scores(folder, write, results, protocol) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        # Once rewritten the two "basil" are equal, and neither is the other's other.
        ("official", 8 * 2 / 3 / 10),
        ("lmms", 0.6),
        ("vizwiz-api", 0.3),
    ],
)
def test_what_is_rewritten(folder: Path, write: Write, protocol: str, expected: float) -> None:
    results = [{"image": FIRST, "answer": "a basil"}, {"image": SECOND, "answer": ""}]
    assert scores(folder, write, results, protocol) == pytest.approx([expected, 0], abs=1e-12)


def scores(folder: Path, write: Write, results: Any, protocol: str) -> list[float]:
    outputs = dict(vizwiz().results([write("results.json", results)], DataSource(path=folder)))
    pairs = [
        Pair(sample, outputs[sample.id].text, outputs[sample.id])
        for sample in vizwiz().samples(DataSource(path=folder))
    ]
    measured = VqaAccuracy().compute(pairs, protocol)["accuracy"]
    assert measured.per_sample is not None
    values: list[float] = measured.per_sample.tolist()
    return values


def test_questions_with_ids_of_their_own(folder: Path, write: Write) -> None:
    rows = [record(FIRST, ("a", "yes"), question_id=7), record(SECOND, ("b", "yes"), question_id="x")]
    write("Annotations/val.json", rows)
    assert [sample.id for sample in vizwiz().samples(DataSource(path=folder))] == ["7", "x"]
    results = [{"image": SECOND, "answer": ""}, {"question_id": 7, "answer": ""}, {"image": "unknown", "answer": ""}]
    read = vizwiz().results([write("results.json", results)], DataSource(path=folder))
    assert [name for name, _ in read] == ["x", "7", "unknown"]


def test_results_without_a_name(folder: Path, write: Write) -> None:
    path = write("results.json", [{"image": FIRST, "answer": "a"}, {"img": FIRST, "answer": "a"}])
    with pytest.raises(DataError) as caught:
        list(vizwiz().results([path], DataSource(path=folder)))
    assert str(caught.value) == f"{path}: [1]: neither a field 'image' nor 'question_id'"


def test_a_copy_of_the_hubs_dataset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write: Write) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = {
        "question_id": ["VizWiz_val_00000000"],
        "question": ["what?"],
        "answers": [["x"] * 10],
        "category": ["other"],
        "image": [b""],
    }
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "copy" / "val.parquet")
    (sample,) = vizwiz().samples(DataSource(path=tmp_path / "copy"))
    assert (sample.id, sample.group, sample.facts) == (FIRST, FIRST, {"answer_type": "other"})
    results = [{"question_id": "VizWiz_val_00000000", "answer": "x"}, {"image": FIRST, "answer": "x"}]
    read = vizwiz().results([write("results.json", results)], DataSource(path=tmp_path / "copy"))
    assert [name for name, _ in read] == [FIRST, FIRST]
    notes = {
        protocol: VqaAccuracy().compute([Pair(sample, "x", Output("x"))], protocol)["accuracy"].incomparable
        for protocol in vizwiz().info.protocols
    }
    assert "confidence" in notes["official"]
    assert "confidence" in notes["official-2017"]
    assert notes["lmms"] == notes["vizwiz-api"] == ""
