"""Small real trainings: a world, a workspace, and stages whose weights are compared bit by bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from harness import Session
from training import microworld
from training.recipe import Made, carry_out
from training.stages.arr_coc import ArrCocStage
from training.stages.arr_coc import run as run_arr_coc
from training.stages.sft import SftStage
from training.stages.sft import run as run_sft

EVALUATE = {"benchmarks": ["gqa"], "limit": 3, "every": 2, "batch": 3}
COMMON = {"shares": {"gqa": 1}, "split": "train", "steps": 6, "batch": 2, "save": {"every": 2, "keep": 1}}


def make_world(folder: Path) -> Path:
    """A folder with a few pictures and the `benchmarks.yaml` that names them."""
    microworld.build(folder / "data", images=6, evaluation_images=5)
    (folder / "benchmarks.yaml").write_text(f"benchmarks:\n  gqa:\n    data: {folder / 'data' / 'gqa'}\n")
    return folder


def arr_coc(**changes: Any) -> ArrCocStage:
    """A stage that trains ARR-COC from nothing, with soft steps."""
    settings = {"name": "net", "prompts": 2, "warmup": 2, "rare": 1, "router": {"start": 0.3, "every": 2}}
    return ArrCocStage.model_validate({**COMMON, **settings, **changes})


def sft(start: Path, **changes: Any) -> SftStage:
    """A stage that tunes adapters, with dropout, which draws random numbers at each step."""
    settings = {"name": "tuned", "start": str(start), "lora": {"r": 4, "dropout": 0.2}, "learning_rate": 1e-2}
    return SftStage.model_validate({**COMMON, **settings, **changes})


@contextmanager
def workspace(home: Path, world: Path) -> Iterator[Session]:
    """A workspace that knows the world's benchmarks."""
    session = Session(home, world)
    try:
        yield session
    finally:
        session.database.close()


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
