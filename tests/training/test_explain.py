"""`harness train CONFIG --explain` and `--set`."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from tests_support import ROOT, Command

from training.explain import explain, inherited, nested_model
from training.recipe import read_stage
from training.stages import STAGES

FOLDER = ROOT / "training" / "configs"
CONFIGS = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.parent.name not in ("pipelines", "sweeps")]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_what_it_prints_is_the_config(config: Path, tmp_path: Path) -> None:
    settings, _ = read_stage(config)
    text = explain(settings)
    assert max(map(len, (line for line in text.splitlines() if line.lstrip().startswith("#")))) <= 120
    (tmp_path / "explained.yaml").write_text(text, encoding="utf-8")
    assert read_stage(tmp_path / "explained.yaml")[0] == settings


def plain_keys(model: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
    for name, info in model.model_fields.items():
        nested = nested_model(info)
        if nested is None:
            yield model, name
        else:
            yield from plain_keys(nested)


@pytest.mark.parametrize("stage", STAGES)
def test_every_key_is_there_and_says_what_it_means(stage: str) -> None:
    module, _, name = STAGES[stage].partition(":")
    model = getattr(importlib.import_module(module), name)
    for owner, key in plain_keys(model):
        assert owner.model_fields[key].description or inherited(owner, key), f"{owner.__name__}.{key}"


def test_settings_are_changed_from_the_command_line(cli: Command, workspace: Path) -> None:
    (workspace / "floor.yaml").write_text("stage: majority\nbenchmarks: [gqa]\n")
    done = cli("train", "floor.yaml", "--set", "words=3", "--set", "benchmarks=[gqa, okvqa]", "--explain")
    assert done.returncode == 0, done.stderr
    assert "words: 3\n" in done.stdout
    assert "benchmarks: [gqa, okvqa]\n" in done.stdout
    for change, message in (
        ("wrds=3", "unknown key 'wrds' (did you mean 'words'?)"),
        ("words=many", "words: "),
        ("words", "--set words: write KEY=VALUE"),
        ("words={", "not valid YAML"),
    ):
        refused = cli("train", "floor.yaml", "--set", change)
        assert refused.returncode == 2
        assert message in refused.stderr


def test_several_stages_end_with_a_table(
    cli: Command, workspace: Path, small_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(small_world))
    for name in ("one", "two"):
        (workspace / f"{name}.yaml").write_text(f"stage: majority\nname: {name}\nbenchmarks: [gqa]\n")
    done = cli("train", "one.yaml", "two.yaml")
    assert done.returncode == 0, done.stderr
    assert "one:v0" in done.stdout
    assert "two:v0" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    again = cli("train", "one.yaml", "two.yaml", "--json")
    stages = json.loads(again.stdout)["stages"]
    assert [(stage["checkpoint"], stage["new"]) for stage in stages] == [("one:v0", False), ("two:v0", False)]
