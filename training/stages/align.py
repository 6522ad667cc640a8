"""Alignment: preferences learnt directly (DPO), or rewards of sampled answers (GRPO); or a reward model for that."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from transformers import Trainer, set_seed

from harness import Json
from training.aligning.dpo import make_trainer as make_dpo
from training.aligning.effect import Before, with_effect
from training.aligning.grpo import make_trainer as make_grpo
from training.aligning.preferences import Preference
from training.aligning.reward import make_trainer as make_reward
from training.aligning.settings import AlignStage
from training.job import Job
from training.loop import fit
from training.modelling.models import finish
from training.recipe import Result

Maker: TypeAlias = Callable[[Job, Sequence[Preference]], tuple[Trainer, Any]]
MAKERS: Mapping[str, Maker] = {"dpo": make_dpo, "rlhf": make_grpo, "reward": make_reward}


def run(job: Job) -> Result:
    """Aligns the model, or makes the reward model.

    Raises:
        CheckpointError, UnknownName, ConfigError, DataError: what it starts from or learns from is not there, or the
            preferences are bad.
    """
    with warnings.catch_warnings():
        # peft and trl ask transformers by the name that it had before.
        warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing(_disable)?` is deprecated", FutureWarning)
        return _aligned(job)


def _aligned(job: Job) -> Result:
    settings: AlignStage = job.settings
    set_seed(settings.seed)
    given = settings.read_preferences() if settings.preferences is not None else None
    trainer, processor = MAKERS[settings.alignment_method](job, given.records if given is not None else ())
    before = job.folder / "before.json"
    if settings.evaluate is not None:
        trainer.add_callback(Before(trainer, processor, before))
    result = fit(trainer, processor, job, lambda trained, folder: finish(trained, processor, folder))
    if given is not None:
        counts: dict[str, Json] = {"used": len(given.records), "skipped": dict(given.skipped)}
        result = replace(result, facts={**result.facts, "preferences": counts})
    return result if settings.evaluate is None else with_effect(result, job, before)
