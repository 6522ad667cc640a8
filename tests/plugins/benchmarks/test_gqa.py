"""GQA: what a sample is made of, where its files may lie, and what results files say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest

from harness import DataError, DataSource, FileImage, Output, ResultsReader, Sample, Trace
from plugins.benchmarks.gqa import Gqa

Write = Callable[[str, Any], Path]

QUESTIONS = "testdev_balanced_questions.json"
SCENE = {
    "width": 500,
    "height": 333.5,
    "objects": {
        "17": {"x": 1, "y": 2, "w": 30, "h": 40, "name": "couch", "attributes": [], "relations": []},
        "18": {"x": 0, "y": 0, "w": 1, "h": 1, "name": "wall"},
    },
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def read(folder: Path, split: str | None = None) -> list[Sample]:
    return list(Gqa().samples(DataSource(path=folder, split=split)))


def test_a_sample_and_its_facts(tmp_path: Path, write: Write, gqa_record: dict[str, Any]) -> None:
    write(QUESTIONS, {"30": gqa_record, "4": {**gqa_record, "imageId": "1"}})
    first, second = read(tmp_path)
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
        "objects": [],
    }
    assert first.shared == {}
    assert second.id == "4"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("questions1.2/testdev_balanced_questions.json", None),
        ("questions1.2/val_balanced_questions.json", "val"),
        ("val_balanced_questions.json", "val_balanced"),
        ("questions1.2/val_all_questions.json", "val_all"),
        ("train_balanced_questions.json.gz", "train"),
        ("questions.json.gz", None),
    ],
)
def test_where_the_file_may_lie(
    tmp_path: Path, write: Write, gqa_record: dict[str, Any], name: str, split: str | None
) -> None:
    write(name, {"30": gqa_record})
    (sample,) = read(tmp_path, split)
    assert sample.images == (FileImage(tmp_path / "images" / "n5.jpg"),)


def test_balanced_questions_are_read_unless_all_are_asked_for(
    tmp_path: Path, write: Write, gqa_record: dict[str, Any]
) -> None:
    write(QUESTIONS, {"30": gqa_record})
    with pytest.raises(DataError, match=r"no file of split 'testdev_all' \(looked for testdev_all_questions.json"):
        read(tmp_path, "testdev_all")
    write("testdev_all_questions.json", {"30": gqa_record, "8": {**gqa_record, "isBalanced": False}})
    assert [sample.id for sample in read(tmp_path)] == ["30"]
    assert [(sample.id, sample.facts["isBalanced"]) for sample in read(tmp_path, "testdev_all")] == [
        ("30", True),
        ("8", False),
    ]


def test_all_questions_of_a_copy_of_the_hub(tmp_path: Path, gqa_record: dict[str, Any]) -> None:
    row = {key: gqa_record[key] for key in gqa_record if key != "annotations"}
    features = datasets.Features({"id": datasets.Value("string"), "image": datasets.Image()})
    pictures = datasets.Dataset.from_dict({"id": ["n5"], "image": [{"bytes": b"", "path": None}]}, features=features)
    for kind, ids in (("balanced", ["30"]), ("all", ["30", "8"])):
        questions = datasets.Dataset.from_list([{**row, "id": key, "isBalanced": key == "30"} for key in ids])
        questions.to_parquet(tmp_path / f"testdev_{kind}_instructions" / "testdev.parquet")
        pictures.to_parquet(tmp_path / f"testdev_{kind}_images" / "testdev.parquet")
    assert [sample.id for sample in read(tmp_path)] == ["30"]
    assert [sample.id for sample in read(tmp_path, "testdev_balanced")] == ["30"]
    assert [sample.id for sample in read(tmp_path, "testdev_all")] == ["30", "8"]


def test_steps_are_those_that_reason(tmp_path: Path, write: Write, gqa_record: dict[str, Any]) -> None:
    programs = {
        "1": [("select", "couch (1)"), ("relate", "wall,on,s (2)"), ("query", "name")],
        "2": [("select", "couch (1)"), ("exist", "?")],
        "3": [("select", "couch (1)"), ("choose name", "couch|chair")],
        "4": [("select", "couch (1)"), ("query", "color")],
        "5": [],
    }
    steps = {key: [{"operation": what, "argument": of} for what, of in rows] for key, rows in programs.items()}
    questions = {key: {**gqa_record, "semantic": program} for key, program in steps.items()}
    write(QUESTIONS, {**questions, "6": {key: gqa_record[key] for key in gqa_record if key != "semantic"}})
    assert [sample.facts["steps"] for sample in read(tmp_path)] == [2, 1, 1, 2, 0, None]


def test_a_record_that_lacks_a_field_is_named(tmp_path: Path, write: Write, gqa_record: dict[str, Any]) -> None:
    broken = {"image_id" if key == "imageId" else key: value for key, value in gqa_record.items()}
    path = write(QUESTIONS, {"30": gqa_record, "31": broken})
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{path}: question 31: no field 'imageId' (did you mean 'image_id'?)"


def test_text_that_is_not_utf_8_is_named(tmp_path: Path, write: Write, gqa_record: dict[str, Any]) -> None:
    path = write(QUESTIONS, {"30": gqa_record})
    path.write_bytes(path.read_bytes().replace(b"What", b"\xff"))
    with pytest.raises(DataError, match=f"{path}: question 30: 'utf-8' codec can't decode byte 0xff"):
        read(tmp_path)


# ---------------------------------------------------------------- choices and scene graphs


@pytest.mark.parametrize("name", ["testdev_choices.json", "eval/testdev_choices.json.gz", "choices.json"])
def test_choices_are_kept_once(tmp_path: Path, write: Write, gqa_record: dict[str, Any], name: str) -> None:
    write(QUESTIONS, dict.fromkeys(["1", "2", "3"], gqa_record))
    long, short = ["bed", "couch"], ["couch"]
    both = {"valid": long, "plausible": short}
    write(name, {"1": both, "2": {"valid": long, "plausible": long}, "other": {"valid": ["x"], "plausible": []}})
    samples = read(tmp_path)
    assert samples[0].shared == {"choices": [long, short]}
    assert all(sample.shared is samples[0].shared for sample in samples)
    assert [(sample.facts.get("valid"), sample.facts.get("plausible")) for sample in samples] == [
        (0, 1),
        (0, 0),
        (None, None),
    ]


@pytest.mark.parametrize(
    "name", ["testdev_sceneGraphs.json", "sceneGraphs/testdev_sceneGraphs.json", "sceneGraphs.json.gz"]
)
def test_boxes_of_what_questions_point_to(tmp_path: Path, write: Write, gqa_record: dict[str, Any], name: str) -> None:
    annotations = {"question": {"2": "17"}, "answer": {"0": "18"}, "fullAnswer": {"1:3": "17", "4": "17"}}
    lost = {**gqa_record, "imageId": "n6", "annotations": annotations}
    plain = {key: gqa_record[key] for key in gqa_record if key != "annotations"}
    write(QUESTIONS, {"1": {**gqa_record, "annotations": annotations}, "2": lost, "3": plain})
    write(name, {"n5": SCENE, "n7": SCENE})
    samples = read(tmp_path)
    assert samples[0].facts["objects"] == ["17", "17", "17"]
    assert "objects" not in samples[2].facts
    assert samples[0].shared == {"scenes": {"n5": {"size": [500, 333.5], "boxes": {"17": [1, 2, 30, 40]}}}}
    json.dumps(samples[0].shared)


def test_files_of_another_split_are_left_alone(tmp_path: Path, write: Write, gqa_record: dict[str, Any]) -> None:
    write(QUESTIONS, {"1": gqa_record})
    write("val_all_questions.json", {"1": gqa_record})
    write("eval/val_choices.json", {"1": {"valid": ["val"], "plausible": []}})
    write("val_sceneGraphs.json", {"n5": SCENE})
    assert read(tmp_path)[0].shared == {}
    assert set(read(tmp_path, "val_all")[0].shared) == {"choices", "scenes"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("choices.json", [], "expected `object`, got `array`"),
        ("choices.json", {"1": {"valid": ["a"], "plausable": []}}, "question 1: no field 'plausible' (did you mean"),
        ("choices.json", {"1": {"valid": "couch", "plausible": []}}, "question 1, valid: expected `array`, got `str`"),
        ("choices.json", {"1": {"valid": [], "plausible": [3]}}, "question 1, plausible: [0]: expected `str`, got"),
        ("choices.json", "", "not JSON"),
        ("sceneGraphs.json", {"n5": {**SCENE, "width": 0}}, "image n5: width: expected `int` >= 1"),
        ("sceneGraphs.json", {"n5": {"width": 5, "objects": {}}}, "image n5: no field 'height' (it has: objects, wid"),
        ("sceneGraphs.json", {"n5": {**SCENE, "objects": {}}}, "image n5: no object '17', which a question points to"),
        (
            "sceneGraphs.json",
            {"n5": {**SCENE, "objects": {"17": {"name": "couch", "x": 1, "y": 2, "h": 4}}}},
            "image n5, object 17: no field 'w' (it has: h, name, x, y)",
        ),
        (
            "sceneGraphs.json",
            {"n5": {**SCENE, "objects": {"17": {"x": None, "y": 2, "w": 3, "h": 4}}}},
            "image n5, object 17: x: expected `int | float`, got `null`",
        ),
    ],
)
def test_bad_files_beside_the_questions(
    tmp_path: Path, write: Write, gqa_record: dict[str, Any], name: str, content: Any, message: str
) -> None:
    annotations = {"question": {"2": "17"}, "answer": {}, "fullAnswer": {}}
    write("questions.json", {"1": {**gqa_record, "annotations": annotations}})
    path = write(name, content)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_the_real_questions(reference: Path) -> None:
    samples = read(reference / "gqa_ood")
    assert len(samples) == 2796
    assert samples[0].facts["steps"] == 3
    shared = samples[0].shared
    assert len(shared["choices"]) < 2796
    assert set(shared["scenes"]) == {sample.group for sample in samples}
    lists = json.loads(json.dumps(shared["choices"]))
    assert "couch" in lists[samples[0].facts["valid"]]


# ---------------------------------------------------------------- results files


def answers(*paths: Path) -> list[tuple[str, Output]]:
    benchmark = Gqa()
    assert isinstance(benchmark, ResultsReader)
    return list(benchmark.results(paths, DataSource()))


def attention(write: Write, rows: Mapping[str, Any]) -> tuple[Path, list[Trace | None]]:
    """The file, and what it gives for as many answers."""
    said = write("predictions.json", [{"questionId": key, "prediction": "a"} for key in rows])
    path = write("attentions.json", [{"questionId": key, "attention": value} for key, value in rows.items()])
    return path, [output.trace for _, output in answers(said, path)]


def test_answers_keep_order_repetitions_and_white_space(write: Write) -> None:
    rows = [("30", "Yes. "), ("4", ""), ("30", "no")]
    path = write("predictions.json.gz", [{"questionId": key, "prediction": said} for key, said in rows])
    assert answers(path) == [(key, Output(said)) for key, said in rows]
    lines = "\n".join(json.dumps({"questionId": int(key), "prediction": said, "more": 1}) for key, said in rows)
    assert answers(write("predictions.jsonl", lines)) == [(key, Output(said)) for key, said in rows]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("yes", "not JSON"),
        ([{"questionId": "1", "predicton": "a"}], "[0]: no field 'prediction' (did you mean 'predicton'?)"),
        ([{"question_id": "1", "prediction": "a"}], "[0]: no field 'questionId' (did you mean 'question_id'?)"),
        ([{"questionId": "1", "prediction": 3}], "[0].prediction: expected `str`, got `int`"),
        ([{"questionId": "1", "prediction": None}], "[0].prediction: expected `str`, got `null`"),
        ([{"questionId": None, "prediction": "a"}], "[0].questionId: expected `int | str`, got `null`"),
        ([{"questionId": "1", "attention": [[1]]}], "[0]: no field 'prediction' (it has: attention, questionId)"),
    ],
)
def test_bad_answers(write: Write, content: Any, message: str) -> None:
    path = write("predictions.json", content)
    with pytest.raises(DataError) as caught:
        answers(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_the_first_index_of_official_attention_runs_across_the_picture(write: Write) -> None:
    _, traces = attention(write, {"1": [[1, 2], [3, 4]], "2": [[0, 0], [0, 1]]})
    assert traces == [Trace({"attention": [[1, 3], [2, 4]]}), Trace({"attention": [[0, 0], [0, 1]]})]


def test_answers_without_attention_and_attention_without_answers(write: Write) -> None:
    said = write("predictions.json", [{"questionId": key, "prediction": "a"} for key in "12"])
    first = write("one.json", [{"questionId": "2", "attention": [[1]]}])
    second = write("two.json", [{"questionId": "3", "attention": [[1, 0], [0, 0]]}])
    assert [output.trace for _, output in answers(said, first, second)] == [None, Trace({"attention": [[1]]})]


def test_attention_over_boxes(write: Write) -> None:
    box = [0.1, 0.2, 0.5, 1, 0.75]
    _, traces = attention(write, {"1": [box], "2": [], "3": [box, box]})
    assert traces == [Trace({"attention_boxes": rows}) for rows in ([box], [], [box, box])]


def test_five_rows_of_five(write: Write) -> None:
    box, cells = [0.1, 0.2, 0.5, 1, 0.75], [0.1, 0.2, 0.1, 0.0, 0.3]
    assert attention(write, {"1": [box] * 5})[1] == [Trace({"attention_boxes": [box] * 5})]
    (trace, _) = attention(write, {"1": [box] * 5, "2": [cells] * 5})[1]
    assert trace is not None
    assert set(trace.maps) == {"attention"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"1": [[1, 0], [0]]}, "question 1: attention: 2 rows of 1 or 2 numbers are neither a square grid nor boxes"),
        ({"1": [[1, 0, 0], [0, 1, 0]]}, "question 1: attention: 2 rows of 3 numbers are neither"),
        ({"1": []}, "question 1: attention: 0 rows of no numbers are neither"),
        ({"1": [[1]], "2": [[1, 0], [0, 0]]}, "question 2: attention: a grid of 2 by 2, and the file's first is of 1"),
        ({"1": [[0, 0, 1, 1, 1]], "2": [[0, 0.5, 1, 0.5, 1]]}, "question 2: attention: row 0 is a box without area"),
        ({"1": [[0, 0, 640, 480, 1]]}, "question 1: attention: row 0 is not in the picture; write x0, y0, x1, y1 as"),
        ({"1": [1, 2]}, "[0].attention[0]: expected `array`, got `int`"),
        ({"1": [["a"]]}, "[0].attention[0][0]: expected `float`, got `str`"),
        ({"1": None}, "[0].attention: expected `array`, got `null`"),
    ],
)
def test_bad_attention(tmp_path: Path, write: Write, rows: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        attention(write, rows)
    assert str(caught.value).startswith(f"{tmp_path / 'attentions.json'}: ")
    assert message in str(caught.value)
