"""The harness's own benchmarks, asked of the model while it is trained."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from arr_coc_model import ArrCocForConditionalGeneration
from harness import ConfigError, LiveEvaluation, Options, Score, Session
from training.scale import with_whole_model
from training.settings import Evaluating

LOG = logging.getLogger(__name__)
RELEVANCE: Final = "relevance_accuracy"
"""How well ARR-COC answers at its configured budget: the mean of the benchmarks' accuracies."""
ROUTING: Final = (
    "kept_fraction", "compression_factor", "visual_tokens", "tokens_per_patch", "allocation_entropy",
    "relevance_propositional", "relevance_perspectival", "relevance_participatory",
    "weight_propositional", "weight_perspectival", "weight_participatory",
)  # fmt: skip
"""Scores of where ARR-COC's visual tokens go, watched beside those that a benchmark is configured with."""


def prepare_evaluation(settings: Evaluating, session: Session, model: nn.Module) -> LiveEvaluation:
    """The benchmarks, read and ready; what the settings ask for is looked up now, not after hours.

    Raises:
        UnknownName, ConfigError, DataError: a benchmark is unknown, its data is not there, or nothing gives the score
            that is to choose the best checkpoint.
    """
    routed = isinstance(bare(model), ArrCocForConditionalGeneration)
    options = Options(split=settings.split, limit=settings.limit, batch=settings.batch)
    parts = []
    for name in dict.fromkeys(settings.benchmarks):
        metrics: tuple[str, ...] = ()
        if routed:
            configured = (score for choice in session.benchmark(name).metrics for score in choice.scores)
            metrics = tuple(dict.fromkeys((*configured, *ROUTING)))
        parts.append(session.live("arr-coc" if routed else "hf", [name], replace(options, metrics=metrics)))
    live = LiveEvaluation(
        parts[0].plugin,
        [plan for part in parts for plan in part.plans],
        {name: unmet for part in parts for name, unmet in part.unmet.items()},
    )
    known = (*live.names, *([RELEVANCE] if routed and _accuracies(live) else []))
    if settings.best is not None and settings.best not in known:
        raise ConfigError(f"evaluate.best: nothing gives the score {settings.best!r}; there are {', '.join(known)}")
    return live


def bare(model: nn.Module) -> Any:
    """The model without what wraps it: adapters stay active in it."""
    unwrap = getattr(model, "get_base_model", None)
    return model if unwrap is None else unwrap()


def ask(live: LiveEvaluation, processor: Any, model: nn.Module) -> Mapping[str, Score]:
    """The scores of a model that is being trained, which is left as it was, its processor and random numbers included.

    A benchmark that cannot be asked has a coverage of 0 and no other score; a training is worth more than its curve.
    """
    asked = bare(model)
    found: dict[str, Score] = {}
    with resting(model), _unmoved(asked.device), _untouched(processor):
        for plan in live.plans:
            try:
                found |= replace(live, plans=(plan,)).scores(asked, processor, partial(LOG.warning, "evaluation: %s"))
            except Exception as error:  # noqa: BLE001 - see above
                LOG.warning("evaluation: %s could not be asked: %s", plan.task.name, error or type(error).__name__)
                found[f"{plan.task.name}.coverage"] = Score(0.0, n=plan.n, clusters=plan.n)
    if isinstance(asked, ArrCocForConditionalGeneration):
        answered = [found[name] for name in _accuracies(live) if name in found]
        if answered and len(answered) == len(_accuracies(live)):
            mean = sum(score.value for score in answered) / len(answered)
            found[RELEVANCE] = Score(mean, *(sum(getattr(score, of) for score in answered) for of in ("n", "clusters")))
    return found


def _accuracies(live: LiveEvaluation) -> list[str]:
    return [name for name in live.names if name.endswith(".accuracy")]


@contextlib.contextmanager
def resting(model: nn.Module) -> Iterator[None]:
    """In evaluation mode; afterwards each part is in the mode in which it was."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextlib.contextmanager
def _unmoved(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside, what is drawn afterwards is as if it had not been."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextlib.contextmanager
def _untouched(processor: Any) -> Iterator[None]:
    """A fast tokenizer keeps how it was last told to pad and truncate, and would be saved with it."""
    backend = getattr(getattr(processor, "tokenizer", processor), "backend_tokenizer", None)
    padding, truncation = (backend.padding, backend.truncation) if backend is not None else (None, None)
    try:
        yield
    finally:
        if backend is not None:
            backend.no_padding() if padding is None else backend.enable_padding(**padding)
            backend.no_truncation() if truncation is None else backend.enable_truncation(**truncation)


class Evaluation(TrainerCallback):
    """Evaluates every so many steps, logs the scores, and has the best checkpoint so far saved and remembered.

    The best one is kept where the Trainer keeps it itself (`state.best_global_step`), so it survives an interruption.
    Where the best is wanted, the last step is evaluated too.
    """

    def __init__(self, settings: Evaluating, live: LiveEvaluation, trainer: Trainer, processor: Any) -> None:
        self.settings = settings
        self.live = live
        self.trainer = trainer
        self.processor = processor

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """An evaluation, where one is due."""
        best, every = self.settings.best, self.settings.every
        last = best is not None and state.global_step == state.max_steps
        if every is None or (state.global_step % every and not last):
            return
        began = time.perf_counter()
        scores = with_whole_model(self.trainer, partial(ask, self.live, self.processor))
        values = {f"eval_{name}": score.value for name, score in scores.items()}
        self.trainer.log({**values, "eval_runtime": time.perf_counter() - began})
        if best is None:
            return
        if best not in scores:
            LOG.warning("evaluation: step %d has no %s, and is not compared with the best", state.global_step, best)
        elif self._is_better(values, state):
            state.best_metric, state.best_global_step = scores[best].value, state.global_step
            control.should_save = True

    def _is_better(self, values: Mapping[str, float], state: TrainerState) -> bool:
        """Whether more was answered than at the best so far, or as much and better: a few may be the easy ones."""
        if state.best_metric is None:
            return True
        name = f"eval_{self.settings.best}"
        of_best = (one for one in state.log_history if one["step"] == state.best_global_step and name in one)
        answered, needed = self._coverage(values), self._coverage(next(of_best))
        if answered != needed:
            return answered > needed
        value = values[name]
        return value > state.best_metric if self.settings.higher_is_better else value < state.best_metric

    def _coverage(self, values: Mapping[str, float]) -> float:
        """Of the benchmark that gives the score; the least where several do."""
        benchmark = str(self.settings.best).partition(".")[0]
        ending = ".coverage" if benchmark == RELEVANCE else f"eval_{benchmark}.coverage"
        return min(value for name, value in values.items() if name.endswith(ending))
