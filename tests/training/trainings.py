"""Small real trainings: a world, a workspace, and stages whose weights are compared bit by bit."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_models import make_tiny_llava

from harness import Session, open_session
from harness.cli import run as run_harness
from training import microworld
from training.recipe import Made, carry_out
from training.stages.arr_coc import ArrCocStage
from training.stages.arr_coc import run as run_arr_coc
from training.stages.sft import SftStage
from training.stages.sft import run as run_sft

workspace = open_session
EVALUATE = {"benchmarks": ["gqa"], "limit": 3, "every": 2, "batch": 3}
COMMON = {"shares": {"gqa": 1}, "split": "train", "steps": 6, "batch": 2, "save": {"every": 2, "keep": 1}}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Two runs are equal only where sums are made in one order, and the machine has other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few pictures, the `benchmarks.yaml` that names them, and a tiny model to start from."""
    folder = tmp_path_factory.mktemp("world")
    microworld.build(folder / "data", images=6, evaluation_images=5)
    (folder / "benchmarks.yaml").write_text(f"benchmarks:\n  gqa:\n    data: {folder / 'data' / 'gqa'}\n")
    make_tiny_llava(folder / "llava")
    return folder


def arr_coc(**changes: Any) -> ArrCocStage:
    """A stage that trains ARR-COC from nothing, with soft steps."""
    settings = {"name": "net", "prompts": 2, "warmup": 2, "rare": 1, "router": {"start": 0.3, "every": 2}}
    return ArrCocStage.model_validate({**COMMON, **settings, **changes})


def sft(start: Path, **changes: Any) -> SftStage:
    """A stage that tunes adapters, with dropout, which draws random numbers at each step."""
    settings = {"name": "tuned", "start": str(start), "lora": {"r": 4, "dropout": 0.2}, "learning_rate": 1e-2}
    return SftStage.model_validate({**COMMON, **settings, **changes})


def carried_out(settings: Any, session: Session) -> Made:
    """The stage, carried out."""
    return carry_out(settings, run_arr_coc if settings.stage == "arr_coc" else run_sft, session)


def weights(made: Made, session: Session) -> dict[str, torch.Tensor]:
    """Those of the published model."""
    folder = session.checkpoints.resolve(made.version.name, f"v{made.version.number}").checkout()
    return load_file(folder / "model.safetensors")


def equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def trainer_folder(home: Path) -> Path:
    """Where the only training of a workspace saves."""
    (folder,) = (home / "training").glob("*/trainer")
    return folder


@dataclass(frozen=True)
class Child:
    """`harness train` in a process of its own, which has a process group of its own."""

    pid: int
    output: Path

    def send(self, number: int) -> None:
        """A signal to the process."""
        os.kill(self.pid, number)

    def wait_for(self, there: Callable[[], bool], seconds: float = 60) -> None:
        """Until something is there."""
        end = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < end, self.said()
            time.sleep(0.002)

    def code(self, seconds: float = 60) -> int:
        """How it ended, as `subprocess` says it."""
        end = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                os.killpg(self.pid, signal.SIGKILL)
                raise AssertionError(f"it did not end: {self.said()}")
            time.sleep(0.01)

    def said(self) -> str:
        """What it printed."""
        return self.output.read_text()


def start_child(settings: Any, home: Path, world: Path, prepare: Callable[[], None] = lambda: None) -> Child:
    """A child that starts without importing anything anew. `prepare` is called in it."""
    home.mkdir(exist_ok=True)
    config, output = home.parent / f"{home.name}.yaml", home.parent / f"{home.name}.out"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    pid = os.fork()
    if pid:
        return Child(pid, output)
    code = 99
    try:
        os.setpgid(0, 0)
        os.chdir(world)
        os.environ["HARNESS_HOME"] = str(home)
        for number in (1, 2):
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        # pytest's own are the parent's.
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        prepare()
        code = run_harness(["train", str(config)])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - it is another process, whose end tells
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)
