"""What an alignment did: the same benchmarks asked before its first step and after its last."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harness import Json, LiveEvaluation
from training.callbacks.evaluating import Evaluation, ask
from training.job import Job
from training.processes import is_first
from training.recipe import Result, documents
from training.scale import with_whole_model


class Before(TrainerCallback):
    """Asks the model before its first step. What was found is kept, and told again by an attempt that begins anew.

    Args:
        file: where it is kept, between attempts.
    """

    def __init__(self, trainer: Trainer, processor: Any, file: Path) -> None:
        self.trainer = trainer
        self.processor = processor
        self.file = file

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The scores of step 0, where training begins there."""
        if state.global_step > 0:
            return
        if not self.file.exists():
            scores = documents(with_whole_model(self.trainer, partial(ask, self._live(), self.processor)))
            if is_first():
                part = self.file.with_suffix(".part")
                part.write_text(json.dumps(scores), encoding="utf-8")
                part.replace(self.file)
        else:
            scores = read_scores(self.file)
        self.trainer.log({f"eval_{name}": score["value"] for name, score in scores.items()})

    def _live(self) -> LiveEvaluation:
        """The benchmarks as the loop read them."""
        found = [each for each in self.trainer.callback_handler.callbacks if isinstance(each, Evaluation)]
        return found[0].live


def read_scores(file: Path) -> dict[str, dict[str, Any]]:
    """What was kept."""
    return dict(json.loads(file.read_text(encoding="utf-8")))


def with_effect(result: Result, job: Job, file: Path) -> Result:
    """The result with both figures among its facts, the second one a point of the curves too."""
    if is_first():
        training = job.session.trainings.get(job.id)
        after = {f"eval_{name}": score.value for name, score in result.scores.items()}
        job.session.trainings.log(training, job.settings.steps, after)
    effect: dict[str, Json] = {"before": read_scores(file), "after": documents(result.scores)}
    return replace(result, facts={**result.facts, **effect})
