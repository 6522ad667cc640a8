"""POPE: its files, and which question an answer in a results file is to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from harness import DataError, DataSource, FileImage, Pair
from plugins.benchmarks.pope import Pope
from plugins.metrics.pope import Pope as PopeMetric

Write = Callable[[str, Any], Path]

CATEGORIES = ("random", "popular", "adversarial")
ASKED = {
    "random": ["snowboard", "sandwich", "person"],
    "popular": ["snowboard", "dining table", "person"],
    "adversarial": ["snowboard", "backpack", "person"],
}


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def text(thing: str) -> str:
    return f"Is there a {thing} in the image?"


def image(number: int) -> str:
    return f"COCO_val2014_{number // 2:012d}.jpg"


@pytest.fixture
def folder(tmp_path: Path, write: Write) -> Path:
    """Three questions a category, about two pictures."""
    for category, things in ASKED.items():
        rows = [
            {"question_id": n + 1, "image": image(n), "text": text(thing), "label": "no" if n == 1 else "yes"}
            for n, thing in enumerate(things)
        ]
        write(f"data/coco_pope_{category}.json", lines(rows))
    return tmp_path / "data"


@pytest.fixture
def llava(folder: Path, write: Write) -> list[dict[str, Any]]:
    """LLaVA's questions beside them, which lack one of the random ones; and answers of its layout."""
    questions = []
    for block, (category, left_out) in enumerate([("adversarial", None), ("random", "snowboard"), ("popular", None)]):
        kept = [(n, thing) for n, thing in enumerate(ASKED[category]) if thing != left_out]
        questions += [
            {"question_id": block * 10_000_000 + place, "image": image(n), "text": f"{text(thing)}\nBriefly.",
             "category": category}
            for place, (n, thing) in enumerate(kept, 1)
        ]  # fmt: skip
    write("data/llava_pope_test.jsonl", lines(questions))
    return [
        {"question_id": row["question_id"], "prompt": row["text"], "text": f"answer {n}", "metadata": {}}
        for n, row in enumerate(questions)
    ]


def results(folder: Path, *paths: Path) -> list[tuple[str, str]]:
    return [(name, output.text) for name, output in Pope().results(paths, DataSource(path=folder))]


def test_the_samples(folder: Path) -> None:
    samples = list(Pope().samples(DataSource(path=folder)))
    assert [sample.id for sample in samples] == [f"{category}/{n}" for category in CATEGORIES for n in (1, 2, 3)]
    second = samples[1]
    assert (second.question, second.references, second.group) == (
        text("sandwich"),
        ("no",),
        "COCO_val2014_000000000000",
    )
    assert second.facts == {"category": "random"}
    assert second.images == (FileImage(folder / "val2014" / image(1)),)
    request = Pope().request(second, "llava")
    assert request.prompt == f"{text('sandwich')}\nAnswer the question using a single word or phrase."
    assert Pope().request(second, "plain").prompt == text("sandwich")


