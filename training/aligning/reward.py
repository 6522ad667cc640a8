# mypy: allow-untyped-calls
# Parts of transformers and trl carry no annotations.

"""A reward model (Bradley and Terry 1952, as Ouyang et al. 2022 use it) through trl.

trl's trainer reads texts alone, so the model judges question and answer and sees no picture. It is the language model
of what it starts from, with a head that gives one number.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from arr_coc_model import ArrCocForConditionalGeneration
from training.aligning.preferences import Preference
from training.aligning.rewards import judged
from training.aligning.settings import AlignStage
from training.aligning.trainer import Quiet, arguments, ordered, rows_of
from training.job import Job
from training.modelling.models import Start, adapt, find_start, load
from training.modelling.weights import load_whole
from training.scale import scaled

HEAD = "score"
"""Name of the part that gives the number."""


class TextRewardTrainer(Quiet, RewardTrainer):
    """trl's trainer."""


def make_trainer(job: Job, preferences: Sequence[Preference]) -> tuple[TextRewardTrainer, Any]:
    """Model, tokenizer and data, put together; and the tokenizer.

    Raises:
        CheckpointError: what it starts from is not there.
    """
    settings: AlignStage = job.settings
    start = find_start(settings.start, job.session, settings.revision)
    tokenizers: Any = AutoTokenizer
    tokenizer = tokenizers.from_pretrained(start.place, **start.pinned)
    lora = settings.lora
    if lora is not None:
        lora = lora.model_copy(update={"whole": (*lora.whole, HEAD)})
    judge: Any = adapt(judge_from(start), lora, settings.seed)
    rows = Dataset.from_dict(
        {
            f"{side}_ids": [judged(tokenizer, one.prompt, getattr(one, side)) for one in preferences]
            for side in ("chosen", "rejected")
        }
    )
    places = ordered(len(preferences), rows_of(settings), settings.seed, "place")["place"]
    trainer = scaled(TextRewardTrainer, settings.scale)(
        model=judge,
        args=RewardConfig(**arguments(job), train_sampling_strategy="sequential", max_length=None),
        train_dataset=rows.select(places),
        processing_class=tokenizer,
    )
    return trainer, tokenizer


def judge_from(start: Start) -> Any:
    """A language model with a new head; that inside a model for pictures, where it starts from one."""
    judges: Any = AutoModelForSequenceClassification
    configs: Any = AutoConfig
    if type(configs.from_pretrained(start.place, **start.pinned)) in judges._model_mapping:
        return load_whole(
            judges, start.place, start.name, new=(HEAD,), num_labels=1, dtype=torch.float32, **start.pinned
        ).train()
    whole, _ = load(start)
    speaker = whole.language_model if isinstance(whole, ArrCocForConditionalGeneration) else whole
    config = copy.deepcopy(whole.config.get_text_config())
    config.num_labels = 1
    judge = judges.from_config(config)
    judge.base_model.load_state_dict(speaker.get_decoder().state_dict())
    return judge.train()
