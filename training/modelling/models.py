# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""The model that a training starts from, and its adapters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import Field
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, Trainer

import arr_coc_model  # noqa: F401 - registers ARR-COC with the Auto classes
from harness import CheckpointError, ConfigError, Session, digest_directory
from training.modelling.parts import PARTS, modules_of
from training.modelling.resolution import edge, load_resized, resize_processor
from training.modelling.weights import load_whole
from training.settings import Settings


class Lora(Settings):
    """Low-rank adapters beside frozen weights (Hu et al. 2021); merged into them when the checkpoint is finished."""

    r: int = Field(default=16, ge=1)
    """Their rank."""
    alpha: float = Field(default=32.0, gt=0)
    """Their output is scaled by alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of their inputs that is left out while training."""
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Names (ends of names) of the layers that get one."""
    whole: tuple[str, ...] = ()
    """Parts (projector, vision, router) or modules by name that are trained whole beside them."""


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

    @property
    def pinned(self) -> dict[str, Any]:
        """How `from_pretrained` is told that it reads just this."""
        return {"revision": self.revision} if self.revision else {"local_files_only": True}


StandIn: TypeAlias = Callable[[str, str | None], Start | None]
STAND_IN: ContextVar[StandIn] = ContextVar("STAND_IN", default=lambda text, revision: None)
"""What a plan puts in the place of a model that is yet to be made, or of one on a hub that can't be reached."""


def find_start(text: str, session: Session, revision: str | None = None) -> Start:
    """`NAME:ref` of the registry, a folder (./dir), or `org/name` on the hub with its revision.

    Raises:
        CheckpointError: there is no such model.
    """
    if (stand_in := STAND_IN.get()(text, revision)) is not None:
        return stand_in
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


def load(start: Start, image_size: int | None = None) -> tuple[Any, Any]:
    """Model and processor, in float32 and training mode, made for square pictures of `image_size` pixels.

    Raises:
        CheckpointError: it is no model for pictures and text, or not whole.
        ConfigError: it cannot read pictures of that size.
    """
    pinned = start.pinned
    loader: Any = AutoModelForImageTextToText
    processors: Any = AutoProcessor
    try:
        config = AutoConfig.from_pretrained(start.place, **pinned)
        if type(config) not in loader._model_mapping:
            raise CheckpointError(
                f"start: {start.name}: a {config.model_type} is no model for pictures and text; the stage `pretrain` "
                "puts one together from parts"
            )
        processor = processors.from_pretrained(start.place, **pinned)
        model = _weights(loader, start, config, image_size)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise CheckpointError(f"start: {start.name}: cannot be loaded ({brief(error)})") from error
    if not all(hasattr(processor, part) for part in ("tokenizer", "image_processor")):
        raise CheckpointError(
            f"start: {start.name}: its processor is a {type(processor).__name__}, which does not take both pictures "
            "and text; save the model's: processor.save_pretrained"
        )
    if image_size is not None:
        resize_processor(processor, image_size / edge(config))
    return model.train(), processor


def _weights(loader: Any, start: Start, config: Any, image_size: int | None) -> Any:
    given = {"dtype": torch.float32, **start.pinned}
    if image_size is not None and image_size != edge(config):
        return load_resized(loader, start.place, config, image_size, **given)
    return load_whole(loader, start.place, start.name, **given)


def brief(error: BaseException) -> str:
    """The first line of what an error says, shortened."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]


def ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens at which the model stops answering: those of its generation settings, or the tokenizer's own."""
    config = getattr(model, "generation_config", None)
    own = getattr(config, "eos_token_id", None)
    found = tokenizer.eos_token_id if own is None else own
    return frozenset(() if found is None else found if isinstance(found, list) else (found,))


def adapt(model: nn.Module, lora: Lora | None, seed: int) -> nn.Module:
    """The model with adapters; all else is frozen. As it is where there are none.

    Raises:
        ConfigError: no layer or part has a name that the settings give.
    """
    if lora is None:
        return model
    torch.manual_seed(seed)
    targets: Any = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=targets,
        modules_to_save=_whole(model, lora.whole) or None,
    )
    try:
        with warnings.catch_warnings():  # peft asks for a property by its former name
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            adapted: nn.Module = get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(f"lora: {brief(error)}") from error
    return adapted


def _whole(model: nn.Module, names: Sequence[str]) -> list[str]:
    """The modules of parts, as peft wants them named: by the ends of their names."""
    found: list[str] = []
    for name in names:
        modules = (
            modules_of(model, name)
            if name in PARTS
            else [module for module, _ in model.named_modules() if module.split(".")[-1] == name]
        )
        if not modules:
            raise ConfigError(
                f"lora.whole: the model has no part {name!r}; name one of {', '.join(PARTS)}, or one of its modules"
            )
        found.extend(modules)
    return found


def finish(trainer: Trainer, processor: Any, folder: Path) -> None:
    """Writes the trained model, adapters merged, with its processor, as `from_pretrained` loads it."""
    model: Any = trainer.model
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
