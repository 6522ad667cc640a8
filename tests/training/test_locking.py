"""One training is carried out by one command at a time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from harness import HarnessError, Incomplete
from tests.training.trainings import (
    carried_out,
    one_thread,
    sft,
    start_child,
    trainer_folder,
    workspace,
    world,
)
from training.job import Job
from training.lessons import Draws
from training.recipe import Result
from training.resuming import complete
from training.stages.sft import run as run_sft

__all__ = ["one_thread", "world"]


def test_a_second_command_is_refused_and_leaves_the_first_as_it_is(world: Path, tmp_path: Path) -> None:
    settings, home = sft(world / "llava", steps=4), tmp_path / "home"
    reached, free, taken = tmp_path / "reached", tmp_path / "free", Draws.__getitem__

    def wait(draws: Draws, place: int) -> object:
        if place == 3 * settings.batch:
            reached.touch()
            while not free.exists():
                time.sleep(0.01)
        return taken(draws, place)

    child = start_child(settings, home, world, lambda: setattr(Draws, "__getitem__", wait))
    child.wait_for(reached.exists)
    half = trainer_folder(home) / "checkpoint-3"  # as if it were just being saved
    half.mkdir()
    for saving in (settings.save, settings.save.model_copy(update={"resume": "never"})):
        with workspace(home, world) as session:
            with pytest.raises(Incomplete) as raised:
                carried_out(settings.model_copy(update={"save": saving}), session)
            (training,) = session.trainings.all()
            assert training.status == "running"
        assert str(raised.value).startswith(
            f"tuned: this very training is under way in another process (pid {child.pid}, since 20"
        )
        assert str(raised.value).endswith(" UTC); wait for it, or stop it")
        assert raised.value.exit_code == 3
        assert half.is_dir()
        assert list(complete(half.parent)) == [2]
    free.touch()
    assert child.code() == 0, child.said()
    with workspace(home, world) as session:
        assert not carried_out(settings, session).fresh


def test_processes_that_would_train_different_things_are_told(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process has it that is not the first."""
    settings, other = sft(world / "llava"), sft(world / "llava", seed=1)
    with workspace(tmp_path / "home", world) as session:
        first, own = Job.of(other, session).id, Job.of(settings, session).id
        monkeypatch.setattr("training.recipe.shared", lambda work: first)
        with pytest.raises(HarnessError, match=f"job {first[:12]} to the first of them, and {own[:12]} to this one"):
            carried_out(settings, session)


def test_what_was_finished_is_what_the_first_process_finds(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process has it that is not the first, and sees the folder appear too early or too late."""
    made = Result(tmp_path)
    with workspace(tmp_path / "home", world) as session:
        job = Job.of(sft(world / "llava"), session)
        monkeypatch.setattr("training.loop.shared", lambda work: made)
        assert run_sft(job) is made


def test_a_killed_command_holds_nothing_nor_do_the_processes_that_it_started(world: Path, tmp_path: Path) -> None:
    settings, home = sft(world / "llava", steps=2), tmp_path / "home"
    stray = tmp_path / "stray"

    def prepare() -> None:
        taken = Draws.__getitem__

        def die(draws: Draws, place: int) -> object:
            if os.fork() == 0:
                stray.write_text(str(os.getpid()))
                time.sleep(60)
                os._exit(0)
            while not stray.exists() or not stray.read_text():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
            return taken(draws, place)

        setattr(Draws, "__getitem__", die)  # noqa: B010

    child = start_child(settings, home, world, prepare)
    assert child.code() == -signal.SIGKILL, child.said()
    try:
        with workspace(home, world) as session:
            assert carried_out(settings, session).fresh
    finally:
        os.kill(int(stray.read_text()), signal.SIGKILL)
