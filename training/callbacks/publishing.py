"""Every checkpoint that a training saves becomes a version in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from training.job import Job


class Publishing(TrainerCallback):
    """Publishes what was saved, under NAME-steps, the best one with the alias `best`."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The checkpoint is whole now."""
        if not state.is_world_process_zero:
            return
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        self.job.session.checkpoints.publish(
            Path(str(args.output_dir)) / f"checkpoint-{state.global_step}",
            f"{self.job.settings.name}-steps",
            aliases=("best",) if state.best_global_step == state.global_step else (),
            metadata={
                **self.job.metadata(),
                "step": state.global_step,
                "loss": losses[-1] if losses else None,
                "best": state.best_metric,
            },
            parents=tuple(self.job.parents.values()),
        )
