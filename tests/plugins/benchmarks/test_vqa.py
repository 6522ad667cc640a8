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


def answers(*texts: str, **beside: list[Any]) -> list[dict[str, Any]]:
    """Records of annotators: their answers, and what else is in each."""
    return [
        {"answer": text, **{key: values[place] for key, values in beside.items()}} for place, text in enumerate(texts)
    ]


def annotate(write: Write, *records: tuple[int, list[dict[str, Any]]]) -> Path:
    rows = [{"question_id": question_id, "answers": given} for question_id, given in records]
    return write("v2_mscoco_val2014_annotations.json", {"annotations": rows})


def test_annotators_that_are_not_told_apart(vqa_folder: Path, write: Write) -> None:
    sure = ["yes", "no", "yes"]
    annotate(
        write,
        (7000, answers("a", "b", "c", answer_confidence=sure)),
        (42000, answers("a", "b", "c", answer_id=[1, 2, 1], answer_confidence=["yes", "yes", "no"])),
        (42001, answers("a", "b", "c", answer_id=[1, 1, 2], answer_confidence=["yes"] * 3)),
    )
    facts = {sample.id: sample.facts for sample in vqav2().samples(DataSource(path=vqa_folder))}
    assert facts == {"7000": {"alike": [0, 1, 0]}, "42000": {}, "42001": {"alike": [0, 0, 2]}}


def test_what_questions_have_in_common_is_kept_once(vqa_folder: Path) -> None:
    one, _, other = vqav2().samples(DataSource(path=vqa_folder))
    assert one.facts is other.facts
    assert one.images is other.images


def test_each_question_is_answered_once(vqa_folder: Path, write: Write) -> None:
    order = [42001, 7000, 42000]
    for twice in order:
        for place in range(4):
            ids = [*order[:place], twice, *order[place:]]
            path = annotate(write, *((question_id, answers("a", answer_id=[1])) for question_id in ids))
            with pytest.raises(DataError, match=f"{path}: question {twice} is answered twice"):
                list(vqav2().samples(DataSource(path=vqa_folder)))


@pytest.mark.parametrize("place", range(4))
def test_a_malformed_annotation_is_named_wherever_it_is(vqa_folder: Path, write: Write, place: int) -> None:
    rows: list[Any] = [{"question_id": number, "answers": answers("a")} for number in (42001, 7000, 42000)]
    rows.insert(place, {"question_id": "7", "answers": answers("a")})
    path = write("v2_mscoco_val2014_annotations.json", {"annotations": rows})
    with pytest.raises(DataError, match=rf"{path}: annotations\[{place}\]\.question_id: expected `int`, got `str`"):
        list(vqav2().samples(DataSource(path=vqa_folder)))


def test_an_annotation_that_is_not_utf_8(vqa_folder: Path, write: Write) -> None:
    path = annotate(write, (42001, answers("é")))
    path.write_bytes(path.read_bytes().replace(b"\\u00e9", b"\xe9"))
    with pytest.raises(DataError, match=f"{path}:1: not JSON "):
        list(vqav2().samples(DataSource(path=vqa_folder)))


def test_the_rule_of_lmms_eval_is_said_where_it_is_another() -> None:
    assert vqav2().shared == {}
    assert okvqa().shared == {"rules": {"lmms": "evalai"}}
    assert vqav2().info.protocols == okvqa().info.protocols == ("lmms", "official", "official-2017")


def test_results_are_as_the_files_have_them(vqa_folder: Path, write: Write) -> None:
    rows = [{"question_id": 7000, "answer": " Red\n"}, {"question_id": "42001", "answer": ""}]
    one = write("one.json", rows)
    lines = write("other.jsonl.gz", "\n".join(json.dumps(row) for row in rows[:1]))
    results = list(vqav2().results([one, lines], DataSource(path=vqa_folder)))
    assert [(name, output.text) for name, output in results] == [("7000", " Red\n"), ("42001", ""), ("7000", " Red\n")]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"question_id": 1, "answer": 2}, "[0].answer: expected `str`, got `int`"),
        ({"question_id": 1, "answer": None}, "[0].answer: expected `str`, got `null`"),
        ({"question_id": 1, "answers": "a"}, "[0]: no field 'answer' (did you mean 'answers'?)"),
        ({"questionId": 1, "answer": "a"}, "[0]: no field 'question_id' (did you mean 'questionId'?)"),
    ],
)
def test_malformed_results(vqa_folder: Path, write: Write, row: Any, problem: str) -> None:
    path = write("results.json", [row])
    with pytest.raises(DataError) as caught:
        list(okvqa().results([path], DataSource(path=vqa_folder)))
    assert str(caught.value) == f"{path}: {problem}"


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
