"""Curves of a training, into the workspace: whatever is logged, with throughput and memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harness import Json

if TYPE_CHECKING:
    from training.job import Job

NOT_LABELLED: Final = -100
"""What stands in `labels` where nothing is learnt."""
NO_CURVES: Final = (
    "epoch", "step", "total_flos", "train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second",
)  # fmt: skip
"""The step by another name, and what the Trainer says of an attempt when it ends, wrongly where it had gone on."""


class Meter:
    """Counts what a trainer is given to learn from, and the seconds that it learns.

    Rows and answer tokens are those of the batches as the trainer's steps get them, in this process; all processes
    are given as many rows, and about as many tokens. A batch without `labels` counts as the rows that it should have,
    and its answer tokens are not known.

    The clock runs from the first batch after a point of the curve to the next point. Saving comes in between, and
    evaluations say how long they took (`eval_runtime`), so neither counts.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._take: Callable[..., Any] = trainer.get_batch_samples
        self._nominal = trainer.args.train_batch_size
        self._processes = trainer.args.world_size
        setattr(trainer, "get_batch_samples", self._batches)  # noqa: B010 - a method of the instance, for mypy
        self.restart()

    def restart(self) -> None:
        """Begins anew."""
        self._since: float | None = None
        self._paused = 0.0
        self._steps = self._rows = 0
        self._tokens: Tensor | int | None = 0

    def _batches(self, batches: Iterator[Any], number: int, device: torch.device) -> Any:
        if self._since is None:
            self._since = time.perf_counter()
        taken = self._take(batches, number, device)
        self._steps += 1
        for batch in taken[0]:
            labels = batch.get("labels") if hasattr(batch, "get") else None
            if isinstance(labels, Tensor) and self._tokens is not None:
                self._rows += labels.shape[0]
                # Not read before it is told: reading would make the host wait for the device.
                self._tokens = self._tokens + labels.ne(NOT_LABELLED).sum()
            else:
                self._rows += self._nominal
                self._tokens = None
        return taken

    def pause(self, seconds: float) -> None:
        """So long something else was done."""
        if self._since is not None:
            self._paused += seconds

    def read(self) -> dict[str, float]:
        """Steps, samples and answer tokens a second since the last reading, of all processes together."""
        if self._since is None:
            return {}
        seconds = time.perf_counter() - self._since - self._paused
        counts = {"steps": float(self._steps), "samples": float(self._rows * self._processes)}
        if self._tokens is not None and float(self._tokens) > 0:
            counts["answer_tokens"] = float(self._tokens) * self._processes
        self.restart()
        return {f"{name}_per_second": count / seconds for name, count in counts.items()} if seconds > 0 else {}


class Telemetry(TrainerCallback):
    """Stores what is logged. A training that goes on continues its curves; what came after its checkpoint is forgotten.

    Every number passes, under the name that it was logged by; only what is no curve (`NO_CURVES`) does not.
    """

    def __init__(self, trainer: Trainer, job: Job) -> None:
        self.store = job.session.trainings
        settings = job.settings
        best = getattr(settings.evaluate, "best", None)
        facts: dict[str, Json] = dict(job.metadata())
        if best is not None:
            facts["best"] = {"score": best, "higher_is_better": settings.evaluate.higher_is_better}
        self.meter = Meter(trainer)
        self.training = (
            self.store.begin(job.id, name=settings.name, stage=settings.stage, steps=settings.steps, facts=facts)
            if trainer.is_world_process_zero()
            else None
        )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """What an attempt logged after the point from which this one goes on is forgotten."""
        if self.training is None:
            return
        if self.training.step < state.global_step:  # it goes on in another workspace
            for entry in state.log_history:
                self.store.log(self.training, int(entry["step"]), numbers(entry))
        self.store.rewind(self.training, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """One point of each curve."""
        values = numbers(logs or {})
        self.meter.pause(values.get("eval_runtime", 0.0))
        if "loss" in values:
            values |= self.meter.read()
            values |= memory()
        if self.training is not None and values:
            self.store.log(self.training, state.global_step, values)


def numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    """What was logged and is a number, whatever holds it, without what is no curve."""
    found = {}
    for name, value in logs.items():
        if name in NO_CURVES or isinstance(value, str):
            continue
        try:
            found[name] = float(value.detach() if isinstance(value, Tensor) else value)
        except (TypeError, ValueError):
            continue
    return found


def memory() -> dict[str, float]:
    """Bytes at the most so far: of the CUDA allocator where there is one, and the process's resident set (peak RSS)."""
    found = {}
    if torch.cuda.is_available():
        found["cuda_peak_bytes"] = float(torch.cuda.max_memory_allocated())
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        found["peak_rss_bytes"] = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
    return found
