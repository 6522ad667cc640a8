"""Small contrastive trainings: in this process, or in two that torchrun starts.

python -P -m torch.distributed.run --standalone --nproc-per-node 2 contrastive_runs.py MODEL FOLDER '[{...}, ...]'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from scale_runs import ROWS, Gradients, draws, start
from transformers import TrainingArguments

from training.contrastive import Contrast, PairCollator, PretrainTrainer
from training.loop import trainer_arguments
from training.modelling.models import load
from training.processes import is_first
from training.scale import scaled
from training.stages.pretrain import PretrainStage

STEPS = 2


def learn(model: Path, folder: Path, *, loss: str, captioning: float, batch: int, **scale: Any) -> dict[str, Any]:
    """Trains all weights by both objectives; what the first process saw."""
    settings = PretrainStage.model_validate(
        {
            "name": "a", "model": {"start": str(model)}, "shares": {"made": 1}, "steps": STEPS, "batch": batch,
            "learning_rate": 1e-3, "scale": scale, "clip": 1e9,
            "objectives": {"captioning": captioning, "contrastive": 0.5, "loss": loss},
        }
    )  # fmt: skip
    loaded, processor = load(start(model))
    contrast = Contrast(settings.objectives.loss)
    contrast.attach(loaded)
    trainer = scaled(PretrainTrainer, settings.scale)(
        model=loaded,
        args=TrainingArguments(
            **{**trainer_arguments(settings, folder), "logging_steps": 1, "save_strategy": "no"},
            train_sampling_strategy="sequential",
            adam_epsilon=1e-3,
        ),
        train_dataset=draws(STEPS * ROWS),  # type: ignore[arg-type]
        data_collator=PairCollator(processor),
        processing_class=processor,
    )
    trainer.weights = (settings.objectives.captioning, settings.objectives.contrastive)
    trainer.contrast = contrast
    gradients = Gradients(trainer)
    trainer.add_callback(gradients)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    learnt = {name: value.detach() for name, value in contrast.named_parameters()}
    return {"losses": losses, "gradients": gradients.steps, "learnt": learnt}


def main() -> None:
    torch.set_num_threads(1)
    model, folder, runs = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    for run in runs:
        name = run.pop("name")
        seen = learn(model, folder / name, **run)
        if is_first():
            torch.save(seen, folder / f"{name}.pt")


if __name__ == "__main__":
    main()
