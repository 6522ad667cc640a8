"""From nothing to a scored checkpoint, by the commands that a user types."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from tests_support import ROOT, Command

MICRO = """
stage: arr_coc
shares: {gqa: 1, coco_captions: 0.2}
steps: 4
batch: 2
prompts: 2
budgets: {low: 4, high: 8}
router: {start: 0.5, every: 1, pictures: 1, budgets: {low: 8, high: 12}}
alignment: {benchmark: gqa, scenes: train_sceneGraphs.json, first: 1}
save: {every: 2}
"""


@pytest.fixture
def world(workspace: Path, small_world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The world where the shipped settings look for it."""
    monkeypatch.setenv("HARNESS_DATA", str(small_world))
    return workspace


def test_data_synth_makes_a_world_and_leaves_it_alone(cli: Command, workspace: Path) -> None:
    first = cli("data", "synth", "--out", "world", "--images", "8")
    assert first.returncode == 0, first.stderr
    assert "8 train, 8 evaluation pictures" in first.stdout
    assert "pictures a second" in first.stdout
    assert "is there already" in cli("data", "synth", "--out", "world", "--images", "8").stdout
    other = cli("data", "synth", "--out", "world", "--images", "9")
    assert other.returncode == 2
    assert "another world" in other.stderr


@pytest.mark.parametrize("java", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_floor_is_trained_published_found_again_and_evaluated(
    cli: Command, world: Path, monkeypatch: pytest.MonkeyPatch, java: bool
) -> None:
    """METEOR, a Java program that takes long to start, is left out where there is no Java."""
    if not java:
        monkeypatch.setenv("PATH", str(world))
    config = str(ROOT / "training" / "configs" / "majority.yaml")
    (first,) = json.loads(cli("train", config, "--json").stdout)["stages"]
    (again,) = json.loads(cli("train", config, "--json").stdout)["stages"]
    assert (first["checkpoint"], first["new"]) == ("majority:v0", True)
    assert again == {**first, "new": False}
    result = cli("eval", "--model", "majority:latest", "--suite", "core", "--limit", "10", "--json")
    runs = json.loads(result.stdout)["runs"]
    assert [run["benchmark"]["name"] for run in runs] == ["vqav2", "gqa", "okvqa", "nocaps"]
    assert all(run["model"]["version"] == "v0" and run["model"]["digest"] == first["digest"] for run in runs)
    assert all({"kept_fraction", "compression_factor"} <= set(run["inapplicable"]) for run in runs)
    assert "cider" in runs[3]["scores"]
    assert ("meteor" in runs[3]["scores"]) == java


def test_a_flipped_byte_in_a_checkpoint_stops_the_evaluation(cli: Command, world: Path) -> None:
    cli("train", str(ROOT / "training" / "configs" / "majority.yaml"))
    (blob,) = [path for path in (world / "home" / "blobs").rglob("*") if path.is_file()]
    blob.chmod(stat.S_IRUSR | stat.S_IWUSR)
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(bytes(content))
    result = cli("eval", "--model", "majority:latest", "--bench", "gqa")
    assert result.returncode == 2
    assert "majority:v0" in result.stderr
    assert "majority.json" in result.stderr
    assert cli("checkpoints", "verify").returncode == 2


def test_our_model_is_trained_and_evaluated_with_and_without_pictures(cli: Command, world: Path) -> None:
    (world / "micro.yaml").write_text(MICRO)
    trained = cli("train", "micro.yaml", "--json")
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["stages"][0]["checkpoint"] == "arr-coc:v0"
    shown = json.loads(cli("checkpoints", "show", "arr-coc:latest", "--json").stdout)
    assert "alignment" in json.dumps(shown["metadata"]), "results can name the supervision that they rest on"
    models = ("--model", "arr-coc:latest", "--model", "arr-coc:latest,image=none")
    result = cli("eval", *models, "--bench", "gqa", "--limit", "8", "--json")
    assert result.returncode == 0, result.stderr
    seeing, blind = json.loads(result.stdout)["runs"]
    assert 0 < seeing["usage"]["visual_tokens_mean"] <= 28
    assert seeing["scores"]["kept_fraction"]["value"] <= 28 / 256
    assert blind["usage"]["visual_tokens_mean"] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("steps: 4", "stepps: 4"), "micro.yaml:4: unknown key 'stepps' (did you mean 'steps'?)"),
        (("stage: arr_coc", "stage: arr_cok"), "did you mean 'arr_coc'?"),
        (("stage: arr_coc", ""), "names no stage"),
        (("steps: 4", "steps: many"), "micro.yaml:4: steps"),
        (("gqa: 1,", "gpa: 1,"), "did you mean 'gqa'"),
        (("low: 4,", "low: 1,"), "budget"),
    ],
)
def test_a_wrong_config_is_named_with_its_place(cli: Command, world: Path, change: tuple[str, str], said: str) -> None:
    text = MICRO.replace(*change)
    assert text != MICRO
    (world / "micro.yaml").write_text(text)
    result = cli("train", "micro.yaml")
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
