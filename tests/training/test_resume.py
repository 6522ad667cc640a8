"""A training that was interrupted ends with the weights of one that was not, bit by bit, on this machine or another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

from harness import IntegrityError
from tests.training.trainings import (
    EVALUATE,
    arr_coc,
    carried_out,
    equal,
    one_thread,
    sft,
    trainer_folder,
    weights,
    workspace,
    world,
)
from training.callbacks import publishing
from training.lessons import Draws
from training.resuming import complete, newest_complete, unfinished

__all__ = ["one_thread", "world"]

BEST = {**EVALUATE, "every": 3, "best": "gqa.accuracy"}
STAGES = ("arr_coc", "adapters", "whole")


class Killed(BaseException):
    """What ends a process, as far as it can be played inside of one."""


@dataclass(frozen=True)
class Case:
    """A stage, the best weights and the last state that it ends with, and a workspace in which it was killed before
    its last two steps."""

    settings: Any
    world: Path
    best: dict[str, torch.Tensor]
    last: dict[str, torch.Tensor]
    broken: Path


@pytest.fixture(scope="module")
def cases(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    made: dict[str, Case] = {}

    def case(stage: str) -> Case:
        if stage not in made:
            homes = tmp_path_factory.mktemp(stage)
            settings: Any = arr_coc(evaluate=BEST, batch=1)
            if stage != "arr_coc":
                settings = sft(world / "llava", evaluate=BEST, **({"lora": None} if stage == "whole" else {}))
            with workspace(homes / "whole", world) as session:
                best = weights(carried_out(settings, session), session)
            break_off(settings, homes / "broken", world)
            made[stage] = Case(settings, world, best, last(homes / "whole"), homes / "broken")
        return made[stage]

    return case


def last(home: Path) -> dict[str, torch.Tensor]:
    """Weights, moments and random numbers after the last step."""
    newest = newest_complete(trainer_folder(home))
    assert newest is not None
    assert newest.name == "checkpoint-6"
    (file,) = newest.glob("*model.safetensors")
    found = load_file(file)
    optimizer = torch.load(newest / "optimizer.pt", weights_only=True)
    for place, state in optimizer["state"].items():
        found |= {f"optimizer.{place}.{name}": value for name, value in state.items()}
    return found | {"random": torch.load(newest / "rng_state.pth", weights_only=False)["cpu"]}


def break_off(settings: Any, home: Path, world: Path, step: int = 5) -> Path:
    """Ends the process while it reads the data of a step; the folder of the Trainer."""
    taken = Draws.__getitem__

    def take(draws: Draws, place: int) -> Any:
        if place // settings.batch == step:  # a batch is fetched while the one before is learnt
            raise Killed
        return taken(draws, place)

    with pytest.MonkeyPatch.context() as patched, workspace(home, world) as session:
        patched.setattr(Draws, "__getitem__", take)
        with pytest.raises(Killed):
            carried_out(settings, session)
    return trainer_folder(home)


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_kept_is_the_newest_and_the_best(cases: Callable[[str], Case], stage: str) -> None:
    case = cases(stage)
    assert list(complete(trainer_folder(case.broken))) == [3, 4], (
        "saved were 2, 3 as the best, and 4; one is kept, and the best"
    )
    with workspace(case.broken, case.world) as session:
        versions = session.checkpoints.versions(f"{case.settings.name}-steps")
        assert [(version.metadata["step"], version.aliases) for version in versions] == [
            (4, ("latest",)),
            (3, ("best",)),
        ]


@pytest.mark.parametrize(
    ("stage", "where"),
    [
        ("arr_coc", "the same machine"),
        ("adapters", "another machine"),
        *(
            pytest.param(stage, where, marks=pytest.mark.slow)
            for stage, where in (
                ("arr_coc", "another machine"),
                ("adapters", "the same machine"),
                ("whole", "the same machine"),
                ("whole", "another machine"),
            )
        ),
    ],
)
def test_a_killed_training_ends_as_an_unbroken_one(
    cases: Callable[[str], Case], tmp_path: Path, stage: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, home = cases(stage), tmp_path / "home"
    shutil.copytree(case.broken, home)
    if where == "another machine":
        shutil.rmtree(home / "training")
    begun: list[str | None] = []
    begin = Trainer.train

    def note(trainer: Trainer, resume_from_checkpoint: str | None = None) -> Any:
        begun.append(resume_from_checkpoint)
        return begin(trainer, resume_from_checkpoint)

    monkeypatch.setattr(Trainer, "train", note)
    with workspace(home, case.world) as session:
        made = carried_out(case.settings, session)
        assert equal(weights(made, session), case.best)
        assert made.version.metadata["step"] == 3, "the best"
        assert made.version.metadata["best_step"] == 3
    assert equal(last(home), case.last)
    assert [Path(str(path)).name for path in begun] == ["checkpoint-4"]


def test_another_machine_gets_the_point_as_it_was(cases: Callable[[str], Case], tmp_path: Path) -> None:
    """Optimizer, schedule and random numbers included, file by file."""
    case, home = cases("adapters"), tmp_path / "home"
    shutil.copytree(case.broken, home)
    before = trainer_folder(case.broken)
    shutil.rmtree(home / "training")
    with pytest.raises(Killed):
        restart_and_stop(case, home)
    after = trainer_folder(home)
    assert list(complete(after)) == [3, 4]
    for step, folder in complete(after).items():
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert files == {path.name: path.read_bytes() for path in complete(before)[step].iterdir()}
        assert {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} <= files.keys()
        assert all(path.stat().st_mode & 0o200 for path in folder.iterdir()), "they are the trainer's to change"


def stop(*arguments: Any, **options: Any) -> None:
    raise Killed


def restart_and_stop(case: Case, home: Path) -> None:
    with pytest.MonkeyPatch.context() as patched, workspace(home, case.world) as session:
        patched.setattr(Trainer, "_inner_training_loop", stop)
        carried_out(case.settings, session)


def test_a_damaged_point_of_the_registry_is_not_gone_on_from(cases: Callable[[str], Case], tmp_path: Path) -> None:
    case, home = cases("adapters"), tmp_path / "home"
    shutil.copytree(case.broken, home)
    shutil.rmtree(home / "training")
    shutil.rmtree(home / "checkouts", ignore_errors=True)
    with workspace(home, case.world) as session:
        newest = session.checkpoints.resolve("tuned-steps", "latest")
        damaged = home / "blobs"
        largest = max((path for path in damaged.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        largest.chmod(0o644)
        largest.write_bytes(b"\0" * largest.stat().st_size)
        with pytest.raises(IntegrityError, match="tuned-steps:v"):
            carried_out(case.settings, session)
        assert newest.version


@pytest.mark.parametrize("steps", [{4}, {3}, {3, 4}])
def test_a_point_that_was_cut_short_is_taken_from_the_registry(
    cases: Callable[[str], Case], tmp_path: Path, steps: set[int]
) -> None:
    """The newest, from which it goes on, and the best, which it ends with."""
    case, home = cases("adapters"), tmp_path / "home"
    shutil.copytree(case.broken, home)
    before = complete(trainer_folder(case.broken))
    for step in steps:
        (weight_file,) = complete(trainer_folder(home))[step].glob("*model.safetensors")
        weight_file.write_bytes(weight_file.read_bytes()[:100])
    with pytest.raises(Killed):
        restart_and_stop(case, home)
    after = complete(trainer_folder(home))
    assert list(after) == [3, 4]
    for step, folder in after.items():
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert files == {path.name: path.read_bytes() for path in before[step].iterdir()}


def test_a_checkpoint_is_on_the_disk_before_it_replaces_another(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, synced, lost = os.fsync, set(), []
    forget = publishing.remove

    def note(descriptor: int) -> None:
        synced.add(os.path.realpath(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def check(checkpoint: Path) -> None:
        newest = newest_complete(checkpoint.parent)
        assert newest is not None
        lost.extend(path for path in [*newest.rglob("*"), newest] if os.path.realpath(path) not in synced)
        synced.add("checked")
        forget(checkpoint)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(publishing, "remove", check)
    with workspace(tmp_path / "home", world) as session:
        carried_out(sft(world / "llava", steps=4, save={"every": 2, "keep": 1, "publish": False}), session)
    assert "checked" in synced
    assert not lost


def test_evaluating_moves_no_random_number(world: Path, tmp_path: Path) -> None:
    """What is trained with dropout, evaluated and not evaluated."""
    found = []
    for evaluate in (None, {**EVALUATE, "every": 1}):
        home = tmp_path / str(evaluate is None)
        with workspace(home, world) as session:
            carried_out(sft(world / "llava", steps=4, evaluate=evaluate), session)
        found.append(load_file(complete(trainer_folder(home))[4] / "adapter_model.safetensors"))
    assert equal(*found)


def test_a_point_that_was_not_published_is_published_by_the_next_attempt(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = sft(world / "llava", steps=4)
    with monkeypatch.context() as patched:
        patched.setattr("training.callbacks.publishing.Publishing._publish", lambda *arguments: None)
        break_off(settings, tmp_path / "home", world, step=3)
    with workspace(tmp_path / "home", world) as session:
        assert session.checkpoints.names() == []
        carried_out(settings, session)
        steps = {version.number: version.metadata["step"] for version in session.checkpoints.versions("tuned-steps")}
    assert steps == {1: 4}, "that of step 2 was published as v0 and went when step 4 was saved"


def test_never_starts_again(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saving = {"every": 2, "keep": 1}
    folder = break_off(sft(world / "llava", steps=4, save=saving), tmp_path / "home", world, step=3)
    stale = newest_complete(folder)
    assert stale is not None
    (stale / "stale").touch()
    with workspace(tmp_path / "home", world) as session:
        carried_out(sft(world / "llava", steps=4, save={**saving, "resume": "never", "keep": 9}), session)
    assert list(complete(folder)) == [2, 4]
    assert not (stale / "stale").exists()


def test_never_leaves_nothing_of_earlier_attempts(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither published checkpoints, from which another machine would go on, nor a model that was not published."""
    settings, saving = sft(world / "llava", steps=4), {"every": 2, "keep": 1}
    with monkeypatch.context() as patched, workspace(tmp_path / "home", world) as session:
        patched.setattr("training.recipe._publish", stop)
        with pytest.raises(Killed):
            carried_out(settings, session)
        folder = trainer_folder(tmp_path / "home").parent
        assert (folder / "checkpoint").is_dir()
        (folder / "before.json").touch()
        session.checkpoints.alias("tuned-steps", "best", "latest")
    with monkeypatch.context() as patched, workspace(tmp_path / "home", world) as session:
        patched.setattr(Trainer, "_inner_training_loop", stop)
        with pytest.raises(Killed):
            carried_out(sft(world / "llava", steps=4, save={**saving, "resume": "never"}), session)
        assert session.checkpoints.names() == []
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_never_keeps_what_has_a_name_of_its_own(world: Path, tmp_path: Path) -> None:
    saving = {"every": 2, "keep": 2}
    break_off(sft(world / "llava", save=saving), tmp_path / "home", world)
    with workspace(tmp_path / "home", world) as session:
        session.checkpoints.alias("tuned-steps", "wanted", "v0")
        carried_out(sft(world / "llava", save={**saving, "resume": "never"}), session)
        aliases = {version.number: version.aliases for version in session.checkpoints.versions("tuned-steps")}
    assert aliases[0] == ("wanted",)
    assert 1 not in aliases


def test_the_trainer_writes_its_state_last(world: Path, tmp_path: Path) -> None:
    """What makes a folder with a whole state a whole checkpoint."""
    folder = break_off(
        sft(world / "llava", steps=4, save={"every": 2, "publish": False}), tmp_path / "home", world, step=3
    )
    (checkpoint,) = complete(folder).values()
    written = {path.name: path.stat().st_mtime_ns for path in checkpoint.iterdir()}
    assert max(written, key=lambda name: written[name]) == "trainer_state.json"
    assert len(written) > 4


def test_what_is_not_whole_is_not_complete(tmp_path: Path) -> None:
    for step, state in ((2, '{"global_step": 2}'), (4, '{"global_step": 4'), (6, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "restored.part").mkdir()
    assert complete(tmp_path) == {2: tmp_path / "checkpoint-2"}
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-2"
    assert sorted(path.name for path in unfinished(tmp_path)) == ["checkpoint-4", "checkpoint-6", "restored.part"]
    assert newest_complete(tmp_path / "nothing") is None
