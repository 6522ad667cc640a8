"""Pretraining: a vision encoder, a projection and a language model learn to describe pictures together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from transformers import Trainer, set_seed

from harness import Session
from training.building import ModelSettings, build, texts
from training.job import Job
from training.lessons import LearningSettings
from training.loop import fit
from training.models import finish as finish_model
from training.models import load
from training.parts import Freezing, Late
from training.recipe import Result
from training.teaching import check_drop, make_trainer


def usual(part: str) -> bool:
    """The projection alone is trained unless the settings say otherwise."""
    return part == "projector"


class PretrainStage(LearningSettings):
    """A config whose `stage` is `pretrain`."""

    stage: Literal["pretrain"] = "pretrain"
    model: ModelSettings
    """What is trained."""
    train: dict[str, bool | Late] = Field(default={})
    """Parts (vision, projector, router, language) that are trained beside the projection (`language: true`), or after
    a share of all steps (`vision: {from: 0.5}`); `projector: false` freezes that."""

    @model_validator(mode="after")
    def _teaching(self) -> PretrainStage:
        check_drop(self, self.train, usual)
        return self

    def parents(self, session: Session) -> dict[str, str]:
        """What it starts from."""
        sources = {source.name: source.digest for source in self.model.sources(session).values()}
        return {**super().parents(session), **sources}


def run(job: Job) -> Result:
    """Trains the model.

    Raises:
        CheckpointError, UnknownName, ConfigError, DataError: what it is made of or learns from is not there, or
            cannot be used as the settings say.
    """
    settings: PretrainStage = job.settings
    pictures = settings.pictures(job.session)
    set_seed(settings.seed)
    if settings.model.start is not None:
        model, processor = load(settings.model.sources(job.session)["start"], settings.model.image_size)
    else:
        words = settings.model.learnt
        named = () if words is None else words.benchmarks or tuple(settings.shares)
        model, processor = build(settings.model, job.session, texts(job.session, named, settings.split))
    freezing = Freezing(model, settings.train, settings.steps, usual)
    trainer = make_trainer(Trainer, job, model, processor, pictures, freezing)
    return fit(trainer, processor, job, lambda trained, folder: finish_model(trained, processor, folder))
