"""Sweeps of real trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import open_session
from training.sweeps.reading import read_sweep

SWEEP = """
name: rates
method: grid
metric: {name: loss, goal: minimize}
train: learn.yaml
parameters: {learning_rate: {values: [0.003, 1.0e-9]}}
early_terminate: {type: hyperband, min_iter: 4, eta: 3, strict: true}
"""
LEARN = """
stage: arr_coc
name: learner
shares: {gqa: 1}
steps: 400
batch: 2
warmup: 0
budgets: {low: 8, high: 8}
router: {start: 1}
track: {every: 10}
"""


def test_a_trainings_curve_is_found_by_its_settings(sweeps: Any) -> None:
    sweeps.write("stage: majority\nname: m\nbenchmarks: [gqa]\n", "learn.yaml")
    path = sweeps.write(
        "method: grid\nmetric: {name: loss}\ntrain: learn.yaml\nparameters: {words: {values: [1, 2]}}\n"
    )
    sweep = read_sweep(path)
    from training.recipe import read_stage

    with open_session(sweeps.folder / "home") as session:
        assert sweep.trained(session, {"words": 1}, "loss") == []
        assert sweep.settings.train is not None
        for words in (1, 2):
            settings = read_stage(sweep.settings.train, sweep.changes({"words": words}))[0].model_dump(mode="json")
            training = session.trainings.begin(
                f"id{words}", name="m", stage="majority", steps=9, facts={"settings": settings}
            )
            for step, value in ((1, 5.0), (2, float("nan")), (3, 4.0)):
                session.trainings.log(training, step, {"loss": value * words, "eval_gqa.accuracy": value / 10})
        assert sweep.trained(session, {"words": 2}, "loss") == [10.0, 8.0]
        assert sweep.trained(session, {"words": 2}, "gqa.accuracy") == [0.5, 0.4]


@pytest.mark.slow
def test_a_training_that_is_behind_saves_and_stops(sweeps: Any, small_world: Path) -> None:
    sweeps.write(LEARN, "learn.yaml")
    sweeps.write(SWEEP)
    (sweeps.folder / "benchmarks.yaml").write_text((Path(__file__).parents[3] / "benchmarks.yaml").read_text())
    told = sweeps.run("it.yaml", "--workers", "1", environment={"HARNESS_DATA": str(small_world)})
    best, other = told["trials"]
    assert told["counts"] == {"all": 2, "done": 2}
    assert best["parameters"]["learning_rate"] == 0.003
    assert best["checkpoint"] == "rates:v0"
    assert other["stopped"] < 40
    assert other["value"] > best["value"]
    with open_session(sweeps.folder / "home") as session:
        states = {training.facts["settings"]["learning_rate"]: training.status for training in session.trainings.all()}
    assert states == {0.003: "complete", 1e-9: "interrupted"}
    (sweeps.folder / "none").mkdir()
    sweeps.write("raise SystemExit('PyTorch was imported')", "none/torch.py")
    environment = {"HARNESS_DATA": str(small_world), "PYTHONPATH": str(sweeps.folder / "none")}
    assert sweeps.run("it.yaml", environment=environment)["trials"] == told["trials"], "nothing is left to be done"
