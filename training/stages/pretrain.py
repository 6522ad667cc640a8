"""Pretraining: a vision encoder, a projection and a language model learn to describe pictures together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from transformers import Trainer, TrainingArguments, set_seed

from harness import Session
from training.building import ModelSettings, build, texts
from training.conversations import ConversationCollator
from training.job import Job
from training.lessons import LearningSettings
from training.loop import fit, trainer_arguments
from training.models import finish as finish_model
from training.models import load
from training.parts import Late, freeze
from training.recipe import Result
from training.scale import scaled


class PretrainStage(LearningSettings):
    """A config whose `stage` is `pretrain`."""

    stage: Literal["pretrain"] = "pretrain"
    model: ModelSettings
    """What is trained."""
    train: dict[str, bool | Late] = Field(default={"projector": True})
    """Which parts are trained."""

    def parents(self, session: Session) -> dict[str, str]:
        """What it starts from."""
        sources = {source.name: source.digest for source in self.model.sources(session).values()}
        return {**super().parents(session), **sources}


def run(job: Job) -> Result:
    """Trains the model.

    Raises:
        CheckpointError, UnknownName, ConfigError, DataError: what it is made of or learns from is not there.
    """
    settings: PretrainStage = job.settings
    pictures = settings.pictures(job.session)
    set_seed(settings.seed)
    if settings.model.start is not None:
        model, processor = load(settings.model.sources(job.session)["start"])
    else:
        words = settings.model.learnt
        named = () if words is None else words.benchmarks or tuple(settings.shares)
        model, processor = build(settings.model, job.session, texts(job.session, named, settings.split))
    trainer = scaled(Trainer, settings.scale)(
        model=model,
        args=TrainingArguments(
            **trainer_arguments(settings, job.folder / "trainer", job.session.settings.workspace.device),
            train_sampling_strategy="sequential",
        ),
        train_dataset=settings.draws(pictures),
        data_collator=ConversationCollator(processor),
        processing_class=processor,
    )
    freeze(trainer, settings.train)
    return fit(trainer, processor, job, lambda trained, folder: finish_model(trained, processor, folder))
