"""What makes a sweep another one, and that an unchanged one is known at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from tests_support import write_settings, write_trivia

import training.recipe
from harness import Session, open_session
from training.sweeps.identity import identified

COMMAND = """
method: grid
parameters: {a: {values: [1, configs/a.json]}}
command: [python, tr.py, "${envvar:EXTRA}", --out=runs, "${args}"]
"""
SHELL = """
method: grid
parameters: {a: {value: 1}}
command: [sh, -c, "python tr.py --config=configs/a.json > log.txt"]
"""
TRAIN = "method: grid\ntrain: m.yaml\nparameters: {words: {values: [1, 2]}}\n"


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.chdir(tmp_path)
    with open_session(tmp_path / "home") as session:
        yield session


@pytest.mark.parametrize("text", [COMMAND, SHELL])
def test_a_commands_files_and_variables_make_it_another_sweep(
    session: Session, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    file, script, config = Path("it.yaml"), Path("tr.py"), Path("configs/a.json")
    config.parent.mkdir()
    file.write_text(text)
    script.write_text("print(1)")
    config.write_text("{}")
    seen = [identified(file, (), session)[1]]

    def same() -> bool:
        seen.append(identified(file, (), session)[1])
        return seen[-1] == seen[-2]

    Path("runs").mkdir()
    Path("runs/made").touch()
    Path("log.txt").write_text("what it said")
    assert same(), "what trials write does not count"
    os.utime(script)
    assert same()
    script.write_text("print(2)")
    assert not same()
    config.write_text('{"x": 1}')
    assert not same()
    monkeypatch.setenv("EXTRA", "--fast")
    assert same() == (text is SHELL)
    monkeypatch.setattr(metadata, "version", lambda name: "99")
    assert same(), "another's program does not depend on this one's version"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The configs that were looked into, which may import PyTorch."""
    asked: list[Path] = []
    before = training.recipe.read_stage
    monkeypatch.setattr(
        training.recipe, "read_stage", lambda config, *rest: (asked.append(config), before(config, *rest))[1]
    )
    return asked


def test_a_training_is_looked_into_only_where_something_has_changed(
    session: Session, asked: list[Path], small_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[3]
    data = shutil.copytree(small_world, Path("data"))
    Path("benchmarks.yaml").write_text((root / "benchmarks.yaml").read_text())
    monkeypatch.setenv("HARNESS_DATA", str(data))
    Path("it.yaml").write_text(TRAIN)
    Path("m.yaml").write_text("stage: majority\nname: m\nbenchmarks: [gqa]\n")

    def known() -> tuple[bool, str]:
        asked.clear()
        identity = identified(Path("it.yaml"), (), session)[1]
        return not asked, identity

    quick, first = known()
    assert not quick
    assert known() == (True, first)
    Path("weights").mkdir()
    Path("weights/w").touch()
    session.checkpoints.publish(Path("weights"), "it")
    assert known() == (True, first), "a trial's own versions are none that it reads"
    (questions,) = data.glob("gqa/train_balanced_questions.json")
    questions.write_text(questions.read_text().replace("0", "1", 1) + " ")
    quick, second = known()
    assert (quick, second == first) == (False, False)
    Path("m.yaml").write_text("stage: majority\nname: m\nbenchmarks: [gqa]\nwords: 3\n")
    assert not known()[0]
    assert known()[0]
    assert known()[1] != first
    monkeypatch.setattr(metadata, "version", lambda name: "99")
    quick, last = known()
    assert (quick, last == second) == (False, False)


def test_evaluations_are_planned_only_where_something_has_changed(
    session: Session, monkeypatch: pytest.MonkeyPatch, third_party: Path
) -> None:
    monkeypatch.syspath_prepend(str(third_party))
    write_trivia(Path("trivia"))
    write_settings(Path())
    Path("it.yaml").write_text(
        "method: grid\nevaluate: {model: 'acme-parrot:last', benchmarks: [acme-trivia]}\n"
        "parameters: {sleep: {values: [0, 1]}}\n"
    )
    planned: list[Any] = []
    before = Session.plan
    monkeypatch.setattr(Session, "plan", lambda *given: (planned.append(given), before(*given))[1])

    def known() -> tuple[int, str]:
        planned.clear()
        identity = identified(Path("it.yaml"), (), session)[1]
        return len(planned), identity

    first = known()
    assert first[0] == 1
    assert known() == (0, first[1])
    for file in Path("trivia").glob("*.json*"):
        file.write_text(file.read_text().replace("What", "Which"))
    assert known() not in ((0, first[1]), first)
