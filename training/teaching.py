"""What the stages that teach a model to answer have in common: what they check, and the Trainer that they drive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from transformers import Trainer, TrainingArguments

from training.conversations import ConversationCollator, check_lessons
from training.job import Job
from training.lessons import LearningSettings, Picture
from training.loop import trainer_arguments
from training.modelling.models import ends
from training.modelling.parts import LANGUAGE, Freezing, Policy
from training.scale import scaled

Kind = TypeVar("Kind", bound=Trainer)


def check_drop(settings: LearningSettings, policy: Policy, usual: Callable[[str], bool]) -> None:
    """A prompt without its picture teaches the language model alone.

    Raises:
        ValueError: some are to go without, but that is not trained from the beginning.
    """
    if settings.image_drop and policy.get(LANGUAGE, usual(LANGUAGE)) is not True:
        raise ValueError("image_drop: a prompt without its picture teaches nothing while language is not trained")


def make_trainer(
    kind: type[Kind],
    job: Job,
    model: Any,
    processor: Any,
    pictures: Sequence[Picture],
    freezing: Freezing,
    collator: type[ConversationCollator] = ConversationCollator,
) -> Kind:
    """The Trainer of a model that learns the answers to prompts, of which some parts are trained.

    Args:
        kind: of Trainer.
        job: its settings are those of the stage.
        model: as it is trained.
        processor: the model's.
        pictures: what is learnt from.
        freezing: what of the model is trained, and when.
        collator: makes batches of draws.

    Raises:
        DataError: a prompt or an answer cannot be learnt.
        ConfigError: an answer of this model has no end.
    """
    settings: LearningSettings = job.settings
    check_lessons(pictures, processor)
    trainer = scaled(kind, settings.scale)(
        model=model,
        args=TrainingArguments(
            **trainer_arguments(settings, job.folder / "trainer", job.session.settings.workspace.device),
            train_sampling_strategy="sequential",  # what is drawn at which place is the draws' own to say
        ),
        train_dataset=settings.draws(pictures),
        data_collator=collator(processor, ends(model, processor.tokenizer)),
        processing_class=processor,
    )
    trainer.add_callback(freezing)
    return trainer
