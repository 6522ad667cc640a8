"""Supervised fine-tuning: any model for pictures and text, or ARR-COC, on prompts and answers."""

from __future__ import annotations

from typing import Literal

from transformers import Trainer, TrainingArguments, set_seed

from harness import Session
from training.conversations import ConversationCollator
from training.job import Job
from training.lessons import LearningSettings
from training.loop import fit, trainer_arguments
from training.models import Lora, adapt, find_start, load
from training.models import finish as finish_model
from training.recipe import Result
from training.scale import scaled


class SftStage(LearningSettings):
    """A config whose `stage` is `sft`."""

    stage: Literal["sft"] = "sft"
    start: str
    """The model that is tuned: `NAME:ref` of the registry, a folder (./dir), or `org/name` on the hub."""
    revision: str | None = None
    """The hub's commit."""
    lora: Lora | None = None
    """Adapters; null trains all weights."""

    def parents(self, session: Session) -> dict[str, str]:
        """What it starts from."""
        start = find_start(self.start, session, self.revision)
        return {**super().parents(session), start.name: start.digest}


def run(job: Job) -> Result:
    """Tunes the model.

    Raises:
        CheckpointError, UnknownName, ConfigError, DataError: what it starts from or learns from is not there.
    """
    settings: SftStage = job.settings
    pictures = settings.pictures(job.session)
    set_seed(settings.seed)
    model, processor = load(find_start(settings.start, job.session, settings.revision))
    trainer = scaled(Trainer, settings.scale)(
        model=adapt(model, settings.lora, settings.seed),
        args=TrainingArguments(
            **trainer_arguments(settings, job.folder / "trainer", job.session.settings.workspace.device),
            train_sampling_strategy="sequential",
        ),
        train_dataset=settings.draws(pictures),
        data_collator=ConversationCollator(processor),
        processing_class=processor,
    )
    return fit(trainer, processor, job, lambda trained, folder: finish_model(trained, processor, folder))
