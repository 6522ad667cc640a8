"""SIGTERM and SIGINT end a training at a step's end, saved."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.processes import any_process, is_first
from training.resuming import complete

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preemption(TrainerCallback):
    """Takes the signals while training: the step under way ends, is saved, and the training stops, in all processes.

    The Trainer's own just-in-time checkpoint waits three seconds first and may save between forward and update, where
    going on is not going on as if nothing had been.

    Args:
        grace: seconds; whoever sent the signal will not wait longer.
        folder: the Trainer's, where it saves.

    Attributes:
        received: the signal that came.
        saved: the step after which the training stopped because of it.
    """

    def __init__(self, grace: float, folder: Path) -> None:
        self.grace = grace
        self.folder = folder
        self.received: int | None = None
        self.saved: int | None = None
        self._before: dict[int, Any] = {}
        self._timer: threading.Timer | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes the signals, from the processes that prepare batches, too."""
        if threading.current_thread() is not threading.main_thread():
            return
        loader = kwargs["train_dataloader"]
        loader = getattr(loader, "base_dataloader", loader)  # in accelerate's, which starts the processes
        loader.worker_init_fn = partial(_heed_parent_alone, loader.worker_init_fn)
        self._before = {number: signal.signal(number, self._take) for number in SIGNALS}

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self.restore()
            signal.raise_signal(number)
            return
        self.received = number
        self._timer = threading.Timer(self.grace, self._give_up, [number])
        self._timer.daemon = True
        self._timer.start()
        if is_first():  # past the buffer of sys.stderr, in which the main thread may be writing now
            os.write(2, f"\n{_name(number)}: saving when the step ends, in {self.grace:g} s at most\n".encode())

    def _give_up(self, number: int) -> None:
        step = max(complete(self.folder), default=0)
        text = f"{_name(number)}: the step did not end within {self.grace:g} s and is not saved; "
        os.write(2, (text + f"the same command goes on from step {step}\n").encode())
        os._exit(128 + number)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Saves and stops where a signal has come."""
        if any_process(self.received is not None):
            control.should_save = True
            control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stops where a signal came while this was being saved."""
        if any_process(self.received is not None):
            control.should_training_stop = True
            self.saved = state.global_step

    def restore(self) -> None:
        """Gives the signals back."""
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def conclude(self) -> None:
        """After training: raises the signal that came as whoever had it would have got it."""
        if self.saved is not None and is_first():
            print(f"step {self.saved} is saved; the same command goes on from there", file=sys.stderr, flush=True)
        if self.saved is not None or self.received is not None:
            signal.raise_signal(self.received or signal.SIGTERM)


def _name(number: int) -> str:
    return signal.Signals(number).name


def _heed_parent_alone(init: Callable[[int], None] | None, worker: int) -> None:
    """In a process that prepares batches: what a whole process group is sent is the training process's to answer."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _prctl_pr_set_pdeathsig(signal.SIGKILL)  # however that one ends, none is left behind
    if init is not None:
        init(worker)
