"""Sweep files: W&B's keys, ours, and what is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import ConfigError, HarnessError
from training.sweeps.reading import Sweep, read_file, read_sweep

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTED = """
program: train.py
name: sweepdemo
description: all that W&B documents
method: bayes
entity: team
project: demo
run_cap: 30
metric:
  goal: minimize
  name: validation_loss
  target: 0.01
parameters:
  learning_rate: {min: 0.0001, max: 0.1}
  batch_size: {values: [16, 32, 64], probabilities: [0.2, 0.3, 0.5]}
  epochs: {value: 5}
  dropout: {distribution: q_uniform, min: 0.0, max: 0.5, q: 0.05}
  decay: {distribution: log_uniform_values, min: 1.0e-5, max: 1.0e-1}
  momentum: {distribution: normal, mu: 0.9, sigma: 0.01}
  width: {distribution: int_uniform, min: 16, max: 64}
  mix: {distribution: beta, a: 2, b: 5}
  optimizer:
    parameters:
      name: {values: [adam, sgd]}
      beta: {distribution: uniform, min: 0.8, max: 0.99}
early_terminate: {type: hyperband, min_iter: 3, eta: 3, strict: true}
command:
  - ${env}
  - ${interpreter}
  - ${program}
  - --folder=${envvar:HOME}
  - ${args_no_boolean_flags}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "it.yaml").write_text(text)
    return folder / "it.yaml"


def test_all_that_wandb_documents_is_read(tmp_path: Path) -> None:
    sweep = read_sweep(write(tmp_path, DOCUMENTED))
    assert sweep.name == "sweepdemo"
    assert sweep.space.size is None
    assert sweep.space.names[-2:] == ["optimizer.name", "optimizer.beta"]
    assert sweep.settings.command[0] == "${env}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("method: grid\nmetrics: []\nparameters: {}\n", "it.yaml:2: a sweep here has no metrics"),
        ("parameters: {}\nmethod: custom\n", "it.yaml:2: method: custom is searched by a scheduler"),
        ("method: bayes\nmetric:\n  name: x\n  impute: best\n", "it.yaml:4: metric has no impute"),
        ("method: grid\nparamters: {a: {value: 1}}\ncommand: [x]\n", "it.yaml:2: unknown key 'paramters' .*'parame"),
        ("method: grid\ncommand: [x]\nparameters:\n  a: {valus: [1]}\n", "it.yaml:4: unknown key 'valus' .*'values'"),
        ("method: grid\ncommand: [x]\nparameters:\n  a: 3\n", "it.yaml:4: .*is a mapping, such as"),
        ("method: grid\ncommand: [x]\nparameters:\n  a: {distribution: unifrm, min: 1, max: 2}\n",
         "it.yaml:4: .*unknown distribution 'unifrm' .did you mean 'uniform'"),
        ("method: grid\ncommand: [x]\nparameters:\n  a: {distribution: uniform, min: 1}\n", "it.yaml:4: .*needs `max`"),
        ("method: grid\ncommand: [x]\nparameters:\n  a: {values: [1], q: 2}\n", "it.yaml:4: .*`q` does not go with"),
        ("method: grid\ncommand: [x]\nparameters:\n  a: {values: [1, 2], probabilities: [0.5, 0.6]}\n", "sum to 1"),
        ("method: grid\ncommand: [x]\nparameters:\n  a: {min: 0.0, max: 1.0}\n", "it.yaml:4: a grid needs values:"),
        ("method: random\ncommand: [x]\nparameters: {a: {min: 0.0, max: 1.0}}\n", "it.yaml:1: .*how many.*run_cap"),
        ("method: bayes\ncommand: [x]\nparameters: {a: {value: 1}}\n", "method: bayes needs metric:"),
        ("method: grid\nparameters: {a: {value: 1}}\n", "nothing of what a trial is"),
        ("method: grid\ntrain: a\ncommand: [x]\nparameters: {a: {value: 1}}\n", "`command:` and `train:`"),
        ("method: grid\ntrain: a.yaml\nparameters: {a: {value: 1}}\n", "it.yaml:2: train: there is no a.yaml"),
        ("method: grid\ncommand: [x]\nparameters: {a: {values: [1, 2]}}\nconstraints:\n  - a > 0\n  - b > a\n",
         "it.yaml:6: constraints: 'b > a': unknown parameter 'b'"),
        ("method: grid\ncommand: [x]\nparameters: {a: {values: [1, 2]}}\nconstraints: [a > 5]\n", "none of 2 points"),
        ("method: grid\ncommand: [x]\nparameters: {a: {values: [x, y]}}\nconstraints: [a > 5]\n",
         "it.yaml:4: constraints: 'a > 5' cannot be told of a=x"),
        ("method: grid\ncommand: [x]\nparameters: {a: {values: [1, 2]}}\ninclude:\n  - {aa: 3}\n",
         "it.yaml:5: include: unknown parameter"),
        ("method: grid\ncommand: [x]\nparameters: {a: {value: 1}}\nearly_terminate: {type: hyperband}\n"
         "metric: {name: x}\n",
         "it.yaml:4: .*either min_iter, or max_iter with s"),
        ("method: grid\ncommand: [x]\nparameters: {a: {value: 1}}\nlaunch: {resources: {memory: much}}\n",
         "write a size such as 16GB or 512MiB"),
        ("method: grid\ncommand: ['${program}']\nparameters: {a: {value: 1}}\n", "there is no program:"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        read_sweep(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("command:\n  - run\n  - --key=hf_abcdefghijklmnopqrstuvwxyz012345\n", "it.yaml:5: command.1: holds a secret"),
        ("command: [run, '${envvar:WANDB_API_KEY}']\n", "it.yaml:3: command.1: holds a secret"),
        ("command: [run, '${MY_API_KEY}']\n", "it.yaml:3: command.1: holds a secret"),
        ("command: [run]\ndescription: with 0123456789abcdef0123\n", "it.yaml:4: description: holds a secret"),
    ],
)
def test_a_secret_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.setenv("MY_API_KEY", "0123456789abcdef0123")
    with pytest.raises(ConfigError, match=f"{said}; let the program take it") as raised:
        read_sweep(write(tmp_path, f"method: grid\nparameters: {{a: {{value: 1}}}}\n{text}"))
    assert "abcdef" not in str(raised.value)
    path = write(tmp_path, "method: grid\nparameters: {a: {value: 1}}\ncommand: [run]\n")
    with pytest.raises(ConfigError, match=r"parameters\.a\.value: holds a secret"):
        read_sweep(path, ["parameters.a.value=0123456789abcdef0123"])


