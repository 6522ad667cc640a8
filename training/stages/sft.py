"""Supervised fine-tuning: any model for pictures and text, or ARR-COC, on prompts and answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from transformers import Trainer, set_seed

from harness import Session
from training.job import Job
from training.lessons import LearningSettings
from training.loop import fit
from training.modelling.models import Lora, adapt, find_start, load
from training.modelling.models import finish as finish_model
from training.modelling.parts import Freezing, Late
from training.recipe import Result
from training.teaching import check_drop, make_trainer


def usual(part: str) -> bool:
    """All parts are tuned unless the settings say otherwise."""
    return True


class SftStage(LearningSettings):
    """A config whose `stage` is `sft`."""

    stage: Literal["sft"] = "sft"
    start: str
    """The model that is tuned: `NAME:ref` of the registry, a folder (./dir), or `org/name` on the hub."""
    revision: str | None = None
    """The hub's commit."""
    image_size: int | None = Field(default=None, ge=1)
    """Edge of the pictures (or tiles) in pixels; null leaves it as the model has it."""
    lora: Lora | None = None
    """Adapters; null trains the weights themselves."""
    train: dict[str, bool | Late] = Field(default={})
    """Parts (vision, projector, router, language) that are not trained (`vision: false`), or only after a share of
    all steps (`vision: {from: 0.5}`)."""

    @model_validator(mode="after")
    def _teaching(self) -> SftStage:
        check_drop(self, self.train, usual)
        return self

    def parents(self, session: Session) -> dict[str, str]:
        """What it starts from."""
        start = find_start(self.start, session, self.revision)
        return {**super().parents(session), start.name: start.digest}


def run(job: Job) -> Result:
    """Tunes the model.

    Raises:
        CheckpointError, UnknownName, ConfigError, DataError: what it starts from or learns from is not there, or
            cannot be used as the settings say.
    """
    settings: SftStage = job.settings
    pictures = settings.pictures(job.session)
    set_seed(settings.seed)
    model, processor = load(find_start(settings.start, job.session, settings.revision), settings.image_size)
    adapted = adapt(model, settings.lora, settings.seed)
    freezing = Freezing(adapted, settings.train, settings.steps, usual)
    trainer = make_trainer(Trainer, job, adapted, processor, pictures, freezing)
    return fit(trainer, processor, job, lambda trained, folder: finish_model(trained, processor, folder))
