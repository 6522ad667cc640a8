"""Every checkpoint that a training saves becomes a version in the registry; the newest few are kept, and the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harness import Json
from training.job import Job
from training.resuming import (
    BEST,
    complete,
    keep_safe,
    leave_places_out,
    published,
    remove,
    step_of,
    steps_name,
    withdraw,
)


class Publishing(TrainerCallback):
    """Publishes what was saved under NAME-steps, the best one with the alias `best`, and removes what is old.

    Args:
        folder: the Trainer's, where it saves.
    """

    def __init__(self, job: Job, folder: Path) -> None:
        self.job = job
        self.folder = folder
        self.saving = job.settings.save

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Publishes the checkpoint from which the training goes on, if its process ended before it could."""
        state.save_steps = int(args.save_steps)  # how often it is saved may change from one attempt to the next
        if state.global_step and state.is_world_process_zero:
            self._publish(state)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The checkpoint is whole now."""
        if state.is_world_process_zero:
            keep_safe(self.folder / f"checkpoint-{state.global_step}")  # before those that it replaces are removed
            self._publish(state)
            self._retain(state)

    def _publish(self, state: TrainerState) -> None:
        if not self.saving.publish:
            return
        store, name = self.job.session.checkpoints, steps_name(self.job)
        if all(step_of(version) != state.global_step for version in published(self.job)):
            checkpoint = self.folder / f"checkpoint-{state.global_step}"
            leave_places_out(checkpoint)
            keep_safe(checkpoint)
            version = store.publish(
                checkpoint,
                name,
                metadata={**self.job.metadata(), **facts(state)},
                parents=tuple(self.job.parents.values()),
            )
            trainings = self.job.session.trainings
            trainings.published(trainings.get(self.job.id), version, state.global_step)
        for version in published(self.job):
            if step_of(version) == state.best_global_step and BEST not in version.aliases:
                store.alias(name, BEST, f"v{version.number}", f"the best after step {state.global_step}")

    def _retain(self, state: TrainerState) -> None:
        found = complete(self.folder)
        for step in list(found)[: -self.saving.keep]:
            if step != state.best_global_step:
                remove(found[step])
        if not self.saving.publish:
            return
        for version in published(self.job)[self.saving.keep :]:
            if step_of(version) != state.best_global_step:
                withdraw(self.job, version)


def facts(state: TrainerState) -> dict[str, Json]:
    """How far a training is: its step, and the newest of its losses and of its evaluations' scores."""
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    return {
        "step": state.global_step,
        "loss": losses[-1] if losses else None,
        "scores": _scores(state.log_history),
        "best_step": state.best_global_step,
        "best": state.best_metric,
    }


def _scores(history: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    for entry in reversed(history):
        found = {name: value for name, value in entry.items() if name.startswith("eval_") and name != "eval_runtime"}
        if found:
            return {
                name.removeprefix("eval_"): value if math.isfinite(value) else None for name, value in found.items()
            }
    return {}
