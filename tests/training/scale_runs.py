"""Small trainings for the tests of `training.scale`: in this process, or in two."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.distributed.tensor import DTensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from training.conversations import ConversationCollator
from training.lessons import Draw, Lesson, Picture
from training.loop import trainer_arguments
from training.modelling.models import Lora, adapt, finish, load
from training.modelling.parts import Freezing, Late
from training.processes import is_first, shared
from training.scale import Scaled, blocks, come_together, scaled, with_whole_model
from training.stages.sft import SftStage

ROWS = 4
"""Of a step, on all processes together."""
ANSWERS = ("red", "a big dog on the street", "two people", "blue", "yes", "a white horse near the water")


@dataclass(frozen=True)
class Plain:
    """A picture of one colour."""

    shade: int

    @property
    def name(self) -> str:
        return f"{self.shade}.png"

    def read(self) -> bytes:
        encoded = io.BytesIO()
        Image.new("RGB", (40, 30), (self.shade, 255 - self.shade, 120)).save(encoded, "PNG")
        return encoded.getvalue()


def draws(rows: int) -> list[Draw]:
    """Rows whose answers differ in length, so that a mean of the processes' means is not the mean of all tokens."""
    made = []
    for place in range(rows):
        answer = ANSWERS[place * 5 % len(ANSWERS)]
        picture = Picture(Plain(place * 37 % 256), (Lesson("made", "what is this", (answer,)),))
        made.append(Draw(picture, ("what is this",), (answer,), (True,)))
    return made


class Gradients(TrainerCallback):
    """Keeps the whole gradients of each step, after clipping."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        model: Any = self.trainer.model
        self.steps.append(
            {
                name: (value.grad.full_tensor() if isinstance(value.grad, DTensor) else value.grad).clone()
                for name, value in model.named_parameters()
                if value.grad is not None
            }
        )


def train(
    model: Path, folder: Path, *, steps: int = 4, batch: int = 2, accumulate: int = 1, resume: str | None = None,
    lora: bool = False, look: bool = False, late: bool = False, **scale: Any,
) -> dict[str, Any]:  # fmt: skip
    """Trains, and leaves `folder/finished` and the trainer's checkpoints.

    Args:
        resume: the checkpoint to go on from.
        look: has the whole model looked at after each step.
        late: freezes the vision tower, and the language model at first.

    Returns:
        What the first process saw.
    """
    settings = SftStage.model_validate(
        {
            "name": "a", "start": str(model), "shares": {"made": 1}, "steps": steps, "batch": batch,
            "accumulate": accumulate, "learning_rate": 1e-3, "scale": scale, "save": {"every": 2, "keep": 9},
            "lora": {"r": 2, "targets": ["q_proj", "v_proj"]} if lora else None,
        }
    )  # fmt: skip
    loaded, processor = load(start(model))
    given = Lora.model_validate(settings.lora) if settings.lora is not None else None
    torch.manual_seed(0)
    trainer = scaled(Trainer, settings.scale)(
        model=adapt(loaded, given, 0),
        args=TrainingArguments(
            **{**trainer_arguments(settings, folder / "trainer"), "logging_steps": 1},
            train_sampling_strategy="sequential",
            # Some gradients are zero but for rounding, and AdamW makes steps of the full rate of whatever is not.
            adam_epsilon=1e-3,
        ),
        train_dataset=draws(steps * ROWS),  # type: ignore[arg-type]
        data_collator=ConversationCollator(processor),
        processing_class=processor,
    )
    if late:
        policy = {"projector": True, "language": Late.model_validate({"from": 0.5})}
        trainer.add_callback(Freezing(trainer.model, policy, steps, lambda part: False))
    layers = len(blocks(trainer.model))
    gradients = Gradients(trainer)
    trainer.add_callback(gradients)
    looks: list[float] = []
    if look:
        trainer.add_callback(Looking(trainer, looks))
    trainer.train(resume_from_checkpoint=resume)
    assert isinstance(trainer, Scaled)
    spread: Any = trainer.model
    seen = {
        "spread": [isinstance(value, DTensor) for value in spread.parameters()],
        "shares": sum(
            value.to_local().numel() if isinstance(value, DTensor) else value.numel() for value in spread.parameters()
        ),
        "all": sum(value.numel() for value in spread.parameters()),
        "layers": layers,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "looks": looks,
        "gradients": gradients.steps,
    }
    seen["gathered"] = {
        name: value.full_tensor() if isinstance(value, DTensor) else value
        for name, value in spread.state_dict().items()
    }
    come_together(trainer)
    shared(lambda: finish(trainer, processor, folder / "finished"))
    return seen


class Looking(TrainerCallback):
    """Generates with the whole model after each step, as an evaluation does."""

    def __init__(self, trainer: Trainer, looks: list[float]) -> None:
        self.trainer = trainer
        self.looks = looks

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.looks.append(with_whole_model(self.trainer, self._look))

    @torch.inference_mode()
    def _look(self, model: Any) -> float:
        tokens = model.generate(input_ids=torch.tensor([[1, 5, 6]]), max_new_tokens=2, do_sample=False)
        return float(tokens.sum())


def start(model: Path) -> Any:
    from training.modelling.models import Start

    return Start(str(model), str(model), None, "")


def carry_out(model: Path, folder: Path, runs: Iterable[Mapping[str, Any]]) -> None:
    """Runs one after another; leaves what the first process saw of each beside it."""
    torch.set_num_threads(1)
    for run in runs:
        given = {**run}
        name = given.pop("name")
        seen = train(model, folder / name, **given)
        if is_first():
            torch.save(seen, folder / name / "seen.pt")