@pytest.mark.parametrize("place", ["output/coco", "coco"])
def test_where_the_files_may_lie(folder: Path, place: str) -> None:
    for path in folder.glob("coco_pope_*"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        shutil.move(path, folder / place)
    assert len(list(Pope().samples(DataSource(path=folder)))) == 9


def test_one_category_alone_and_one_that_is_not_there(folder: Path) -> None:
    (folder / "coco_pope_popular.json").unlink()
    assert {sample.id[:6] for sample in Pope().samples(DataSource(path=folder, split="random"))} == {"random"}
    with pytest.raises(DataError, match=r"no coco_pope_popular\.json, neither there nor in output/coco or coco"):
        list(Pope().samples(DataSource(path=folder)))


def test_the_hubs_copy(tmp_path: Path) -> None:
    columns = {
        "id": ["0", "1"],
        "question_id": ["1", "1"],
        "question": [text("dog"), text("cat")],
        "answer": ["yes", "no"],
        "image_source": ["COCO_val2014_000000310196"] * 2,
        "category": ["adversarial", "popular"],
        "image": [{"bytes": b"a", "path": None}] * 2,
    }
    datasets.Dataset.from_dict(columns).to_parquet(tmp_path / "test-00000-of-00001.parquet")
    first, second = Pope().samples(DataSource(path=tmp_path))
    assert (first.id, second.id) == ("adversarial/1", "popular/1")
    assert (first.group, first.references, first.question) == ("COCO_val2014_000000310196", ("yes",), text("dog"))
    assert first.images[0].read() == b"a"


def test_rows_that_name_their_category(folder: Path, write: Write) -> None:
    rows = [
        {"question_id": 2, "category": "popular", "answer": "No"},
        {"question_id": 9, "category": "x", "answer": ""},
    ]
    assert results(folder, write("all.json", rows)) == [("popular/2", "No"), ("x/9", "")]


def test_files_that_are_named_for_their_category(folder: Path, write: Write) -> None:
    by_number = write("my_random.jsonl", lines([{"question_id": n, "text": f"a{n}"} for n in (3, 1)]))
    in_order = [{"question": text(thing), "answer": thing} for thing in ASKED["popular"]]
    bare = [{"answer": thing} for thing in ASKED["adversarial"]]
    paths = (by_number, write("coco_pope_popular.json", lines(in_order)), write("pope_adversarial.json", bare))
    assert results(folder, *paths) == [
        ("random/3", "a3"),
        ("random/1", "a1"),
        *((f"popular/{n}", thing) for n, thing in enumerate(ASKED["popular"], 1)),
        *((f"adversarial/{n}", thing) for n, thing in enumerate(ASKED["adversarial"], 1)),
    ]


IN_LLAVAS_ORDER = [
    "adversarial/1", "adversarial/2", "adversarial/3", "random/2", "random/3", "popular/1", "popular/2", "popular/3",
]  # fmt: skip


@pytest.mark.parametrize("place", ["in the data", "beside the answers", "given", "given, gzipped"])
def test_llavas_layout(folder: Path, write: Write, llava: list[dict[str, Any]], place: str) -> None:
    answers = write("answers/llava-v1.5-13b.jsonl", lines(llava))
    questions = folder / "llava_pope_test.jsonl"
    paths = [answers]
    if place == "beside the answers":
        shutil.move(questions, answers.parent)
    elif place == "given":
        paths = [Path(shutil.move(questions, answers.parent.parent)), answers]
    elif place == "given, gzipped":
        paths.append(write("elsewhere/llava_pope_test.jsonl.gz", questions.read_text()))
        questions.unlink()
    assert results(folder, *paths) == [(name, f"answer {n}") for n, name in enumerate(IN_LLAVAS_ORDER)]


def test_llavas_numbers_in_a_file_of_one_category(folder: Path, write: Write, llava: list[dict[str, Any]]) -> None:
    popular = [row for row in llava if row["question_id"] > 20_000_000]
    assert [name for name, _ in results(folder, write("llava_popular.jsonl", lines(popular)))] == IN_LLAVAS_ORDER[5:]
    # Another category's number is none of this one's.
    stray = write("llava_random.jsonl", lines([{**llava[0], "question_id": 20_000_001}]))
    assert results(folder, stray) == [("random/20000001", "answer 0")]


def test_llavas_questions_that_the_data_lacks(folder: Path, write: Write, llava: list[dict[str, Any]]) -> None:
    path = folder / "coco_pope_random.json"
    path.write_text(path.read_text().replace("sandwich", "couch"))
    ids = [name for name, _ in results(folder, write("answers.jsonl", lines(llava)))]
    assert ids[3:5] == [f"random/COCO_val2014_000000000000/{text('sandwich')}", "random/3"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jsonl", [{"question_id": 1, "text": "Yes"}], "record 1: nothing tells its category, and question 1 is not"),
        ("a.json", [{"question": text("snowboard"), "answer": "Yes"}], "nothing tells its category, and question None"),
        ("random_or_popular.json", [{"answer": "Yes"}], "nothing tells its category"),
        ("random.json", [{"question": text("cat"), "answer": "Yes"}],
         "record 1: is an answer to 'Is there a cat in the image.', and random/1 asks 'Is there a snowboard"),
        ("random.json", [{"answer": "Yes"}], "1 answers without `question_id` to 3 questions"),
        ("random.json", [{"answer": "Yes"}] * 4, "4 answers without `question_id` to 3 questions"),
        ("random.json", [{"question": text(thing), "answer": "Yes"} for thing in [*ASKED["random"], "cat"]],
         "4 answers without `question_id` to 3 questions"),
        ("a.json", [{"question_id": 1, "anwser": "Yes"}], r"\[0\]: no field 'answer' \(did you mean 'anwser'\?\)"),
        ("random.json", [{"question_id": 1, "text": None}], r"\[0\]\.text: expected `str`, got `null`"),
        ("random.json", [{"question_id": 1, "answer": 1}], r"\[0\]\.answer: expected `str`, got `int`"),
        ("random.json", [{"question_id": "one", "answer": ""}], r"\[0\]\.question_id: expected `int"),
        ("random.json", ["Yes"], r"\[0\]: expected `object`, got `str`"),
        ("random.json", "Yes", "random.json:1:1: not JSON"),
        ("random.json", "", "random.json: is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_told(folder: Path, write: Write, name: str, content: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        results(folder, write(name, content))


def test_llavas_answers_in_another_order(folder: Path, write: Write, llava: list[dict[str, Any]]) -> None:
    llava[1]["question_id"] = 20_000_001
    with pytest.raises(
        DataError, match=r"record 2: is an answer to 'Is there a backpack.*popular/1 asks 'Is there a snow"
    ):
        results(folder, write("answers.jsonl", lines(llava)))


def test_real_answers(reference: Path) -> None:
    data = DataSource(path=reference / "pope")
    samples = {sample.id: sample for sample in Pope().samples(data)}
    answers = dict(Pope().results([reference / "pope" / "llava-v1.5-13b.answers.jsonl"], data))
    assert len(answers) == 8910
    assert set(answers) == set(samples)
    pairs = [Pair(samples[name], output.text, output) for name, output in answers.items()]
    official = {"random": 0.8713601179506082, "popular": 0.8624589565851879, "adversarial": 0.8445873526259379}
    for category, f1 in official.items():
        chosen = [pair for pair in pairs if pair.sample.facts["category"] == category]
        assert PopeMetric().compute(chosen, "official")["f1"].value == f1