def test_a_config_of_another_folder_is_found_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("stage: majority\nbenchmarks: [gqa]\n")
    path = write(tmp_path, "method: grid\ntrain: m.yaml\nparameters: {words: {values: [1, 2]}}\n")
    sweep = read_sweep(path)
    assert sweep.fixed == {"name": "it"}
    assert sweep.settings.train == tmp_path / "m.yaml"
    write(tmp_path, "method: grid\ntrain: m.yaml\nparameters: {wrods: {values: [1, 2]}}\n")
    with pytest.raises(ConfigError, match=r"unknown key 'wrods' \(did you mean 'words'"):
        read_sweep(path)


@pytest.fixture(scope="module")
def ablation() -> Sweep:
    return read_file(ROOT / "training/configs/sweeps/arr_coc_ablation.yaml")


def test_the_micro_ablation_has_nine_trials() -> None:
    micro = read_sweep(ROOT / "training/configs/sweeps/arr_coc_ablation_micro.yaml")
    assert len(micro.settings.include) + len(micro.space.allowed or ()) == 9


def test_the_ablation_leaves_what_means_something(ablation: Sweep) -> None:
    assert ablation.space.size == 243
    allowed = ablation.space.allowed or ()
    assert [left for _, left in ablation.space.told()] == [234, 54, 42, 36, 30]
    ways = [f"model.knowing_weights.{way}" for way in ("propositional", "perspectival", "participatory")]
    weights = {tuple(point[way] for way in ways) for point in allowed}
    ranges = {(point["model.min_tokens_per_patch"], point["model.max_tokens_per_patch"]) for point in allowed}
    assert weights == {(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)}
    assert ranges == {(1, 16), (1, 64), (4, 16), (4, 64), (7, 64)}
    assert len(allowed) == len(weights) * len(ranges)


@pytest.mark.slow
def test_the_models_of_the_ablation_can_be_made(ablation: Sweep) -> None:
    """Its training config takes each point, and the model's configuration each weight and range."""
    from tiny_models import make_tokenizer

    from arr_coc_model.presets import PRESETS

    read_sweep(ROOT / "training/configs/sweeps/arr_coc_ablation.yaml")
    preset = PRESETS["micro"]
    processor = preset.processor(make_tokenizer(("<image>",)))
    for point in ablation.space.allowed or ():
        settings = {name.split(".")[-1]: value for name, value in point.items() if name.startswith("model.")}
        bounds = {name: settings.pop(name) for name in ("min_tokens_per_patch", "max_tokens_per_patch")}
        config = preset.configuration(processor, knowing_weights=settings, **bounds)
        config.check_budget(28)
