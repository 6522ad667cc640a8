"""Official files that are not as they should be: the message names file, place and next step."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import DataError, DataSource
from plugins.benchmarks import official
from plugins.benchmarks.vqa import Result
from plugins.benchmarks.vqav2 import vqav2

Write = Callable[[str, Any], Path]
QUESTIONS = "v2_OpenEnded_mscoco_val2014_questions.json"


def message(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(vqav2().samples(DataSource(path=folder)))
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", ":1:1: not JSON (Input data was truncated); download or export it again"),
        ('{"questions": [\n  {"question_id": 1,,}]}', ":2:21: not JSON (JSON is malformed: "),
        ('{"questions": [{"question_id": 1', ":1:33: not JSON (Input data was truncated)"),
        ([1], ": expected `object`, got `array`"),
        ({"qestions": []}, ": no field 'questions' (did you mean 'qestions'?)"),
        ({"questions": None}, ": questions: expected `array`, got `null`"),
        (
            {"questions": [{"question_id": 1, "image_id": 2, "question": "?"}, {"id": 1, "image": 2, "question": "?"}]},
            ": questions[1]: no field 'question_id' (did you mean 'question'?)",
        ),
        (
            {"questions": [{"question_id": "one", "image_id": 2, "question": "?"}]},
            ": questions[0].question_id: expected `int`, got `str`",
        ),
        (
            {"questions": [{"question_id": 1, "image_id": 2, "question": ["?"]}]},
            ": questions[0].question: expected `str`, got `array`",
        ),
    ],
)
def test_malformed_files(vqa_folder: Path, write: Write, content: Any, problem: str) -> None:
    path = write(QUESTIONS, content)
    assert message(vqa_folder).startswith(f"{path}{problem}")


def test_malformed_answers_are_named_by_record(vqa_folder: Path, write: Write) -> None:
    rows = [{"question_id": 42001, "answers": [{"answer": "a"}, {"answr": "b"}]}]
    path = write("v2_mscoco_val2014_annotations.json", {"annotations": rows})
    assert message(vqa_folder) == f"{path}: annotations[0].answers[1]: no field 'answer' (did you mean 'answr'?)"


DEEP = "[" * 5_000 + "]" * 5_000
LONG = "9" * 5_000
TOO_DEEP = "lists or objects lie too deep in each other; download or export it again"
TOO_LONG = "a number of too many digits; download or export it again"


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (f'{{"question_id": 1, "answer": "x", "more": {DEEP}}}', TOO_DEEP),
        (f'{{"answer": "x", "more": {DEEP}}}', TOO_DEEP),
        (f'{{"question_id": {LONG}, "answer": "x"}}', f"question_id: {TOO_LONG}"),
        (f'{{"question_id": 1, "answer": {LONG}}}', f"answer: {TOO_LONG}"),
        (f'{{"answer": "x", "more": {LONG}}}', "no field 'question_id'"),
        (f'{{"question_id": 1, "answer": {DEEP}}}', "answer: expected `str`, got `array`"),
        (f'{{"question_id": 1, "answer": "x", "more": {LONG}, 5}}', "not JSON"),
    ],
    ids=["deep", "deep-missing", "long-id", "long-answer", "long-missing", "deep-answer", "long-broken"],
)
@pytest.mark.parametrize("form", ["[{}]", "{}"])
def test_records_that_are_too_deep_and_numbers_that_are_too_long(
    tmp_path: Path, record: str, problem: str, form: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text(form.format(record))
    with pytest.raises(DataError) as caught:
        list(official.records([path], Result))
    assert str(caught.value).startswith(str(path) if form == "[{}]" else f"{path}:1")
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 400


def test_text_that_is_not_utf_8(vqa_folder: Path) -> None:
    path = vqa_folder / QUESTIONS
    path.write_bytes(b'{"questions": [\n{"question_id": 1, "image_id": 2, "question": "\xff"}]}')
    assert message(vqa_folder).startswith(f"{path}:2: not JSON (")


def test_a_byte_order_mark_is_no_fault(vqa_folder: Path) -> None:
    path = vqa_folder / QUESTIONS
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(list(vqav2().samples(DataSource(path=vqa_folder)))) == 3


@pytest.mark.parametrize("damage", [lambda content: content[:-20], lambda content: b"plain text"])
def test_a_damaged_gzip_file(vqa_folder: Path, damage: Callable[[bytes], bytes]) -> None:
    plain = vqa_folder / QUESTIONS
    packed = vqa_folder / f"{QUESTIONS}.gz"
    packed.write_bytes(damage(gzip.compress(plain.read_bytes())))
    plain.unlink()
    assert message(vqa_folder).startswith(f"{packed}: truncated, or no gzip file (")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert message(tmp_path / "nowhere") == (
        f"{tmp_path}/nowhere: no such folder; name the right place with --data or with `data:` in benchmarks.yaml"
    )


def test_a_file_instead_of_a_folder(vqa_folder: Path) -> None:
    assert message(vqa_folder / QUESTIONS).startswith(f"{vqa_folder / QUESTIONS}: is a file, not a folder; ")


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    assert message(tmp_path).startswith(
        f"{tmp_path}: no file of split 'val' (looked for {QUESTIONS}, .gz too; there is: no *questions.json at all)"
    )
