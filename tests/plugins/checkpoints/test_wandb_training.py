"""Trainings publish to the W&B store, and go on from it on another machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wandb_server import Server

from harness.cli import run as run_harness
from plugins.checkpoints.wandb import WandbStore
from tests.training.trainings import carried_out, equal, one_thread, sft, trainer_folder, weights, workspace, world
from training.lessons import Draws

__all__ = ["one_thread", "world"]
MAJORITY = "stage: majority\nname: majority\nbenchmarks: [gqa]\nsplit: train\nwords: 3\n"


@pytest.fixture
def settings_file(world: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: with the world's settings, and a harness.toml that names the W&B store."""
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(world / "benchmarks.yaml", folder)
    place = f'entity = "{server.entity}"\nproject = "{server.project}"\ncache = "{tmp_path}/cache"\n'
    (folder / "harness.toml").write_text(f'[checkpoints]\nstore = "wandb"\n{place}')
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    return folder


@pytest.mark.slow
def test_majority_is_trained_once_and_evaluated(
    settings_file: Path, server: Server, store: WandbStore, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("majority.yaml").write_text(MAJORITY)

    def harness(*arguments: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert run_harness(arguments) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    first = harness("train", "majority.yaml", "--json")
    again = harness("train", "majority.yaml", "--json")
    assert server.versions("majority") == {"v0": ["latest"]}
    assert str(settings_file.parent) not in server.received().decode(errors="replace")
    assert [(item["stages"][0]["checkpoint"], item["stages"][0]["new"]) for item in (first, again)] == [
        ("majority:v0", True), ("majority:v0", False),
    ]  # fmt: skip
    (run,) = harness("eval", "--model", "majority:latest", "--bench", "gqa", "--limit", "3", "--json")["runs"]
    assert (run["model"]["version"], run["model"]["digest"]) == ("v0", store.get("majority", "v0").digest)
    server.down()
    (cached,) = harness("eval", "--model", "majority:v0", "--bench", "gqa", "--limit", "2", "--json")["runs"]
    assert cached["model"]["digest"] == run["model"]["digest"]


@pytest.mark.slow
def test_a_training_goes_on_from_w_and_b_on_another_machine(
    settings_file: Path, world: Path, server: Server, store: WandbStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = sft(world / "llava", steps=4)
    with workspace(tmp_path / "unbroken", world) as session:
        expected = weights(carried_out(settings, session), session)
    taken: Callable[[Draws, int], Any] = Draws.__getitem__

    def fails(draws: Draws, wanted: int) -> Any:
        if wanted == 3 * settings.batch:
            raise RuntimeError("the machine is gone")
        return taken(draws, wanted)

    with monkeypatch.context() as broken:
        broken.setattr(Draws, "__getitem__", fails)
        with workspace(tmp_path / "one") as session, pytest.raises(Exception, match="the machine is gone"):
            carried_out(settings, session)
    assert [version.metadata["step"] for version in store.versions("tuned-steps")] == [2]
    shutil.rmtree(tmp_path / "one")
    with workspace(tmp_path / "other") as session:
        made = carried_out(settings, session)
        assert equal(weights(made, session), expected)
        assert not carried_out(settings, session).fresh
    assert trainer_folder(tmp_path / "other").is_dir()
    assert [version.metadata["step"] for version in store.versions("tuned-steps")] == [4]
    assert server.versions("tuned") == {"v0": ["latest"]}
