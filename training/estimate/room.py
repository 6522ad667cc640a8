# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""Whether a training fits where it is started: certain and at once before it loads, or by the whole estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from harness import ConfigError, HarnessError, Session
from training.aligning.settings import AlignStage
from training.estimate.devices import Here, amount, here
from training.estimate.imagining import Imagining
from training.estimate.quiet import quiet
from training.modelling.building import build
from training.modelling.models import Start, adapt, find_start, load
from training.modelling.parts import Freezing
from training.processes import WORLD
from training.stages.pretrain import PretrainStage
from training.stages.pretrain import usual as pretrained
from training.stages.sft import SftStage
from training.stages.sft import usual as tuned

SURE = 4
"""A model whose training takes so many times less than there is needs no closer look."""
STATE = 16
"""Bytes of a trained weight: itself, its gradient, and AdamW's two moments, each in float32."""


def ensure_room(settings: Any, session: Session) -> None:
    """Refuses what cannot fit, before any weight is read: the weights, gradients and optimizer alone are too much.

    Raises:
        ConfigError: says what is needed, what there is, and what to lower.
    """
    place = here(session.settings.workspace.device)
    each = place.free // WORLD if place.device == "cpu" else place.free
    try:
        stored = [_stored(start) for start in _starts(settings, session)]
        if not stored and not isinstance(settings, PretrainStage):
            return
        if stored and all(stored) and sum(stored) * STATE // 2 * SURE < each:  # two bytes a weight, if not four
            return
        with Imagining().building(), quiet():
            model = _taught(settings, session)
    except HarnessError:
        return  # whoever loads it says so better
    weights = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    parts = {
        "weights": sum(4 * size for size, _ in weights),
        "gradients and optimizer": sum(12 * size for size, trained in weights if trained),
    }
    if settings.scale.strategy == "fsdp":
        parts = {part: size // WORLD for part, size in parts.items()}
    if sum(parts.values()) > each:
        raise no_room(settings, parts, Here(place.name, place.device, each), least=True)


def no_room(settings: Any, parts: Mapping[str, int], place: Here, *, least: bool = False) -> ConfigError:
    """The error that says so."""
    total = sum(parts.values())
    told = ", ".join(f"{part.replace('_', ' ')} {amount(size)}" for part, size in parts.items() if size > total // 100)
    about = "at least" if least else "about"
    return ConfigError(
        f"{settings.name} does not fit: its training needs {about} {amount(total)} ({told}), and {place.name} has "
        f"{amount(place.free)} free; {_advice(settings, parts)}, or try anyway with --force"
    )


def _advice(settings: Any, parts: Mapping[str, int]) -> str:
    found = []
    if getattr(settings, "lora", settings) is None:
        found.append("train adapters alone (lora: {})")
    if "activations" in parts:
        if settings.scale.precision == "float32":
            found.append("compute in halves (scale.precision: bfloat16)")
        if not settings.scale.gradient_checkpointing:
            found.append("compute activations twice (scale.gradient_checkpointing: true)")
        if settings.batch > 1:
            found.append("take smaller batches (batch:, and accumulate: for the same steps)")
    if settings.scale.strategy != "fsdp":
        found.append("spread it over several devices (scale.strategy: fsdp)")
    return "; ".join(found) or "take a smaller model"


def _starts(settings: Any, session: Session) -> Sequence[Start]:
    """The models that are loaded and trained as they are; none where all is new, or only a part is taken."""
    if isinstance(settings, PretrainStage):
        return list(settings.model.sources(session).values())
    whole = isinstance(settings, SftStage) or (
        isinstance(settings, AlignStage) and settings.alignment_method != "reward"
    )
    return [find_start(settings.start, session, settings.revision)] if whole else []


def _taught(settings: Any, session: Session) -> nn.Module:
    """The model that is trained, put together from what is loaded; a tokenizer that is to be learnt has no words."""
    if isinstance(settings, PretrainStage) and settings.model.start is None:
        model, _ = build(settings.model, session, ([], []))
    else:
        model, _ = load(_starts(settings, session)[0], _size(settings))
    adapted = adapt(model, getattr(settings, "lora", None), settings.seed)
    if isinstance(settings, PretrainStage | SftStage):
        Freezing(adapted, settings.train, settings.steps, pretrained if settings.stage == "pretrain" else tuned)
    return adapted


def _size(settings: Any) -> int | None:
    """Of the pictures, where the settings change it."""
    return settings.model.image_size if isinstance(settings, PretrainStage) else getattr(settings, "image_size", None)


def _stored(start: Start) -> int:
    """Bytes of its weights on disk; 0 where they are not there yet."""
    return sum(file.stat().st_size for file in Path(start.place).glob("*.safetensors"))
