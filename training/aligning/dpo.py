# mypy: allow-untyped-calls
# Parts of transformers and trl carry no annotations.

"""Direct preference optimization (Rafailov et al. 2023) through trl.

B preferences of a batch make 2B rows: the chosen sides, then the rejected ones, in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from training.aligning.preferences import Preference
from training.aligning.settings import AlignStage
from training.aligning.trainer import Quiet, arguments, ordered, rows_of, speak_as_expected, without_copy
from training.conversations import IGNORED, ConversationCollator, check_lessons
from training.job import Job
from training.lessons import Draw, Lesson, Picture
from training.modelling.models import adapt, ends, find_start, load
from training.scale import scaled

COLUMN = "image"
"""The dataset's column: numbers of preferences. Its name has trl leave everything to the collator."""


class PreferenceTrainer(Quiet, DPOTrainer):
    """trl's trainer, on this package's own batches."""


class PreferenceCollator:
    """Numbers of preferences to batches: each side is the answer to the prompt, as fine-tuning has it."""

    def __init__(self, conversations: ConversationCollator, preferences: Sequence[Preference]) -> None:
        self.conversations = conversations
        self.preferences = preferences

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> dict[str, Tensor]:
        """input_ids, attention_mask and completion_mask [2B, L], which is 1 on the answers, and the pictures."""
        chosen = [self.preferences[row[COLUMN]] for row in rows]
        sides = [*(_draw(one, one.chosen) for one in chosen), *(_draw(one, one.rejected) for one in chosen)]
        batch = self.conversations(sides)
        labels = batch.pop("labels")
        return {**batch, "completion_mask": (labels != IGNORED).long()}


def _draw(preference: Preference, answer: str) -> Draw:
    return Draw(_picture(preference), (preference.prompt,), (answer,), (True,))


def _picture(preference: Preference) -> Picture:
    lesson = Lesson(preference.where, preference.prompt, (preference.chosen, preference.rejected))
    return Picture(preference.image, (lesson,))


def make_trainer(job: Job, preferences: Sequence[Preference]) -> tuple[PreferenceTrainer, Any]:
    """Model, reference, processor and data, put together; and the processor.

    Raises:
        CheckpointError: what it starts from is not there.
        DataError: a text holds the model's placeholder for a picture.
    """
    settings: AlignStage = job.settings
    start = find_start(settings.start, job.session, settings.revision)
    model, processor = load(start)
    check_lessons(map(_picture, preferences), processor)
    reference = None
    if settings.lora is None or settings.reference_free is False:
        reference = load(start)[0].eval().requires_grad_(False)
    conversations = ConversationCollator(processor, ends(model, processor.tokenizer))
    weighted = settings.sft_weight > 0
    taught: Any = adapt(model, settings.lora, settings.seed)
    trainer = scaled(PreferenceTrainer, settings.scale)(
        model=taught,
        ref_model=reference,
        args=DPOConfig(
            **arguments(job),
            train_sampling_strategy="sequential",
            beta=settings.strength,
            loss_type=[settings.loss_type, "sft"] if weighted else [settings.loss_type],
            loss_weights=[1.0, settings.sft_weight] if weighted else None,
            max_length=None,
        ),
        train_dataset=ordered(len(preferences), rows_of(settings), settings.seed, COLUMN),
        data_collator=PreferenceCollator(conversations, preferences),
        processing_class=processor,
    )
    for part in (trainer.model, trainer.ref_model):
        if part is not None:
            without_copy(part)
            speak_as_expected(part)
    return trainer, processor
