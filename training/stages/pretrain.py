"""Pretraining: a vision encoder, a projection and a language model learn to describe pictures together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from transformers import set_seed

from harness import Session
from training.contrastive import Contrast, Kind, PairCollator, PretrainTrainer
from training.conversations import ConversationCollator
from training.identity import content
from training.job import Job
from training.lessons import LearningSettings
from training.loop import fit
from training.modelling.building import build, said, texts
from training.modelling.composition import ModelSettings
from training.modelling.models import finish as finish_model
from training.modelling.models import load
from training.modelling.parts import Freezing, Late
from training.recipe import Result
from training.settings import Settings
from training.teaching import check_drop, make_trainer


def usual(part: str) -> bool:
    """The projection alone is trained unless the settings say otherwise."""
    return part == "projector"


class Objectives(Settings):
    """What is learnt, and how much each counts."""

    captioning: float = Field(default=1.0, ge=0)
    """To say the answers: captions, as a rule."""
    contrastive: float = Field(default=0.0, ge=0)
    """To tell a picture's answer from those of the other pictures of a step on all devices, by the means of its
    projected patches and of the answer's states in the language model."""
    loss: Kind = "clip"
    """The contrastive one: `clip` picks one of all, `siglip` judges each pair."""

    @model_validator(mode="after")
    def _something(self) -> Objectives:
        if not self.captioning + self.contrastive:
            raise ValueError("every objective has the weight 0: nothing would be learnt")
        return self


class PretrainStage(LearningSettings):
    """A config whose `stage` is `pretrain`."""

    stage: Literal["pretrain"] = "pretrain"
    model: ModelSettings
    """What is trained."""
    train: dict[str, bool | Late] = Field(default={})
    """Parts (vision, projector, router, language) that are trained beside the projection (`language: true`), or after
    a share of all steps (`vision: {from: 0.5}`); `projector: false` freezes that."""

    objectives: Objectives = Objectives()

    @model_validator(mode="after")
    def _teaching(self) -> PretrainStage:
        check_drop(self, self.train, usual)
        if self.objectives.contrastive and (self.prompts > 1 or self.image_drop or self.batch == 1):
            raise ValueError(
                "objectives.contrastive: takes one prompt a picture (prompts: 1), none without its picture "
                "(image_drop: 0), and several in a batch"
            )
        return self

    def data_digests(self, session: Session) -> dict[str, str]:
        """What is learnt from, the tokenizer's texts included: name -> digest."""
        words = self.model.learnt
        named = () if words is None else words.benchmarks
        texts = {f"{name} [words]": content(session.benchmark(name, split=self.split), None) for name in named}
        return {**super().data_digests(session), **texts}

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
        told = texts(job.session, words.benchmarks, settings.split) if words and words.benchmarks else said(pictures)
        model, processor = build(settings.model, job.session, told)
    freezing = Freezing(model, settings.train, settings.steps, usual)
    contrast = Contrast(settings.objectives.loss) if settings.objectives.contrastive else None
    if contrast is not None:
        contrast.attach(model)
    collator = ConversationCollator if contrast is None else PairCollator
    trainer = make_trainer(PretrainTrainer, job, model, processor, pictures, freezing, collator)
    trainer.weights = (settings.objectives.captioning, settings.objectives.contrastive)
    trainer.contrast = contrast
    return fit(trainer, processor, job, lambda trained, folder: finish_model(trained, processor, folder))
