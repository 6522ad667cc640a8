"""The parts of a model for pictures and text, whatever its architecture calls them, and when each is trained."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic import ConfigDict, Field
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harness import ConfigError
from training.settings import Settings

PARTS: Mapping[str, frozenset[str]] = {
    "projector": frozenset(
        (
            "multi_modal_projector", "connector", "projector", "realizing", "qformer", "query_tokens", "merger",
            "language_projection", "image_to_text_projection", "visual_projection", "aligner", "modality_projection",
            "embed_vision",
        )
    ),
    "router": frozenset(("knowing", "balancing", "attending")),
    "vision": frozenset(
        ("vision_tower", "vision_model", "vision_encoder", "visual", "image_encoder", "vision_embed_tokens")
    ),
}  # fmt: skip
"""Part -> the attributes that hold it. The first that fits counts; what fits none is the language model."""
LANGUAGE = "language"


class Late(Settings):
    """A part that is trained after a while."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: float = Field(alias="from", ge=0, lt=1)
    """Share of all steps after which it is."""


Policy: TypeAlias = Mapping[str, bool | Late]
"""Part -> whether it is trained, or when."""


def part_of(name: str) -> str:
    """The part that a parameter (or module) of that name belongs to."""
    attributes = set(name.split("."))
    return next((part for part, known in PARTS.items() if attributes & known), LANGUAGE)


def parameters_by_part(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Those of each part that the model has."""
    parts: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parts.setdefault(part_of(name), []).append(parameter)
    return parts


def modules_of(model: nn.Module, part: str) -> list[str]:
    """Names of the outermost modules that hold a part."""
    found: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if part_of(name) == part and not inside and any(True for _ in module.parameters()):
            found.append(name)
    return found


class Freezing(TrainerCallback):
    """Trains the parts that are to be trained, each from its step on; made before the optimizer is.

    The optimizer has the parameters of all of them. Until its step a part gets no gradient, and AdamW passes over
    what has none: no decay, no moments, no count of steps.

    Args:
        model: with adapters, if it gets any; what is frozen already stays frozen.
        policy: part -> whether it is trained, or when.
        steps: of the whole training.
        usual: what is done with parts that the policy does not name.

    Raises:
        ConfigError: the model has no such part, or nothing is trained at the first step.
    """

    def __init__(self, model: nn.Module, policy: Policy, steps: int, usual: Callable[[str], bool]) -> None:
        parts = parameters_by_part(model)
        for name in policy:
            if name not in parts:
                raise ConfigError(f"train: the model has no part {name!r}; it has {', '.join(parts)}")
        choices = {name: policy.get(name, usual(name)) for name in parts}
        self.starts = {
            name: 0 if choice is True else round(choice.from_ * steps) for name, choice in choices.items() if choice
        }
        for name, parameters in parts.items():
            for parameter in parameters:
                parameter.requires_grad_(parameter.requires_grad and name in self.starts)
        # By name: spread over several processes, the model has other parameters than it was made with.
        self.trained: dict[str, dict[str, int]] = {name: {} for name in parts}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self.trained[part_of(name)][name] = parameter.numel()
        for name, choice in policy.items():
            if choice and not self.trained[name]:
                raise ConfigError(f"train: all of {name} is frozen: no adapter is in it; name it in lora.whole")
        if not any(self.trained[name] for name, start in self.starts.items() if not start):
            raise ConfigError(f"train: nothing is trained at the first step; the model has {', '.join(parts)}")
        self.sizes = {name: sum(map(nn.Parameter.numel, parameters)) for name, parameters in parts.items()}

    def __str__(self) -> str:
        said = []
        for name, size in self.sizes.items():
            trained, start = sum(self.trained[name].values()), self.starts.get(name)
            when = f" from step {start + 1} on" if start else ""
            said.append(f"{name} {trained:,} of {size:,}{when}")
        return "trained parameters: " + ", ".join(said)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Says what is trained."""
        if state.is_world_process_zero:
            print(self, file=sys.stderr)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Parts whose step it is are trained from now on."""
        parameters = dict(kwargs["model"].named_parameters())
        for part, start in self.starts.items():
            for name in self.trained[part]:
                parameters[name].requires_grad_(state.global_step >= start)
