# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""How long a training takes: from a throughput that is known, or from a few of its steps done here."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harness import UsageError
from training.estimate.assembling import Assembly
from training.estimate.quiet import quiet
from training.estimate.steps import shorten, widest

TIMED = 3
"""Steps that are timed, after one that is not."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What is learnt in a second, on all devices together."""

    value: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Throughput:
        """`12 samples/s` or `3000 tokens/s`.

        Raises:
            UsageError: it is neither.
        """
        found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?\d+)?)\s*(samples|tokens)\s*(?:/\s*s|a second)?\s*", text)
        try:
            value = float(found[1]) if found else 0.0
        except ValueError:
            value = 0.0
        if found is None or not value > 0:
            raise UsageError(
                f"--throughput {text!r}: write a number and its unit, such as '12 samples/s' or '3e3 tokens/s'"
            )
        return cls(value, found[2])

    def seconds(self, samples: int, tokens: int) -> float:
        """Time for so many samples of so many tokens each."""
        return samples * (tokens if self.unit == "tokens" else 1) / self.value


@dataclass(frozen=True, slots=True)
class Measured:
    """What some real steps took.

    Attributes:
        rate: samples a second.
        peak: bytes that CUDA's allocator had given out at the moment of most; None on the CPU.
    """

    device: str
    rate: float
    peak: int | None


class Clock(TrainerCallback):
    """When steps ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """One more."""
        if args.device.type == "cuda":
            torch.cuda.synchronize(args.device)
        self.ends.append(time.perf_counter())


def measure(assembly: Assembly) -> Measured:
    """Does some steps with real weights; the trainer has been used afterwards, and nothing was saved."""
    trainer = assembly.trainer
    device = trainer.args.device
    clock = Clock()
    widest(trainer)
    shorten(trainer, [assembly.job.settings.steps - 1] * TIMED)
    trainer.add_callback(clock)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with quiet():
        trainer.train()
    samples = TIMED * trainer.args.per_device_train_batch_size * trainer.args.gradient_accumulation_steps
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return Measured(str(device), samples / (clock.ends[-1] - clock.ends[0]), peak)
