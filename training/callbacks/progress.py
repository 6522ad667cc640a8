"""How training shows that it goes on: a bar on a terminal, a line now and then elsewhere; on stderr."""

from __future__ import annotations

import math
import sys
import time
from typing import Any, Final

from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

EVERY: Final = 10.0
"""Seconds between two lines where there is no terminal."""
WIDTH: Final = 80
"""Characters of a line where there is no terminal; a longer name is cut."""
LONGEST: Final = 24
"""Characters of the name on a terminal."""


class Progress(TrainerCallback):
    """Steps, rate, time left and the last loss."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loss = math.nan
        self.bar: Any = None
        self._begin = self._last = 0.0
        self._from = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Opens the bar, or says so, where training goes on."""
        self._from = state.global_step
        if not state.is_world_process_zero:
            return
        if sys.stderr.isatty():
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc=_cut(self.name, LONGEST),
                bar_format="{desc} {bar} {n_fmt}/{total_fmt} {rate_fmt} {remaining}{postfix}",
                unit=" steps",
                dynamic_ncols=True,
                mininterval=0.2,
                file=sys.stderr,
            )
        elif state.global_step:
            self._say(f"going on after step {state.global_step:,} of {state.max_steps:,}")

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Starts the clock; what went before, such as a tracker's greeting, is no step."""
        if not self._begin:
            self._begin = self._last = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """One step further."""
        if self.bar is not None:
            self.bar.update(1)
            return
        now = time.monotonic()
        if not state.is_world_process_zero or sys.stderr.isatty():
            return
        if now - self._last >= EVERY or state.global_step == state.max_steps:
            self._last = now
            self._say(self._line(state, (state.global_step - self._from) / max(now - self._begin, 1e-9)))

    def _line(self, state: TrainerState, rate: float) -> str:
        loss = "" if math.isnan(self.loss) else f", loss {self.loss:.3f}"
        left = tqdm.format_interval((state.max_steps - state.global_step) / rate)
        pace = f"{rate:.3g}" if rate < 1000 else f"{rate:,.0f}"
        return f"step {state.global_step:,} of {state.max_steps:,}{loss}, {pace}/s, {left} left"

    def _say(self, text: str) -> None:
        print(f"{_cut(self.name, WIDTH - len(text) - 2)}: {text}", file=sys.stderr, flush=True)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keeps the loss, and shows it on the bar."""
        if logs and "loss" in logs:
            self.loss = float(logs["loss"])
            if self.bar is not None:
                self.bar.set_postfix_str(f"loss {self.loss:.3f}", refresh=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Closes the bar."""
        if self.bar is not None:
            self.bar.close()


def _cut(name: str, longest: int) -> str:
    return name if len(name) <= longest else f"{name[: max(0, longest - 1)]}…"
