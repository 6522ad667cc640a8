"""What an alignment did: the same benchmarks asked before its first step and after its last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harness import Json, LiveEvaluation
from training.callbacks.evaluating import Evaluation, ask
from training.job import Job
from training.processes import is_first, shared
from training.recipe import Result
from training.scale import with_whole_model

CURVE = "eval_"
"""What the curves of scores begin with."""


class Before(TrainerCallback):
    """Asks the model before its first step, once: an attempt that begins anew or goes on knows what was found.

    Args:
        file: where it is kept between attempts; a checkpoint that is brought to another machine knows it too.
    """

    def __init__(self, trainer: Trainer, processor: Any, file: Path) -> None:
        self.trainer = trainer
        self.processor = processor
        self.file = file

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The scores of step 0."""
        found = shared(partial(read_scores, self.file))
        if found is None:
            found = _told(state.log_history) if state.global_step else self._ask()
            if is_first():
                part = self.file.with_suffix(".part")
                part.write_text(json.dumps(found), encoding="utf-8")
                part.replace(self.file)
        if state.global_step == 0:
            self.trainer.log({f"{CURVE}{name}": value for name, value in found.items()})

    def _ask(self) -> dict[str, float]:
        scores = with_whole_model(self.trainer, partial(ask, self._live(), self.processor))
        return {name: score.value for name, score in scores.items()}

    def _live(self) -> LiveEvaluation:
        """The benchmarks as the loop read them."""
        found = [each for each in self.trainer.callback_handler.callbacks if isinstance(each, Evaluation)]
        return found[0].live


def _told(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What was logged at step 0."""
    first = next((entry for entry in history if entry["step"] == 0), {})
    return {name.removeprefix(CURVE): value for name, value in first.items() if name.startswith(CURVE)}


def read_scores(file: Path) -> dict[str, float] | None:
    """What was kept, if anything was."""
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def with_effect(result: Result, job: Job, file: Path) -> Result:
    """The result with both figures among its facts, the second one a point of the curves too."""
    after = {name: score.value for name, score in result.scores.items()}
    if is_first():
        training = job.session.trainings.get(job.id)
        curves = {f"{CURVE}{name}": value for name, value in after.items()}
        job.session.trainings.log(training, job.settings.steps, curves)
    effect: dict[str, Json] = {"before": shared(partial(read_scores, file)), "after": after}
    return replace(result, facts={**result.facts, **effect})
