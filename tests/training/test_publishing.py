"""What a training publishes and keeps, and what it does where a step or a disk goes wrong."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import Trainer
from transformers.trainer_callback import TrainerState

from harness import CheckpointError, HarnessError, Incomplete, StoreError
from harness.blobs import Blobs
from tests.training.trainings import (
    EVALUATE,
    carried_out,
    equal,
    one_thread,
    sft,
    trainer_folder,
    weights,
    workspace,
    world,
)
from training.conversations import ConversationCollator
from training.failures import is_out_of_memory
from training.identity import seen
from training.resuming import complete

__all__ = ["one_thread", "world"]


@pytest.fixture(scope="module")
def unbroken(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    with workspace(tmp_path_factory.mktemp("unbroken"), world) as session:
        return weights(carried_out(sft(world / "llava", steps=4), session), session)


def fails(settings: Any, home: Path, world: Path, kind: type[HarnessError]) -> str:
    """What the training says when it ends with an error of that kind, whose exit code is 3."""
    with workspace(home, world) as session:
        with pytest.raises(kind) as raised:
            carried_out(settings, session)
        (training,) = session.trainings.all()
        assert training.status == "failed"
    assert raised.value.exit_code == 3
    return str(raised.value)


def test_each_save_is_a_version_that_says_what_it_is(world: Path, tmp_path: Path) -> None:
    settings = sft(world / "llava", save={"every": 2, "keep": 9}, evaluate=EVALUATE)
    with workspace(tmp_path / "home", world) as session:
        made = carried_out(settings, session).version
        versions = session.checkpoints.versions("tuned-steps")
        (training,) = session.trainings.all()
        curves = session.trainings.curves(training)
        data = {"gqa": seen(session, session.benchmark("gqa", split="train"))}
        files = [
            path
            for version in (made, *versions)
            for path in session.checkpoints.resolve(version.name, f"v{version.number}").checkout().rglob("*")
            if path.is_file()
        ]
        assert len(files) > 20
        assert [path for path in files for place in (world, tmp_path) if str(place).encode() in path.read_bytes()] == []
    assert [version.metadata["step"] for version in versions] == [6, 4, 2]
    for version in versions:
        known, step = version.metadata, version.metadata["step"]
        assert known["loss"] == dict(curves["loss"])[step]
        assert known["scores"]["gqa.accuracy"] == dict(curves["eval_gqa.accuracy"])[step]
        assert "runtime" not in known["scores"]
        assert known["data"] == data
        assert known["config_digest"] == made.metadata["config_digest"]
        assert version.parents == made.parents == tuple(made.metadata["parents"].values())
        assert list(known["parents"]) == [str(world / "llava")]
    assert made.metadata["step"] == made.metadata["steps"] == 6
    assert made.metadata["loss"] == versions[0].metadata["loss"]
    assert made.metadata["scores"]["gqa.coverage"] == {
        "value": 1.0, "n": 3, "clusters": 3, "stderr": None, "low": None, "high": None
    }  # fmt: skip


def test_what_has_a_name_of_its_own_and_what_others_published_is_kept(world: Path, tmp_path: Path) -> None:
    other = sft(world / "llava", steps=2, seed=1)
    with workspace(tmp_path / "home", world) as session:
        carried_out(other, session)
        store, publish = session.checkpoints, session.checkpoints.publish

        def named(*arguments: Any, **options: Any) -> Any:
            version = publish(*arguments, **options)
            if version.metadata.get("step") == 2 and version.name == "tuned-steps":
                store.alias("tuned-steps", "wanted", f"v{version.number}")
            return version

        store.publish = named  # type: ignore[method-assign]
        carried_out(sft(world / "llava", steps=8), session)
        found = [(version.metadata["step"], version.aliases) for version in store.versions("tuned-steps")]
    assert found == [(8, ("latest",)), (2, ("wanted",)), (2, ())]


def test_what_gets_a_name_just_before_it_would_be_removed_is_kept(world: Path, tmp_path: Path) -> None:
    with workspace(tmp_path / "home", world) as session:
        store, delete = session.checkpoints, session.checkpoints.delete

        def named_meanwhile(name: str, ref: str, **options: Any) -> Any:
            if ref == "v0":
                store.alias(name, "wanted", ref)
            return delete(name, ref, **options)

        store.delete = named_meanwhile  # type: ignore[method-assign]
        carried_out(sft(world / "llava", save={"every": 2, "keep": 1}), session)
        found = [(version.metadata["step"], version.aliases) for version in store.versions("tuned-steps")]
    assert found == [(6, ("latest",)), (2, ("wanted",))]


@pytest.mark.parametrize("name", ["", "my model", "-net", "models/net", "n" * 123, "net\n"])
def test_a_name_that_the_registry_would_not_take_is_an_error_of_the_config(world: Path, name: str) -> None:
    with pytest.raises(ValidationError) as raised:
        sft(world / "llava", name=name)
    (error,) = raised.value.errors()
    assert error["loc"] == ("name",)
    assert "at most 122 letters, digits, '.', '_' and '-', and starts with a letter or digit" in error["msg"]


def test_the_longest_name_is_published_with_its_checkpoints(world: Path, tmp_path: Path) -> None:
    with workspace(tmp_path / "home", world) as session:
        carried_out(sft(world / "llava", steps=2, name="n" * 122), session)
        assert session.checkpoints.names() == ["n" * 122, "n" * 122 + "-steps"]


@pytest.mark.parametrize("name", ["tuned", "tuned-steps"])
def test_a_name_of_another_type_is_found_before_anything_is_trained(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Trainer, "train", lambda *arguments, **options: pytest.fail("it was trained"))
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "rows.jsonl").touch()
    with workspace(tmp_path / "home", world) as session:
        session.checkpoints.publish(tmp_path / "rows", name, type="dataset")
        with pytest.raises(CheckpointError, match=f"{name}: holds versions of type 'dataset', not 'model'; give"):
            carried_out(sft(world / "llava"), session)
        assert not session.trainings.all()


# --- no number any more -----------------------------------------------------------------------------------------------


def test_a_poisoned_batch_ends_it_before_anything_bad_is_saved(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: dict[str, torch.Tensor]
) -> None:
    collate, calls = ConversationCollator.__call__, []

    def poisoned(collator: ConversationCollator, draws: Any) -> Any:
        batch = collate(collator, draws)
        calls.append(len(draws))
        if len(calls) == 4:
            batch["pixel_values"] = batch["pixel_values"] * torch.nan
        return batch

    settings = sft(world / "llava", steps=4)
    with monkeypatch.context() as patched:
        patched.setattr(ConversationCollator, "__call__", poisoned)
        said = fails(settings, tmp_path / "home", world, Incomplete)
    folder = trainer_folder(tmp_path / "home")
    assert said == (
        "step 4: the loss is nan, and its gradient's norm nan; the last good checkpoint is that of step 2: "
        f"tuned-steps:v0 = {folder / 'checkpoint-2'}"
    )
    assert [path.name for path in folder.iterdir()] == ["checkpoint-2"]
    with workspace(tmp_path / "home", world) as session:
        assert session.checkpoints.names() == ["tuned-steps"]
        assert [version.metadata["step"] for version in session.checkpoints.versions("tuned-steps")] == [2]
        assert equal(weights(carried_out(settings, session), session), unbroken), "the batch is well again"


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_gradient_that_is_no_number_ends_it_though_the_loss_is_one(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    learn = Trainer.training_step

    def learn_badly(trainer: Trainer, model: Any, *arguments: Any, **options: Any) -> Any:
        loss = learn(trainer, model, *arguments, **options)
        if trainer.state.global_step == 0:  # the first step: nothing is saved after it
            next(weight for weight in model.parameters() if weight.grad is not None).grad.view(-1)[0] = value
        return loss

    monkeypatch.setattr(Trainer, "training_step", learn_badly)
    said = fails(sft(world / "llava", steps=4, track={"every": 4}), tmp_path / "home", world, Incomplete)
    assert said.startswith("step 1: the loss is ")
    assert "nan" not in said.split(",")[0]
    assert said.endswith(f"and its gradient's norm {value}; nothing was saved before")
    assert list(trainer_folder(tmp_path / "home").parent.iterdir()) in ([], [trainer_folder(tmp_path / "home")])


# --- no room --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte for the trainer's folders of the workspace `home`."""
    folder = tmp_path / "home" / "training"
    folder.mkdir(parents=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("a disk can be mounted here by nobody")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("room", [0, 40_000, 120_000])
def test_a_full_disk_costs_only_what_was_being_saved(
    world: Path, tmp_path: Path, small_disk: Path, unbroken: dict[str, torch.Tensor], room: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Full at the weights, at the tokenizer and at the optimizer."""
    filler, learn = small_disk / "filler", Trainer.training_step

    def fill(trainer: Trainer, *arguments: Any, **options: Any) -> Any:
        if trainer.state.global_step == 3:
            filler.write_bytes(b"\0" * (shutil.disk_usage(small_disk).free // 4096 * 4096 - room))
        return learn(trainer, *arguments, **options)

    settings = sft(world / "llava", steps=4)
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "training_step", fill)
        said = fails(settings, tmp_path / "home", world, StoreError)
    folder = trainer_folder(tmp_path / "home")
    assert said.startswith(f"{folder / 'checkpoint-4'}: cannot be saved (")
    assert "free some space, or keep fewer with `save.keep`, and run the same command again" in said
    assert said.endswith(f"the last good checkpoint is that of step 2: tuned-steps:v0 = {folder / 'checkpoint-2'}")
    assert list(folder.iterdir()) == [folder / "checkpoint-2"]
    filler.unlink()
    with workspace(tmp_path / "home", world) as session:
        assert equal(weights(carried_out(settings, session), session), unbroken)


def full(*arguments: Any, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def broken_archive(*arguments: Any, **options: Any) -> Any:
    raise RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0")


def state_cut_short(state: TrainerState, path: str) -> None:
    Path(path).write_text('{"global_step"')
    full()


@pytest.mark.parametrize(
    ("where", "act"),
    [("torch.save", broken_archive), ("transformers.trainer_callback.TrainerState.save_to_json", state_cut_short)],
)
def test_a_save_that_breaks_off_is_removed(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, act: Callable[..., Any]
) -> None:
    monkeypatch.setattr(where, act)
    said = fails(sft(world / "llava", steps=4), tmp_path / "home", world, StoreError)
    assert "checkpoint-2: cannot be saved (" in said
    assert said.endswith("nothing was saved before")
    assert list(trainer_folder(tmp_path / "home").iterdir()) == []


def test_a_registry_without_room_costs_no_checkpoint(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: dict[str, torch.Tensor]
) -> None:
    def keep(blobs: Blobs, source: Path) -> Any:
        raise StoreError(f"{blobs.home}: {source} cannot be kept there (No space left on device)")

    settings = sft(world / "llava", steps=4)
    with monkeypatch.context() as patched:
        patched.setattr(Blobs, "keep", keep)
        said = fails(settings, tmp_path / "home", world, StoreError)
    last = trainer_folder(tmp_path / "home") / "checkpoint-2"
    assert said.endswith(f"; the last good checkpoint is that of step 2: {last}")
    assert list(complete(last.parent)) == [2]
    with workspace(tmp_path / "home", world) as session:
        assert session.checkpoints.names() == []
        made = carried_out(settings, session)
        assert equal(weights(made, session), unbroken)
        assert session.checkpoints.versions("tuned-steps")[0].number == 1, "step 2 was published in between"


def test_a_finished_model_that_finds_no_room_is_written_by_the_next_attempt(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: dict[str, torch.Tensor]
) -> None:
    settings = sft(world / "llava", steps=4)
    with monkeypatch.context() as patched:
        patched.setattr("training.export.write_card", full)
        said = fails(settings, tmp_path / "home", world, StoreError)
    folder = trainer_folder(tmp_path / "home").parent
    assert said.startswith(f"{folder / 'checkpoint'}: the finished checkpoint cannot be written (No space left")
    assert [path.name for path in folder.iterdir()] == ["trainer"]
    monkeypatch.setattr(Trainer, "training_step", None)
    with workspace(tmp_path / "home", world) as session:
        assert equal(weights(carried_out(settings, session), session), unbroken)


# --- no memory ------------------------------------------------------------------------------------------------------


def test_too_little_memory_is_said_with_what_to_lower(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = Trainer.training_step

    def take_too_much(trainer: Trainer, *arguments: Any, **options: Any) -> Any:
        if trainer.state.global_step == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")
        return learn(trainer, *arguments, **options)

    monkeypatch.setattr(Trainer, "training_step", take_too_much)
    said = fails(sft(world / "llava", steps=4), tmp_path / "home", world, Incomplete)
    assert said.startswith(
        "step 3: the memory is too small for `batch: 2` (CUDA out of memory. Tried to allocate 2.00 GiB.); lower "
        "`batch` and raise `accumulate` (now 1) as much, set `scale.gradient_checkpointing: true`, set "
        "`scale.precision: bfloat16`; the last good checkpoint is that of step 2: tuned-steps:v0 = "
    )


def test_the_machines_own_memory_counts_as_well() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**55, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)
    assert not is_out_of_memory(RuntimeError("something else"))
