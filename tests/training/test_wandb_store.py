"""Trainings publish to the W&B store, go on from it on another machine, and tell W&B nothing of the machine."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import ROOT
from wandb_server import Server

from harness.cli import run as run_harness
from plugins.checkpoints.wandb import WandbStore
from tests.plugins.checkpoints.conftest import connected, loopback, make_store, server, store
from tests.training.trainings import carried_out, equal, one_thread, sft, trainer_folder, weights, workspace, world
from training.lessons import Draws

__all__ = ["connected", "loopback", "make_store", "one_thread", "server", "store", "world"]
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


@pytest.mark.slow
def test_nothing_that_w_and_b_is_told_says_where_it_was_made(
    settings_file: Path, world: Path, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("harness.toml").open("a") as file:
        file.write(f'[trackers.wandb]\nproject = "{server.project}"\nsamples = 2\n')
    with Path("benchmarks.yaml").open("a") as file:
        file.write("gates:\n  any:\n    require:\n      - {score: gqa.accuracy, min: 0}\n")
    track = {"report_to": ["wandb"], "project": server.project}
    with workspace(tmp_path / "home") as session:
        carried_out(sft(world / "llava", steps=2, track=track), session)
    for command in (
        ("eval", "--model", "hf:registry/tuned:latest", "--bench", "gqa", "--gate", "any"),
        ("promote", "tuned:v0", "--to", "production", "--force", "--reason", f"as in {tmp_path}/notes.txt"),
        ("track", "sync"),
    ):
        assert run_harness(command) == 0, capsys.readouterr().err
    assert {run.job_type for run in server.runs()} == {"alias", "evaluation", "publish", "sft"}
    assert {run.state for run in server.runs()} == {"finished"}
    sent = server.received().decode(errors="replace")
    folders = (ROOT, Path.home(), tmp_path, world, Path(sys.prefix), Path(sys.executable).resolve().parent)
    for private in (os.environ["WANDB_API_KEY"], f'"{platform.node()}', *(f"{folder}/" for folder in folders)):
        assert private not in sent, sent[max(0, sent.index(private) - 200) :][:400]
    assert not any(f'"{folder}' in sent for folder in folders)
