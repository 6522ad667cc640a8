"""Kills and signals: the same command goes on, and ends with the weights of a training that nobody disturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from harness.checkpoints import EmbeddedStore
from harness.errors import HarnessError
from tests.training.trainings import (
    EVALUATE,
    arr_coc,
    carried_out,
    equal,
    one_thread,
    sft,
    start_child,
    trainer_folder,
    weights,
    workspace,
    world,
)
from training.lessons import Draws
from training.resuming import complete

__all__ = ["one_thread", "world"]


@pytest.fixture(scope="module")
def settings(world: Path) -> Any:
    return sft(world / "llava", steps=4)


@pytest.fixture(scope="module")
def unbroken(world: Path, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    with workspace(tmp_path_factory.mktemp("unbroken"), world) as session:
        return weights(carried_out(settings, session), session)


def at(place: int, act: Callable[[], object]) -> Callable[[], None]:
    """Something that the child does when it reads the data of a place."""
    taken = Draws.__getitem__

    def take(draws: Draws, wanted: int) -> Any:
        if wanted == place:
            act()
        return taken(draws, wanted)

    def prepare() -> None:
        setattr(Draws, "__getitem__", take)  # noqa: B010

    return prepare


def to_itself(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def goes_on(settings: Any, home: Path, world: Path, expected: dict[str, torch.Tensor]) -> None:
    """The same command once more completes the training, and leaves nothing behind."""
    with workspace(home, world) as session:
        made = carried_out(settings, session)
        assert equal(weights(made, session), expected)
        store = session.checkpoints
        assert isinstance(store, EmbeddedStore)
        assert not [check for check in store.verify() if check.problem]
    folder = trainer_folder(home)
    assert sorted(folder.glob("*")) == sorted(complete(folder).values())
    assert {path.name for path in folder.parent.iterdir()} == {"checkpoint", "result.json", "trainer"}


def test_killed_while_saving(world: Path, settings: Any, unbroken: dict[str, torch.Tensor], tmp_path: Path) -> None:
    def prepare() -> None:
        def see(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and str(arguments[0]).endswith("checkpoint-4/trainer_state.json"):
                Path(str(arguments[0])).parent.joinpath("stray").touch()
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(see)

    child = start_child(settings, tmp_path / "home", world, prepare)
    assert child.code() == -signal.SIGKILL
    assert list(complete(trainer_folder(tmp_path / "home"))) == [2]
    assert (trainer_folder(tmp_path / "home") / "checkpoint-4" / "optimizer.pt").is_file()
    goes_on(settings, tmp_path / "home", world, unbroken)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_saved_at_the_end_of_the_step(
    world: Path, settings: Any, unbroken: dict[str, torch.Tensor], tmp_path: Path, number: int, code: int
) -> None:
    # The data of step 4 is read before step 3 is learnt.
    child = start_child(settings, tmp_path / "home", world, at(3 * settings.batch, to_itself(number)))
    assert child.code() == code
    assert list(complete(trainer_folder(tmp_path / "home"))) == [3]
    assert "step 3 is saved; the same command goes on from there" in child.said()
    assert f"{signal.Signals(number).name}: saving when the step ends, in 30 s at most" in child.said()
    with workspace(tmp_path / "home", world) as session:
        assert session.checkpoints.get("tuned-steps", "latest").metadata["step"] == 3
        (training,) = session.trainings.all()
        assert training.status == "interrupted"
    goes_on(settings, tmp_path / "home", world, unbroken)


def test_a_signal_while_saving_ends_it_with_that_save(world: Path, settings: Any, tmp_path: Path) -> None:
    publish = EmbeddedStore.publish

    def disturbed(store: EmbeddedStore, *arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return publish(store, *arguments, **options)

    child = start_child(settings, tmp_path / "home", world, lambda: setattr(EmbeddedStore, "publish", disturbed))
    assert child.code() == 143
    assert "step 2 is saved" in child.said()
    assert list(complete(trainer_folder(tmp_path / "home"))) == [2]


def test_after_the_grace_time_it_ends_unsaved_and_says_from_where_it_goes_on(world: Path, tmp_path: Path) -> None:
    settings = sft(world / "llava", steps=4, save={"every": 2, "grace": 0.2})

    def stuck() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    began = time.monotonic()
    child = start_child(settings, tmp_path / "home", world, at(3 * settings.batch, stuck))
    assert child.code(25) == 143
    assert time.monotonic() - began < 25
    assert list(complete(trainer_folder(tmp_path / "home"))) == [2]
    said = child.said()
    assert "SIGTERM: the step did not end within 0.2 s and is not saved; the same command goes on from step 2" in said


def test_a_second_signal_ends_it_at_once(world: Path, settings: Any, tmp_path: Path) -> None:
    def stuck() -> None:
        (tmp_path / "reached").touch()
        time.sleep(30)

    child = start_child(settings, tmp_path / "home", world, at(3 * settings.batch, stuck))
    child.wait_for((tmp_path / "reached").exists)
    for _ in range(2):
        child.send(signal.SIGTERM)
        time.sleep(0.1)
    assert child.code(20) == 143
    assert list(complete(trainer_folder(tmp_path / "home"))) == [2]
    assert "is saved" not in child.said()


def alive(group: int) -> list[int]:
    """Processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, members = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(members) == group and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_is_left_behind(world: Path, tmp_path: Path, number: int) -> None:
    """A runner's signal goes to all processes of the group; a kill to the one that trains alone."""
    settings = sft(world / "llava", steps=400, save={"every": 300}, scale={"workers": 2})
    child = start_child(settings, tmp_path / "home", world)
    child.wait_for(lambda: len(alive(child.pid)) == 3)
    child.wait_for(lambda: steps_in(tmp_path / "home") > 0)
    if number == signal.SIGTERM:
        os.killpg(child.pid, number)
        assert child.code() == 143, child.said()
        (saved,) = complete(trainer_folder(tmp_path / "home"))
        assert f"step {saved} is saved" in child.said()
    else:
        child.send(number)
        assert child.code() == -number
    child.wait_for(lambda: not alive(child.pid), seconds=3)


