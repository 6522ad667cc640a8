"""Results files as they should not be: a clear error or a defined score, for every benchmark that reads them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command

from harness import DataSource
from harness.session import Session
from training.microworld import build

Rows = list[dict[str, Any]]
KEYS = {
    "vqav2": ("question_id", "answer"),
    "okvqa": ("question_id", "answer"),
    "gqa": ("questionId", "prediction"),
    "nocaps": ("image_id", "caption"),
    "coco_captions": ("image_id", "caption"),
}
NO_JAVA = ("accuracy", "cider", "bleu_4", "rouge_l")


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("data") / "tiny", images=8, evaluation_images=8).path


@pytest.fixture(params=KEYS)
def benchmark(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rows(benchmark: str, tiny_world: Path, workspace: Path) -> Rows:
    """The first reference of every sample, as an official results file has it."""
    session = Session(workspace / "home")
    task = session.benchmark(benchmark, data=tiny_world / benchmark)
    identity, answer = KEYS[benchmark]
    whole = identity != "questionId"
    return [
        {identity: int(sample.id) if whole else sample.id, answer: sample.references[0]} for sample in task.samples()
    ]


@pytest.fixture
def score(cli: Command, benchmark: str, tiny_world: Path, workspace: Path) -> Callable[..., Any]:
    def score(content: bytes | Rows, *more: str, name: str = "results.json") -> tuple[int, dict[str, Any], str]:
        path = workspace / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        metrics = [part for metric in NO_JAVA if (metric == "accuracy") == ("caption" not in KEYS[benchmark][1])
                   for part in ("--metric", metric)]  # fmt: skip
        result = cli("score", "--bench", benchmark, "--results", str(path), "--data", str(tiny_world / benchmark),
                     *metrics, "--json", *more)  # fmt: skip
        assert "Traceback" not in result.stderr
        assert "unexpected" not in result.stderr
        return result.returncode, json.loads(result.stdout)["runs"][0] if result.stdout else {}, result.stderr

    return score


def test_right_answers_are_right(score: Any, rows: Rows) -> None:
    code, run, error = score(rows)
    assert code == 0, error
    assert all(item["value"] > 0.3 for item in run["scores"].values())
    assert score(gzip.compress(json.dumps(rows).encode()), name="results.json.gz")[1]["run"] == run["run"]
    assert score("\n".join(map(json.dumps, rows)).encode(), name="results.jsonl")[1]["run"] == run["run"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "results.json: is empty"),
        (b"  \n", "results.json: is empty"),
        (b"[]", "answers none of the"),
        (b"nonsense", "results.json:1:1: not JSON"),
        (b'[{"a": 1},\n {"b" 2}]', "results.json:2:7: not JSON"),
        (b"\xff\xfe[", "not JSON"),
        (b"{}", "no field"),
        (b"[[]]", "expected `object`, got `array`"),
        (b"[1]", "expected `object`, got `int`"),
        (b'"text"', "expected `array`, got `str`"),
        (b"null", "expected `array`, got `null`"),
    ],
)
def test_files_that_are_no_results(score: Any, content: bytes, message: str) -> None:
    code, run, error = score(content)
    assert (code, run) == (2, {})
    assert message in error


def test_a_results_file_that_is_not_there(cli: Command, benchmark: str, tiny_world: Path) -> None:
    result = cli("score", "--bench", benchmark, "--results", "no.json", "--data", str(tiny_world / benchmark))
    assert result.returncode == 2
    assert "no.json: cannot be read (No such file or directory)" in result.stderr


def test_a_gzip_file_that_is_cut_off(score: Any, rows: Rows) -> None:
    code, _, error = score(gzip.compress(json.dumps(rows).encode())[:-20], name="cut.json.gz")
    assert code == 2
    assert "cut.json.gz: truncated, or no gzip file" in error


@pytest.mark.parametrize("which", [0, 1])
def test_a_field_that_is_called_otherwise(score: Any, rows: Rows, benchmark: str, which: int) -> None:
    key = KEYS[benchmark][which]
    wrong = key[:-1] + "x"
    rows[2][wrong] = rows[2].pop(key)
    code, _, error = score(rows)
    assert code == 2
    assert f"results.json: [2]: no field {key!r} (did you mean {wrong!r}?)" in error


@pytest.mark.parametrize(
    ("answer", "kind"), [(5, "int"), (0.5, "float"), (None, "null"), (["yes"], "array"), ({}, "object"), (True, "bool")]
)
def test_an_answer_that_is_no_text(score: Any, rows: Rows, benchmark: str, answer: Any, kind: str) -> None:
    key = KEYS[benchmark][1]
    rows[1][key] = answer
    code, _, error = score(rows)
    assert code == 2
    assert f"results.json: [1].{key}: expected `str`, got `{kind}`" in error


@pytest.mark.parametrize("answer", ["", " ", "x" * 1_000_000, "yes, " * 200_000, ". " * 50_000, "\x00\x1b[31m\u202e"])
def test_odd_answers_are_wrong_and_no_more(score: Any, rows: Rows, benchmark: str, answer: str) -> None:
    _, before, _ = score(rows)
    rows[0][KEYS[benchmark][1]] = answer
    code, run, error = score(rows)
    assert code == 0, error
    assert run["coverage"] == 1
    for name, item in run["scores"].items():
        assert item["n"] == len(rows)
        assert item["value"] < before["scores"][name]["value"] or name == "bleu_4"


def test_half_a_surrogate_pair_is_a_replacement_character(score: Any, rows: Rows, benchmark: str) -> None:
    key = KEYS[benchmark][1]
    rows[0][key] = "a \ufffd b"
    _, expected, _ = score(rows)
    rows[0][key] = "a \ud800 b"
    code, run, _ = score(rows)
    assert code == 0
    assert run["run"] == expected["run"]
    whole = json.dumps(rows).replace("\\ud800", "\\\\ud800").encode()  # an escaped backslash, and text behind it
    assert score(whole)[1]["run"] != expected["run"]


def test_reading_results_needs_no_pictures(
    benchmark: str, tiny_world: Path, tmp_path: Path, score: Any, rows: Rows
) -> None:
    source = DataSource(path=tiny_world / benchmark)
    assert source.path is not None
    bare = tmp_path / "bare"
    for path in source.path.rglob("*.json*"):
        copy = bare / path.relative_to(source.path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    code, run, error = score(rows, "--data", str(bare))
    assert code == 0, error
    assert run["coverage"] == 1
