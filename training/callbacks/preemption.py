"""SIGTERM and SIGINT end a training at a step's end, saved."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.processes import any_process

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preemption(TrainerCallback):
    """Takes the signals while training: the step under way ends, is saved, and the training stops.

    The Trainer's own just-in-time checkpoint waits three seconds first and may save between forward and update, where
    going on is not going on as if nothing had been.

    Attributes:
        received: the signal that came.
    """

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes the signals."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in SIGNALS}

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self.restore()
            signal.raise_signal(number)
            return
        self.received = number
        # Whoever sent it will not wait longer: without an end by then, the last checkpoint is what there is.
        timer = threading.Timer(self.grace, os._exit, [128 + number])
        timer.daemon = True
        timer.start()
        self._timer = timer

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Saves and stops where a signal has come, to this process or to another."""
        if any_process(self.received is not None):
            if self.received is None and self._before:
                signal.raise_signal(signal.SIGTERM)
            control.should_save = True
            control.should_training_stop = True

    def restore(self) -> None:
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def close(self) -> None:
        """After training: gives the signals back, and raises the one that came as whoever had it would have."""
        self.restore()
        if self.received is not None:
            self._timer.cancel()
            print("saved; the same command goes on from here", file=sys.stderr)
            signal.raise_signal(self.received)
