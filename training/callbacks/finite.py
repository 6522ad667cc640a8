"""A loss that is no number ends the training before it is saved."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harness import Incomplete


class Diverged(Incomplete):
    """The loss or the gradient ceased to be a number."""


class Finite(TrainerCallback):
    """Looks at every logged loss and gradient, and has them logged before each save."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """No checkpoint without a look at it."""
        if control.should_save or (args.save_steps and state.global_step % int(args.save_steps) == 0):
            control.should_log = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Stops where there is no number any more."""
        for name in ("loss", "grad_norm"):
            value = (logs or {}).get(name)
            if value is not None and not math.isfinite(float(value)):
                raise Diverged(f"step {state.global_step}: the {name.replace('grad_norm', 'gradient')} is {value}")
