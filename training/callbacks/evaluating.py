"""The harness's own benchmarks, asked of the model while it is trained."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from arr_coc_model import ArrCocForConditionalGeneration
from harness import ConfigError, LiveEvaluation, Options, Score, Session
from training.scale import with_whole_model
from training.settings import Evaluating


def prepare_evaluation(settings: Evaluating, session: Session, model: nn.Module) -> LiveEvaluation:
    """The benchmarks, read and ready; what the settings ask for is looked up now, not after hours.

    Raises:
        UnknownName, ConfigError, DataError: a benchmark is unknown or its data is not there.
    """
    plugin = "arr-coc" if isinstance(bare(model), ArrCocForConditionalGeneration) else "hf"
    options = Options(split=settings.split, limit=settings.limit, batch=settings.batch)
    live = session.live(plugin, settings.benchmarks, options)
    if settings.best is not None and settings.best.partition(".")[0] not in settings.benchmarks:
        raise ConfigError(f"evaluate.best: {settings.best!r} is no score of {', '.join(settings.benchmarks)}")
    return live


def bare(model: nn.Module) -> Any:
    """The model without what wraps it: adapters stay active in it."""
    unwrap = getattr(model, "get_base_model", None)
    return model if unwrap is None else unwrap()


def ask(live: LiveEvaluation, processor: Any, model: nn.Module) -> Mapping[str, Score]:
    """The scores of a model that is being trained, which is left as it was, random numbers included."""
    was = model.training
    model.eval()
    try:
        with _unmoved():
            return live.scores(bare(model), processor)
    finally:
        model.train(was)


@contextlib.contextmanager
def _unmoved() -> Iterator[None]:
    """Whatever is drawn inside, what is drawn afterwards is as if it had not been."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(python)
    np.random.set_state(numpy)


class Evaluation(TrainerCallback):
    """Evaluates every so many steps, logs the scores, and has the best checkpoint so far saved and remembered.

    The best one is kept where the Trainer keeps it itself (`state.best_global_step`), so it survives an interruption.
    """

    def __init__(self, settings: Evaluating, live: LiveEvaluation, trainer: Trainer, processor: Any) -> None:
        self.settings = settings
        self.live = live
        self.trainer = trainer
        self.processor = processor

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """An evaluation, where one is due."""
        if self.settings.every is None or state.global_step % self.settings.every:
            return
        began = time.perf_counter()
        scores = with_whole_model(self.trainer, partial(ask, self.live, self.processor))
        values = {f"eval_{name}": score.value for name, score in scores.items()}
        self.trainer.log({**values, "eval_runtime": time.perf_counter() - began})
        if self.settings.best is None:
            return
        if self.settings.best not in scores:
            raise ConfigError(f"evaluate.best: there is no score {self.settings.best!r}, only {', '.join(scores)}")
        value = scores[self.settings.best].value
        if state.best_metric is None or (value > state.best_metric) == self.settings.higher_is_better != (
            value == state.best_metric
        ):
            state.best_metric, state.best_global_step = value, state.global_step
            control.should_save = True
