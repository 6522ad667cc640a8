"""What the words of a stage stand for changes with what they name, and with nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import Session, open_session
from training.pipelines import checking
from training.pipelines.contents import ABSENT, Contents
from training.pipelines.identity import Recipe, recipe
from training.pipelines.reading import read_pipeline


@pytest.fixture
def session(book: Path) -> Iterator[Session]:
    with open_session() as opened:
        yield opened


def benchmark() -> str:
    with open_session() as session:
        return Contents(session).benchmark("acme-trivia")


def test_a_benchmark_is_its_rules_and_its_data(book: Path) -> None:
    before = benchmark()
    assert benchmark() == before
    os.utime("trivia/trivia.jsonl", (1, 1))
    touched = benchmark()
    Path("trivia/more.jpg").write_bytes(b"x")
    more = benchmark()
    settings = Path("benchmarks.yaml")
    settings.write_text(settings.read_text().replace("protocol: strict", "protocol: lenient"))
    assert len({before, touched, more, benchmark()}) == 4


def test_a_policy_is_what_it_asks_and_its_benchmarks(book: Path) -> None:
    def policies() -> tuple[str, ...]:
        with open_session() as session:
            return tuple(Contents(session).policy(name) for name in ("production", "severe", "none"))

    before = policies()
    settings = Path("benchmarks.yaml")
    settings.write_text(settings.read_text().replace("min: 0.9", "min: 0.8"))
    after = policies()
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]
    assert after[2] == ABSENT
    Path("trivia/trivia.jsonl").write_text(Path("trivia/trivia.jsonl").read_text() * 2)
    assert all(one != other for one, other in zip(after[:2], policies()[:2], strict=True))


def test_files_versions_and_benchmarks_are_found_wherever_they_are_named(session: Session, book: Path) -> None:
    Path("configs/deep").mkdir(parents=True)
    Path("configs/inner.yaml").write_text("start: 'base:latest'\nshares: {acme-trivia: 3}\n")
    Path("configs/deep/words.txt").write_text("a b c")
    session.checkpoints.publish(Path("configs/deep"), "base", aliases=["best"])
    value = {
        "config": "inner.yaml", "files": ["deep/words.txt"], "same": "hf:registry/base:best,image=none", "here": "..",
        "text": "no.such.file", "time": "12:30", "number": 3, "list": [["./deep"]],
    }  # fmt: skip
    contents = Contents(session)
    found = contents.named(value, Path("configs"))
    assert found.keys() == {
        "file inner.yaml", "file deep/words.txt", "file ./deep", "benchmark acme-trivia", "registry base:latest",
        "registry base:best",
    }  # fmt: skip
    assert found["registry base:latest"] == found["registry base:best"] == session.checkpoints.get("base", "v0").digest
    Path("configs/deep/words.txt").write_text("a b d")
    Path("configs/inner.yaml").write_text("start: 'base:latest'\nshares: {}\n")
    later = Contents(session).named(value, Path("configs"))
    assert {key for key in found if later.get(key) != found[key]} == {
        "file inner.yaml", "file deep/words.txt", "file ./deep", "benchmark acme-trivia",
    }  # fmt: skip


def test_links_that_go_round_end(session: Session, book: Path) -> None:
    Path("round").mkdir()
    Path("round/x").write_text("x")
    Path("round/again").symlink_to(Path("round").absolute())
    assert Contents(session).file(Path("round")) == Contents(session).file(Path("round"))


def test_a_job_is_its_program_and_what_its_file_takes_from_the_environment(
    session: Session, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = read_pipeline(write("a:\n  job: {file: job.yaml}"))
    Path("tool.sh").write_text("true")
    Path("job.yaml").write_text('entry_point: sh tool.sh ${args}\nparameters: {x: "${MYVAR}"}\n')
    monkeypatch.setenv("MYVAR", "1")

    def made() -> Recipe:
        return recipe(pipeline, "a", {}, {}, Contents(session))

    before = made()
    assert not made().changes(before.parts)
    monkeypatch.setenv("MYVAR", "2")
    assert made().changes(before.parts) == ["variables in job.yaml changed"]
    monkeypatch.setenv("MYVAR", "1")
    Path("tool.sh").write_text("false")
    assert made().changes(before.parts) == ["file tool.sh changed"]


def test_a_file_is_looked_at_once_as_it_is(
    session: Session, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was before is not kept for ever."""
    looks: list[int] = []
    monkeypatch.setattr(checking, "examine", lambda asked: looks.append(len(asked)) or [{"name": "j"} for _ in asked])
    pipeline = read_pipeline(write("a:\n  job: {file: job.yaml}\nb:\n  job: {file: job.yaml, set: {name: b}}"))
    for name in ("x", "x", "y"):
        Path("job.yaml").write_text(f"name: {name}\nentry_point: 'true'\n")
        checking.check(pipeline, session)
    assert looks == [2, 0, 1]
    assert len(json.loads(Path("home/pipelines/p/examined.json").read_text())) == 2
