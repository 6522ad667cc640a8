"""What is wrong with a pipeline is said before anything starts, with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import ROOT

from harness import ConfigError, UsageError, open_session
from training.pipelines import checking
from training.pipelines.examining import _answer
from training.pipelines.progress import RUNNING, Progress
from training.pipelines.reading import read_pipeline

MAKE = (
    "job: {command: [sh, -c, 'date > $0/x; touch started', '{outputs.data}']}\n"
    "  outputs: {data: {name: d, type: dataset}}"
)

WRONG = [
    ("a:\n  job: {command: ['true']}\n  depends_on: [b]\nb:\n  job: {command: ['true']}\n  depends_on: a",
     "p.yaml:6: stages wait for each other: a → b → a"),
    ("a:\n  job: {command: ['true']}\n  depends_on: a", "p.yaml:6: stages wait for each other: a → a"),
    ("one:\n  job: {command: ['true']}\ntwo:\n  depends_on: [oen]\n  job: {command: ['true']}",
     "p.yaml:7: depends_on: unknown stage 'oen' (did you mean 'one'"),
    ("a:\n  retries: 1", "p.yaml:4: stages.a: does nothing: add train, evaluate, sweep, gate, promote, deploy or job"),
    ("a:\n  job: {command: ['true']}\n  gate: {policy: production, model: 'acme-book:v0'}",
     "p.yaml:4: stages.a: does gate and job, and must do one of them"),
    ("a:\n  jop: {command: ['true']}", "p.yaml:5: unknown key 'jop' (did you mean 'job'"),
    ("a:\n  job: {command: ['true']}\n  parallel: 2", "p.yaml:4: stages.a: parallel: is how many trials of a sweep"),
    ("a:\n  job: {command: [echo, '{inputs.d}']}", "p.yaml:5: unknown placeholder 'inputs.d' (there is none)"),
    ("a:\n  job: {command: [echo, '{word}']}", "a brace that stands for itself is doubled"),
    ("a:\n  job: {command: [echo, '{parameters.wrod}']}", "p.yaml:5: unknown parameter 'wrod' (did you mean 'word'"),
    ("a:\n  job: {command: [echo, '{outputs.x}']}", "p.yaml:5: unknown placeholder 'outputs.x'"),
    ("a:\n  job: {command: ['true']}\nb:\n  inputs: {d: a}\n  job: {command: ['true']}",
     "p.yaml:7: d: the stage 'a' publishes none: write a.OUTPUT"),
    (f"a:\n  {MAKE}\nb:\n  inputs: {{d: a.dota}}\n  job: {{command: ['true']}}",
     "p.yaml:8: d: unknown output of the stage 'a' 'dota' (did you mean 'data'"),
    ("a:\n  inputs: {d: nothing}\n  job: {command: ['true']}",
     "p.yaml:5: d: unknown stage 'nothing' (known: a); an input is STAGE.OUTPUT, or NAME:REF of the registry"),
    ("a:\n  inputs: {d: 'never:v3'}\n  job: {command: ['true']}", "p.yaml:5: d: unknown checkpoint 'never'"),
    (f"a:\n  {MAKE}\nb:\n  inputs: {{d: 'd:latest'}}\n  job: {{command: ['true']}}",
     "`harness checkpoints log` lists them; write a.data for what the pipeline makes"),
    (f"a:\n  {MAKE}\nb:\n  {MAKE}\nc:\n  depends_on: [a, b]\n  job: {{command: [echo, '{{depends_on_artifact}}']}}",
     "p.yaml:12: {depends_on_artifact} is the one artifact of the stages depended on, and these publish a.data"),
    (f"a:\n  {MAKE}\nb:\n  depends_on: a\n  evaluate: {{model: '{{depends_on_artifact}}', benchmarks: acme-trivia}}",
     "p.yaml:9: model: a.data is a dataset; a model is needed"),
    ("a:\n  evaluate: {model: 'acme-book:v0', benchmarks: acme-trivia}\n  outputs: {s: {name: s, type: model}}",
     "p.yaml:6: s: is of type evaluation, not model: evaluate makes that"),
    ("a:\n  promote: {model: 'acme-book:v0', to: x}\n  outputs: {s: {name: s, type: model}}",
     "p.yaml:6: s: a stage that does promote publishes nothing"),
    ("a:\n  job: {command: ['true']}\n  outputs: {s: {name: s, type: film}}",
     "p.yaml:6: stages.a.outputs.s.type: input should be 'model', 'dataset' or 'evaluation', not 'film'"),
    (f"a:\n  {MAKE}\nb:\n  job: {{command: ['true']}}\n  outputs: {{m: {{name: d, type: model}}}}",
     "p.yaml:9: m: d is a dataset in another stage, not a model"),
    ("a:\n  job: {command: ['true']}\n  outputs: {s: {name: taken, type: dataset}}",
     "p.yaml:6: s: taken holds versions of type 'model', not 'dataset'; give it another name"),
    ("a:\n  gate: {policy: prodaction, model: 'acme-book:v0'}",
     "p.yaml:5: policy: unknown gate policy 'prodaction' (did you mean 'production'"),
    ("a:\n  evaluate: {model: 'acme-book:v0', benchmarks: acme-trivial}",
     "p.yaml:5: benchmarks: unknown benchmark 'acme-trivial' (did you mean 'acme-trivia'"),
    ("a:\n  evaluate: {model: 'acme-book:v0', suite: cor}", "p.yaml:5: suite: unknown suite 'cor'"),
    ("a:\n  evaluate: {model: 'acme-boek:v0', benchmarks: acme-trivia}",
     "p.yaml:5: model: unknown model 'acme-boek' (did you mean 'acme-book'"),
    ("a:\n  job: {command: ['true']}\n  outputs: {m: {name: kc-model, type: model}}\n"
     "b:\n  depends_on: a\n  evaluate: {model: '{depends_on_artifact}', benchmarks: acme-trivia}",
     "p.yaml:9: model: {depends_on_artifact} is kc-model, as the registry calls it, and no model plugin has that name; "
     "name the one that loads it: hf:registry/{depends_on_artifact}"),
    ("a:\n  train: {config: no.yaml}", "p.yaml:5: train: no.yaml: cannot be read (No such file or directory)"),
    ("a:\n  sweep: {file: no.yaml}", "p.yaml:5: sweep: no.yaml: cannot be read (No such file or directory)"),
    ("a:\n  job: {command: [cat, x], reads: [x]}", "p.yaml:5: reads: there is no x"),
    ("a:\n  job: {command: ['true'], set: {x: 1}}", "set: changes a job's file"),
]  # fmt: skip


@pytest.mark.parametrize(("stages", "message"), WRONG, ids=[message[:60] for _, message in WRONG])
def test_a_mistake_is_named_with_its_line(
    run: Callable[..., Any], book: Path, publish_taken: None, stages: str, message: str
) -> None:
    ran = run(stages, parameters="{word: hello}")
    assert (ran.code, message in ran.said) == (2, True), ran.said
    assert not Path("started").exists()


@pytest.fixture
def publish_taken(workspace: Path) -> None:
    """The registry has a model called `taken`."""
    (workspace / "model").mkdir()
    (workspace / "model" / "x").write_text("x")
    with open_session() as session:
        session.checkpoints.publish(workspace / "model", "taken")


def test_all_mistakes_are_said_at_once(run: Callable[..., Any]) -> None:
    ran = run("a:\n  depends_on: [x, y]\n  job: {command: ['true']}\nb:\n  depends_on: z\n  job: {command: ['true']}")
    assert [line[-40:] for line in ran.said.splitlines()] == [
        "depends_on: unknown stage 'x' (known: a, b)"[-40:],
        "depends_on: unknown stage 'y' (known: a, b)"[-40:],
        "depends_on: unknown stage 'z' (known: a, b)"[-40:],
    ]


def test_a_parameter_that_is_not_there_is_no_change(run: Callable[..., Any]) -> None:
    ran = run("a:\n  job: {command: ['true']}", "--set", "wrod=1", parameters="{word: hello}")
    assert ran.code == 2
    assert "unknown parameter 'wrod' (did you mean 'word'?)" in ran.said


def test_a_change_that_is_wrong_is_named_as_it_was_typed(write: Callable[..., Path]) -> None:
    file = write("a:\n  evaluate: {model: 'm:v0', benchmarks: b, limit: '{parameters.limit}'}", "{limit: 3, word: x}")
    with pytest.raises(ConfigError, match=r"p.yaml:5: stages.a.evaluate.limit: .*not 'abc' \(--set limit=abc\)$"):
        read_pipeline(file, ["word=y", "limit=abc"])
    for change in ("limit", "limit=", "=3"):
        with pytest.raises(UsageError, match=f"^--set {change}: write NAME=VALUE"):
            read_pipeline(file, [change])
    with pytest.raises(UsageError, match=r"^--set limit=\[: the value is not valid YAML"):
        read_pipeline(file, ["limit=["])


def test_a_report_that_cannot_be_written_is_refused_before_anything_starts(run: Callable[..., Any]) -> None:
    ran = run("a:\n  job: {command: [touch, started]}", "--report", "nodir/y.html")
    assert (ran.code, "--report nodir/y.html: there is no folder nodir" in ran.said) == (2, True), ran.said
    assert not Path("started").exists()


def test_trainings_and_sweeps_are_looked_at_with_what_is_set(run: Callable[..., Any], book: Path) -> None:
    Path("floor.yaml").write_text("stage: majority\nbenchmarks: [acme-trivia]\nname: floor\n")
    Path("sweep.yaml").write_text(
        "method: grid\nprogram: x.py\nmetric: {name: x}\nparameters: {a: {values: [1]}}\nrun_kap: 3\n"
    )
    stages = (
        "a:\n  train: {config: floor.yaml, set: {werds: 3}}\n"
        "b:\n  train: {config: floor.yaml}\n  outputs: {m: {name: ceiling, type: dataset}}\n"
        "c:\n  sweep: {file: sweep.yaml}\n"
        "d:\n  job: {file: job.yaml}"
    )
    Path("job.yaml").write_text("name: j\nentry_point: [sh]\nentrypoint: 3\n")
    ran = run(stages)
    assert ran.code == 2
    for message in (
        "p.yaml:5: train: floor.yaml: unknown key 'werds' (did you mean 'words'?)",
        "p.yaml:8: m: the training makes a model, not a dataset",
        "p.yaml:8: m: the training publishes floor, not ceiling; give it `set: {name: ceiling}`",
        "p.yaml:10: sweep: sweep.yaml:5: unknown key 'run_kap' (did you mean 'run_cap'?)",
        "p.yaml:12: job: job.yaml:3: unknown key 'entrypoint' (did you mean 'entry_point'?)",
    ):
        assert message in ran.said, ran.said


def test_no_secret_is_stored_or_said(run: Callable[..., Any], workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_TOKEN", "correct4horse8battery2staple")
    written = run("a:\n  job: {command: [curl, '${OUR_TOKEN}']}", parameters="{api_key: x}")
    given = run(
        "a:\n  job: {command: [echo, '{parameters.x}']}", "--set", "x=correct4horse8battery2staple", parameters="{x: 1}"
    )
    assert (written.code, given.code) == (2, 2)
    assert "p.yaml:5: stages.a.job.command.1: holds a secret; let the program take it from the env" in written.said
    assert "p.yaml:2: api_key: is named like a secret, which no pipeline holds" in written.said
    assert "parameters.x: holds a secret" in given.said
    kept = b"".join(path.read_bytes() for path in (workspace / "home").rglob("*") if path.is_file())
    assert "correct4horse" not in written.said + given.said + kept.decode(errors="replace")


@pytest.mark.parametrize("name", ["vlm", "arr_coc"])
def test_what_ships_is_sound(workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its files are looked at in this process, which has imported PyTorch for other tests."""
    monkeypatch.setattr(checking, "examine", lambda questions: [_answer(*question) for question in questions])
    with open_session() as session:
        checking.check(read_pipeline(ROOT / "training" / "configs" / "pipelines" / f"{name}.yaml"), session)


def test_what_goes_on_is_shown_by_what_it_said_and_no_advice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "step 40 of 40\nmade kc-model:v0\n`harness checkpoints pull kc-model:v0 --out DIR` writes its files\n{}"
    )
    assert Progress("train", "train", (), state=RUNNING, log=log).line() == "made kc-model:v0"
