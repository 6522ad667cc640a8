"""What is read from a trial's output, and how its command is made: W&B's own functions are the oracle for that."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from training.sweeps.results import Curve, made_by, said_last, scores_of
from training.sweeps.settings import MACROS, SweepSettings
from training.sweeps.trial import command_of, fill

EVALUATED = {
    "runs": [{"run": "abc", "benchmark": {"name": "gqa"}, "scores": {
        "accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "stderr": 0.05, "n": 9, "clusters": 3, "by": {}},
        "open": {"value": None},
    }}]
}  # fmt: skip


@pytest.mark.parametrize("indent", [None, 2])
def test_the_said_last_is_found_among_what_else_is_said(tmp_path: Path, indent: int | None) -> None:
    log = tmp_path / "log"
    text = json.dumps(EVALUATED, indent=indent)
    log.write_text(f'{{"loss": 1}}\nloading {{"x": 2}}\n{text}\nwarning: {{not json\n{{nor this\n')
    assert said_last(log) == EVALUATED
    log.write_text("nothing\n")
    assert said_last(log) is None
    assert said_last(tmp_path / "none") is None


def test_neither_a_point_of_a_curve_nor_an_earlier_attempt_is_the_last_word(tmp_path: Path) -> None:
    log, begins = tmp_path / "log", [0]
    before = '{"loss": 9}\n{"step": 1, "loss": 8}\n'
    log.write_text(before)
    curve = Curve(log, "loss", lambda: begins[0])
    assert said_last(log) == {"loss": 9}
    assert curve.update() == [8.0]
    with log.open("a") as file:
        file.write('{"step": 1, "loss": 3}\n')
    begins[0] = len(before)
    assert said_last(log, curve.start) == {"loss": 9}
    assert curve.update() == [3.0]
    assert said_last(log, curve.start) is None


def test_scores_of_evaluations_trainings_and_any_program() -> None:
    score = {"value": 0.5, "low": 0.4, "high": 0.6, "stderr": 0.05, "n": 9, "clusters": 3}
    assert scores_of(EVALUATED) == {"gqa.accuracy": score}
    assert made_by(EVALUATED) == {"runs": ["abc"]}
    trained = {"stages": [{"checkpoint": "a:v0"}, {"checkpoint": "b:v3", "scores": {"gqa.accuracy": score}}]}
    assert scores_of(trained) == {"gqa.accuracy": score}
    assert made_by(trained) == {"checkpoint": "b:v3"}
    other = {"loss": 1, "ok": True, "eval": {"f1": {"value": 0.5, "low": 0.4}, "deep": {"x": 2.0}}, "bad": float("nan")}
    assert scores_of(other) == {
        "loss": {"value": 1.0},
        "eval.f1": {"value": 0.5, "low": 0.4},
        "eval.deep.x": {"value": 2.0},
    }


def test_a_curve_is_read_as_it_grows(tmp_path: Path) -> None:
    log, curve = tmp_path / "log", Curve(tmp_path / "log", "loss")
    assert curve.update() == []
    with log.open("w") as file:
        for text, values in (
            ('{"step": 1, "loss": 3.0}\n{"step": 2, "acc": 1}\n{"lo', [3.0]),
            ('ss": 9}\n{"step": 3, "loss": NaN}\n{"loss": 2.5, "step": 4}', [3.0]),
            ("\nnoise\n", [3.0, 2.5]),
        ):
            file.write(text)
            file.flush()
            assert curve.update() == values


POINT = {"lr": 0.1, "deep": {"on": True, "off": False}, "on": True, "off": False, "name": "a b", "none": None}


@pytest.mark.parametrize("macro", [name for name in MACROS if name.startswith("args") and name != "args_json_file"])
def test_arguments_are_those_of_wandb_agent(macro: str) -> None:
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    oracle = create_sweep_command_args({"args": {name: {"value": value} for name, value in POINT.items()}})
    settings = settings_of(command=["x", f"${{{macro}}}", "y"])
    assert fill(settings, POINT, Path("p.json")) == ["x", *oracle[macro], "y"]


def test_the_default_command_and_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.sdk.launch.sweeps.utils import create_sweep_command

    settings = settings_of(program="train.py")
    assert fill(settings, {"lr": 1}, Path("p")) == ["/usr/bin/env", sys.executable, "train.py", "--lr=1"]
    monkeypatch.setenv("PLACE", "there")
    command = ["go", "--to=${envvar:PLACE}", "${envvar:NOWHERE}"]
    assert fill(settings_of(command=command), {}, Path("p")) == create_sweep_command([*command])


def test_trainings_and_evaluations_take_parameters_as_settings_and_options() -> None:
    point = {"model.depth": 3, "name": "x", "on": True}
    trained = command_of(settings_of(train="a.yaml"), point, Path("p"), {"save.every": 5})
    assert trained[4:] == ["train", "a.yaml", "--set", "save.every=5", "--set", "model.depth=3", "--set", 'name="x"',
                           "--set", "on=true", "--json"]  # fmt: skip
    evaluated = command_of(
        settings_of(evaluate={"model": "m:latest", "benchmarks": ["gqa", "pope"], "limit": 5}), point, Path("p"), {}
    )
    assert evaluated[4:] == ["eval", "--model", "m:latest,model.depth=3,name=x,on=true", "--bench", "gqa", "--bench",
                             "pope", "--limit", "5", "--json"]  # fmt: skip


def settings_of(**keys: Any) -> SweepSettings:
    return SweepSettings.model_validate({"method": "grid", "parameters": {"a": {"value": 1}}, **keys})
