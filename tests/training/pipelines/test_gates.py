"""A model that passes its gate is promoted and deployed; one that does not stops the rest, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command

from harness import open_session
from training.deploy import folder

Run = Callable[..., Any]

BOOK = """
train:
  job: {command: [cp, "{parameters.right}.json", "{outputs.model}/answers.json"]}
  outputs: {model: {name: acme-book, type: model}}
evaluate:
  depends_on: train
  evaluate: {model: "{depends_on_artifact}", benchmarks: acme-trivia}
  outputs: {scores: {name: acme-scores, type: evaluation}}
gate:
  depends_on: evaluate
  inputs: {model: train}
  gate: {policy: "{parameters.policy}", model: "{inputs.model}"}
promote:
  depends_on: gate
  inputs: {model: train}
  promote: {model: "{inputs.model}", to: production, policy: "{parameters.policy}"}
deploy:
  depends_on: promote
  inputs: {model: train}
  deploy: {model: "{inputs.model}", out: out/book, policy: "{parameters.policy}"}
"""
PARAMETERS = "{right: 70, policy: production}"


def test_from_a_model_to_its_deployed_folder_and_to_a_gate_that_fails(
    run: Run, book: Path, cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = run(BOOK, parameters=PARAMETERS)
    assert (passed.code, set(passed.states.values())) == (0, {"done"}), passed.said
    scores = passed.stages["evaluate"]["scores"]
    assert [(row["name"], row["value"]) for row in scores] == [("acme-trivia.exact", 0.7)]
    with open_session() as session:
        model, made = session.checkpoints.get("acme-book", "v0"), session.checkpoints.get("acme-scores", "v0")
        assert (made.type, made.parents) == ("evaluation", (model.digest,))
        document = json.loads(
            (session.checkpoints.resolve("acme-scores", "v0").checkout() / "evaluate.json").read_text()
        )
        assert session.checkpoints.get("acme-book", "production") == model
    assert document["runs"][0]["scores"]["exact"]["value"] == 0.7
    assert str(book) not in json.dumps(document)
    assert Path("out/book/answers.json").read_bytes() == Path("70.json").read_bytes()
    assert json.loads(Path("out/book/deployment.json").read_text())["digest"] == model.digest
    assert "of policy `production`: pass" in Path("out/book/README.md").read_text()
    assert set(run(None).states.values()) == {"reused"}
    with monkeypatch.context() as context:
        context.setattr(metadata, "version", lambda name: "99.0")
        planned = {name: (stage["action"], stage["why"]) for name, stage in run(None, "--dry-run").stages.items()}
    assert planned["train"] == ("reuse", "nothing changed")  # the program of a job is its own
    assert planned["evaluate"] == ("run", "vlm-harness changed")

    failed = run(None, "--set", "policy=severe")
    assert failed.code == 1
    assert failed.states == {
        "train": "reused", "evaluate": "reused", "gate": "gate failed", "promote": "stopped", "deploy": "stopped",
    }  # fmt: skip
    assert failed.stages["gate"]["why"] == "fail: acme-trivia.exact 0.700, needed ≥ 0.9"
    assert "gate: gate failed: fail: acme-trivia.exact 0.700, needed ≥ 0.9\n  its whole output is in" in failed.said

    answers = Path("out/book/answers.json").read_text()
    Path("out/book/answers.json").write_text(answers.replace("no", "on"))  # of the same size
    with open_session() as session:
        session.checkpoints.alias("acme-book", "production", "v0")
    mended = run(None)
    assert (mended.stages["deploy"]["why"], mended.states["promote"]) == ("out/book is not as it was written", "reused")
    assert Path("out/book/answers.json").read_bytes() == Path("70.json").read_bytes()
    check_refusals(cli)


def check_refusals(cli: Command) -> None:
    """What `harness deploy` refuses, of a model with a failing verdict of one policy and a passing one of another."""
    for policy, code, message in (
        ("severe", 1, "acme-book:v0 fails policy 'severe' (acme-trivia.exact; verdict"),
        ("rising", 2, "there is no verdict of policy 'rising' on acme-book:v0; gate it again"),
        ("prodaction", 2, "unknown gate policy 'prodaction'"),
    ):
        refused = cli("deploy", "acme-book:v0", "--out", "other", "--policy", policy)
        assert (refused.returncode, message in refused.stderr) == (code, True), refused.stderr
        assert not Path("other").exists()
    Path("other").mkdir()
    Path("other/thesis.txt").write_text("years of work")
    refused = cli("deploy", "acme-book:v0", "--out", "other", "--policy", "production")
    assert (refused.returncode, "holds something else than a deployed model" in refused.stderr) == (2, True)
    assert Path("other/thesis.txt").read_text() == "years of work"
    again = cli("deploy", "acme-book:production", "--out", "out/book")  # the policy that is called like the alias
    assert (again.returncode, "there already" in again.stdout) == (0, True), again.stderr
    assert "is of type evaluation" in cli("deploy", "acme-scores:v0", "--out", "x").stderr


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_deployed_folder_is_whole_or_as_it_was(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    """Whoever is killed between two renamings; where the system cannot exchange folders, the next call mends it."""
    for name in "ab":
        Path(name).mkdir()
        Path(name, "model").write_text(name)
    verdict = {"id": "1", "policy": "p", "verdict": "pass", "baseline": None, "findings": []}

    def deploy(source: str) -> None:
        folder._write(Path(source), Path("out"), {"checkpoint": source, "digest": source}, verdict)

    rename = Path.rename

    def kill(path: Path, target: Path) -> Path:
        if path.name.endswith(".part") and path.parent.joinpath(".out.old").exists():
            raise RuntimeError
        return rename(path, target)

    deploy("a")
    if not can_exchange:
        monkeypatch.setattr(folder, "_exchange", lambda one, other: False)
    with monkeypatch.context() as context, nullcontext() if can_exchange else pytest.raises(RuntimeError):
        context.setattr(Path, "rename", kill)
        deploy("b")
    assert Path("out").exists() == can_exchange
    deploy("b")
    assert Path("out/model").read_text() == "b"
    assert folder.is_deployed(Path("out"), "b")
    assert not folder.is_deployed(Path("out"), "a")
    assert [path.name for path in workspace.glob(".out*")] == []


@pytest.mark.slow
def test_a_verdict_holds_when_its_model_has_become_the_baseline(run: Run, book: Path) -> None:
    policy = ("--set", "policy=rising")
    assert run(BOOK, *policy, parameters=PARAMETERS).code == 0
    better = run(None, *policy, "--set", "right=80")
    assert (better.code, better.states["deploy"]) == (0, "done"), better.said  # promoted, and then its own baseline
    assert set(run(None, *policy, "--set", "right=80").states.values()) == {"reused"}
    before = run(None, *policy)
    assert "gate: running: what it was compared with is another one now" in before.said
    assert (before.code, before.states["promote"]) == (1, "stopped")  # 0.7 is worse than 0.8 by more than the margin


@pytest.mark.slow
def test_what_cannot_be_told_is_incomplete_and_no_failure(run: Run, book: Path) -> None:
    """0.7 of 200 is no more than 0.69 with any confidence."""
    settings = Path("benchmarks.yaml")
    settings.write_text(settings.read_text().replace("exact, min: 0.5}", "exact, min: 0.69, confidence: 0.95}", 1))
    ran = run(BOOK, parameters=PARAMETERS)
    assert (ran.code, ran.states["evaluate"], ran.states["gate"], ran.states["deploy"]) == (
        3, "done", "incomplete", "stopped"
    )  # fmt: skip