def steps_in(home: Path) -> int:
    """How far the training of a workspace is."""
    with workspace(home, Path()) as session:
        try:
            return max((training.step for training in session.trainings.all()), default=0)
        except HarnessError:
            return 0


# --- every point of it, and any -------------------------------------------------------------------------------------


def dies_at(home: Path, count: int) -> Callable[[], None]:
    """The child is killed before the count-th time that it changes a file of the workspace; all are noted."""

    def prepare() -> None:
        left = [count]
        noted = os.open(home.parent / "changes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def see(event: str, arguments: tuple[Any, ...]) -> None:
            writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if not writing and event not in ("os.rename", "os.remove", "os.mkdir", "os.link", "os.rmdir"):
                return
            if str(home) in str(arguments[0]):
                os.write(noted, f"{event} {arguments[0]}\n".encode())
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(see)

    return prepare


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["arr_coc", "sft"])
def test_killed_at_any_change_of_a_file(world: Path, tmp_path: Path, stage: str) -> None:
    """Saving, publishing, deleting, exporting, and what lies between them."""
    evaluate = {**EVALUATE, "best": "gqa.accuracy"}
    settings = (
        arr_coc(steps=3, batch=1, evaluate=evaluate)
        if stage == "arr_coc"
        else sft(world / "llava", steps=3, evaluate=evaluate)
    )
    whole = tmp_path / "whole" / "home"
    whole.parent.mkdir()
    assert start_child(settings, whole, world, dies_at(whole, -1)).code() == 0
    changes = (whole.parent / "changes").read_text().splitlines()
    with workspace(whole, world) as session:
        expected = weights(carried_out(settings, session), session)
    chosen = [*sorted(random.Random(0).sample(range(1, len(changes)), 24)), len(changes)]
    for count in chosen:
        home = tmp_path / f"killed-{count}" / "home"
        home.parent.mkdir()
        child = start_child(settings, home, world, dies_at(home, count))
        assert child.code() == -signal.SIGKILL, child.said()
        goes_on(settings, home, world, expected)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_real_command_is_killed_again_and_again(
    world: Path, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At random moments, by the clock, until it has gone through."""
    settings = sft(world / "llava", steps=12, save={"every": 1, "keep": 2}, evaluate=EVALUATE)
    config, dice = tmp_path / "config.yaml", random.Random(number)
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    with workspace(tmp_path / "unbroken", world) as session:
        expected = weights(carried_out(settings, session), session)
    home = tmp_path / "home"
    command = [sys.executable, "-P", "-m", "harness", "train", str(config)]
    environment = {**os.environ, "HARNESS_HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}
    codes = []
    for _ in range(20):
        process = subprocess.Popen(command, cwd=world, env=environment, stderr=subprocess.PIPE)
        before = saved(home)
        strike = threading.Thread(target=after_a_step, args=(process, home, before, number, dice.uniform(0, 2)))
        strike.start()
        _, said = process.communicate()
        strike.join()
        codes.append(process.returncode)
        if process.returncode == 0:
            break
        assert process.returncode == (-9 if number == signal.SIGKILL else 143), said.decode()
    assert codes[-1] == 0
    assert len(codes) > 3, "it was killed several times"
    goes_on(settings, home, world, expected)


def saved(home: Path) -> set[str]:
    return {path.name for path in home.glob("training/*/trainer/checkpoint-*")}


def after_a_step(process: subprocess.Popen[bytes], home: Path, before: set[str], number: int, seconds: float) -> None:
    """Sends the signal some time after the process has got further than the one before it."""
    while process.poll() is None and saved(home) <= before:
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(number)


@pytest.mark.slow
def test_all_processes_stop_after_the_same_step(world: Path, tmp_path: Path) -> None:
    """SIGTERM to torchrun, which hands it to its processes one after the other."""
    settings = sft(world / "llava", steps=30, save={"every": 100})
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    launch = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "harness", "train", str(config)]

    def start(home: Path) -> subprocess.Popen[bytes]:
        changes = {"HARNESS_HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}
        return subprocess.Popen(command, cwd=world, env={**os.environ, **changes}, stderr=subprocess.PIPE)

    def trained(home: Path) -> dict[str, torch.Tensor]:
        process = start(home)
        _, said = process.communicate()
        assert process.returncode == 0, said.decode()
        with workspace(home, world) as session:
            (folder,) = home.glob("training/*/checkpoint")
            assert session.checkpoints.get("tuned", "latest").metadata["step"] == 30
            return load_file(folder / "model.safetensors")

    process = start(tmp_path / "home")
    while process.poll() is None and steps_in(tmp_path / "home") < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 1, said.decode()
    (step,) = complete(trainer_folder(tmp_path / "home"))
    assert step < 30
    assert f"step {step} is saved; the same command goes on from there" in said.decode()
    assert equal(trained(tmp_path / "home"), trained(tmp_path / "whole"))
