"""A loss or a gradient that is no number ends the training before it is saved."""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harness import Incomplete


class Diverged(Incomplete):
    """The loss or the gradient ceased to be a number."""


class Finite(TrainerCallback):
    """Looks at the gradient of every step and at every logged loss, both before each save.

    It comes after whoever may ask for a save. On an accelerator gradients are looked at when something is logged or
    saved: reading one any earlier would make the device wait for us at every step.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._norms: list[tuple[int, Any]] = []
        self._bad: tuple[int, float] | None = None
        clip: Any = trainer._clip_grad_norm

        def noted(model: nn.Module) -> Any:
            norm = clip(model)
            self._norms.append((trainer.state.global_step + 1, norm))
            return norm

        trainer._clip_grad_norm = noted  # type: ignore[method-assign]

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """No checkpoint without a look at the loss; it is logged where a gradient is bad, too."""
        if control.should_save:
            control.should_log = True
        if control.should_log or args.device.type == "cpu":
            norms = [(step, float(norm)) for step, norm in self._norms]
            self._norms.clear()
            self._bad = next(((step, norm) for step, norm in norms if not math.isfinite(norm)), None)
            control.should_log = control.should_log or self._bad is not None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Stops where there is no number any more."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if self._bad is not None:
            step, norm = self._bad
            raise Diverged(f"step {step}: the loss is {loss}, and its gradient's norm {norm}")
        if not math.isfinite(loss):
            raise Diverged(f"step {state.global_step}: the loss is {loss}")
