# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""The model that a training starts from, and its adapters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import Field
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer

import arr_coc_model  # noqa: F401 - registers ARR-COC with the Auto classes
from harness import CheckpointError, Session, digest_directory
from training.settings import Settings


class Lora(Settings):
    """Low-rank adapters beside frozen weights (Hu et al. 2021); merged into them when the checkpoint is finished."""

    r: int = Field(default=16, ge=1)
    """Their rank."""
    alpha: float = Field(default=32.0, gt=0)
    """Their output is scaled by alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Names (ends of names) of the layers that get one."""
    whole: tuple[str, ...] = ()
    """Names of parts that are trained whole beside them, such as multi_modal_projector."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a model comes from.

    Attributes:
        name: `NAME:vN`, a folder, or a repository at a commit.
        place: what `from_pretrained` reads.
        digest: of its files; a hub's commit.
    """

    name: str
    place: str
    revision: str | None
    digest: str


def find_start(text: str, session: Session, revision: str | None = None) -> Start:
    """`NAME:ref` of the registry, a folder (./dir), or `org/name` on the hub with its revision.

    Raises:
        CheckpointError: there is no such model.
    """
    if text.startswith((".", "/", "~")):
        folder = Path(text).expanduser()
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"start: {folder}: no config.json in it; a model is a folder of save_pretrained")
        return Start(str(folder), str(folder), None, digest_directory(folder))
    name, colon, ref = text.partition(":")
    if colon:
        found = session.checkpoints.resolve(name, ref or "latest")
        return Start(f"{name}:{found.version}", str(found.checkout()), None, found.digest)
    if revision is None:
        raise CheckpointError(f"start: {text} is on the hub: pin it with `revision:` (a commit)")
    return Start(f"{text}@{revision}", text, revision, revision)


def load(start: Start) -> tuple[Any, Any]:
    """Model and processor, in float32 and training mode."""
    given = {"revision": start.revision} if start.revision else {"local_files_only": True}
    loader: Any = AutoModelForImageTextToText
    processors: Any = AutoProcessor
    model = loader.from_pretrained(start.place, dtype=torch.float32, use_safetensors=True, **given)
    return model.train(), processors.from_pretrained(start.place, **given)


def adapt(model: nn.Module, lora: Lora | None, seed: int) -> nn.Module:
    """The model with adapters; all else is frozen. As it is where there are none."""
    if lora is None:
        return model
    torch.manual_seed(seed)
    targets: Any = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=targets,
        modules_to_save=list(lora.whole) or None,
    )
    adapted: nn.Module = get_peft_model(model, config)
    return adapted


def finish(trainer: Trainer, processor: Any, folder: Path) -> None:
    """Writes the trained model, adapters merged, with its processor, as `from_pretrained` loads it."""
    model: Any = trainer.model
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
