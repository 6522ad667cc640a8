"""The pipelines that ship, as small as can be: to the end, killed in the middle, here and on a Ray cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import ROOT

from harness import open_session
from training.microworld import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

VLM = ("pretrain_steps=4", "sft_steps=40", "align_steps=2", "batch=4", "limit=8")
ARR_COC = ("steps=4", "aligned=2", "batch=4", "trials=2", "ablation_limit=8")
LINEAR = {"data", "pretrain", "evaluate_pretrain", "sft", "evaluate_sft", "align", "evaluate"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world whose scenes are enough for all splits."""
    return build(tmp_path_factory.mktemp("data") / "world", images=120, evaluation_images=8).path


@pytest.fixture
def place(workspace: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the policies that ship, one that anything passes, and one that eight pictures can fail."""
    monkeypatch.setenv("HARNESS_DATA", str(world))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    policies = (ROOT / "benchmarks.yaml").read_text()
    more = {"any": '{score: "*.coverage", min: 1}', "hard": "{score: gqa.accuracy, min: 0.9}"}
    policies += "".join(f"\n  {name}:\n    require: [{asked}]\n" for name, asked in more.items())
    (workspace / "benchmarks.yaml").write_text(policies)
    return workspace


def start(name: str, changes: tuple[str, ...], *more: str) -> subprocess.Popen[str]:
    changed = [word for change in changes for word in ("--set", change)]
    file = str(ROOT / "training" / "configs" / "pipelines" / f"{name}.yaml")
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "harness", "pipeline", file, *changed, *more, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], code: int = 0) -> dict[str, dict[str, Any]]:
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    return {stage["stage"]: stage for stage in json.loads(out)["stages"]}


def states(stages: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: stage["state"] for name, stage in stages.items()}


def wait_for(condition: Callable[[], object], driver: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 200
    while not condition():
        assert driver.poll() is None, driver.communicate()[1]
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.1)


def versions() -> dict[str, int]:
    """How many versions there are of each name, those of steps apart."""
    with open_session() as session:
        return {
            name: len(session.checkpoints.versions(name))
            for name in session.checkpoints.names()
            if not name.endswith("-steps")
        }


def test_from_nothing_to_an_aligned_model_killed_in_the_middle(place: Path) -> None:
    driver = start("vlm", VLM)
    logs = place / "home" / "pipelines" / "vlm"
    wait_for(lambda: any("step " in log.read_text() for log in logs.glob("sft-*/1.log")), driver)
    (state,) = logs.glob("sft-*/1.log.process")
    os.killpg(int(state.read_text().split()[1]), signal.SIGKILL)  # the stage, with all that it had started
    driver.kill()
    driver.communicate()
    stages = finish(start("vlm", VLM))
    assert set(states(stages).values()) == {"done", "reused"}
    assert (stages["data"]["state"], stages["pretrain"]["state"], stages["sft"]["state"]) == (
        "reused",
        "reused",
        "done",
    )
    made = {"microworld", "tiny-llava-base", "tiny-llava-sft", "tiny-llava"}
    made |= {f"{name}-scores" for name in made if name != "microworld"}
    assert versions() == dict.fromkeys(made, 1)
    with open_session() as session:
        store = session.checkpoints
        model, scores = store.get("tiny-llava", "v0"), store.get("tiny-llava-scores", "v0")
        assert scores.parents == (model.digest,)
        assert model.parents == (store.get("tiny-llava-sft", "v0").digest,)
    began = time.monotonic()
    assert states(finish(start("vlm", VLM))) == dict.fromkeys(LINEAR, "reused")
    assert time.monotonic() - began < 10
    other = states(finish(start("vlm", (*VLM, "align_steps=3"))))
    assert {name for name, state in other.items() if state == "done"} == {"align", "evaluate"}


def test_from_data_to_a_deployed_model_and_to_a_gate_that_fails(place: Path) -> None:
    failed = finish(start("arr_coc", (*ARR_COC, "policy=hard")), 1)
    assert states(failed) == {
        "data": "done", "train": "done", "ablation": "done", "evaluate": "done", "gate": "gate failed",
        "promote": "stopped", "deploy": "stopped",
    }  # fmt: skip
    assert not (place / "outputs").exists()
    passed = finish(start("arr_coc", (*ARR_COC, "policy=any")))
    assert set(states(passed).values()) == {"done", "reused"}
    assert (place / "outputs" / "arr-coc" / "model.safetensors").is_file()
    assert "of policy `any`: pass" in (place / "outputs" / "arr-coc" / "README.md").read_text()
    with open_session() as session:
        assert session.checkpoints.get("arr-coc", "production").number == 0
        table = json.loads(
            (session.checkpoints.resolve("arr-coc-ablation", "v0").checkout() / "sweep.json").read_text()
        )
    assert [trial["status"] for trial in table["trials"]] == ["done"] * 9
    assert set(states(finish(start("arr_coc", (*ARR_COC, "policy=any")))).values()) == {"reused"}


def test_the_same_on_a_ray_cluster(place: Path, ray_cluster: str) -> None:
    where = ("--engine", "ray", "--address", ray_cluster, "--parallel", "2")
    driver = start("vlm", VLM, *where)
    logs = place / "home" / "pipelines" / "vlm"
    wait_for(lambda: any("step " in log.read_text() for log in logs.glob("pretrain-*/1.log")), driver)
    driver.kill()
    driver.communicate()
    stages = finish(start("vlm", VLM, *where))
    assert set(states(stages).values()) == {"done", "reused"}
    assert stages["pretrain"]["why"] == "goes on"
    assert versions() == dict.fromkeys(versions(), 1)
    assert states(finish(start("vlm", VLM))) == dict.fromkeys(LINEAR, "reused")  # wherever it was carried out
    assert states(finish(start("arr_coc", (*ARR_COC, "policy=hard"), *where), 1))["gate"] == "gate failed"
