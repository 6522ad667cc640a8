"""Curves of a training, into the workspace."""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harness import Training, TrainingStore


class Telemetry(TrainerCallback):
    """Stores what the Trainer logs, with throughput and memory; a training that goes on continues its curves."""

    def __init__(self, store: TrainingStore, training: Training) -> None:
        self.store = store
        self.training = training
        self._last: tuple[float, int] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """What an attempt logged after the point from which this one goes on is forgotten."""
        if state.is_world_process_zero:
            self.store.rewind(self.training, state.global_step)
        self._last = (time.perf_counter(), state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """One point of each curve."""
        if not state.is_world_process_zero or not logs:
            return
        values = {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}
        if "loss" in values and self._last is not None:
            now = time.perf_counter()
            seconds, steps = now - self._last[0], state.global_step - self._last[1]
            self._last = (now, state.global_step)
            if steps and seconds > 0:
                values["steps_per_second"] = steps / seconds
            if torch.cuda.is_available():
                values["peak_bytes"] = float(torch.cuda.max_memory_allocated())
        values.pop("total_flos", None)
        self.store.log(self.training, state.global_step, values)
