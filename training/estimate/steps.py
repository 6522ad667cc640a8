# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""The memory of optimizer steps and of answers, by doing them: on tensors without values, or for real."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import Subset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.cache_utils import DynamicLayer
from transformers.trainer_callback import DefaultFlowCallback, PrinterCallback, ProgressCallback

from training.aligning.effect import Before
from training.estimate.imagining import Imagining
from training.estimate.ledger import Ledger, Part
from training.estimate.quiet import quiet
from training.lessons import Draws, text_length
from training.scale import Scaled

MICRO_BATCHES = 2
"""Of one step: the second finds the gradients of the first, and a third would find no more."""
LOOKED_AT = 512
"""Samples among which the longest are looked for."""
MOST_STEPS = 8
"""That are ever done of a shortened training."""


class Short(TrainerCallback):
    """Ends a training after a few steps, each of which is done as if it were a step from the middle.

    Args:
        steps: which ones; the first is done twice, since only then there are the optimizer's states.
        ledger: told what is being made.
    """

    def __init__(self, steps: Sequence[int], ledger: Ledger | None = None) -> None:
        self.steps = [steps[0], *steps]
        self.ledger = ledger
        self.done = 0
        self._making = contextlib.ExitStack()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Pretends; what is counted begins with the second step."""
        state.global_step = self.steps[self.done]
        if self.done == 1 and self.ledger is not None:
            self.ledger.begin()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """What is made now is the optimizer's."""
        if self.ledger is not None:
            self._making.enter_context(self.ledger.making("optimizer"))

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Until here."""
        self._making.close()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stops after the last."""
        self.done += 1
        state.global_step = self.done
        control.should_training_stop = self.done == len(self.steps)


def shorten(trainer: Trainer, steps: Sequence[int], ledger: Ledger | None = None) -> None:
    """Has `trainer.train()` do these steps and nothing else: no saves, no logs, no evaluation."""
    for kind in (Before, DefaultFlowCallback, PrinterCallback, ProgressCallback):
        trainer.remove_callback(kind)
    trainer.callback_handler.callbacks.insert(0, Short(steps, ledger))
    trainer.args.gradient_accumulation_steps = min(trainer.args.gradient_accumulation_steps, MICRO_BATCHES)
    trainer.accelerator.gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    trainer.args.dataloader_num_workers = 0
    if isinstance(trainer, Scaled):
        trainer.scale = trainer.scale.model_copy(update={"compile": False})


def trace_steps(trainer: Trainer, steps: Sequence[int], imagining: Imagining) -> Counter[Part]:
    """Bytes by part at the moment of the steps at which there are most.

    Args:
        trainer: made while `imagining.building()`.
        steps: those that may need most, such as the one with the longest sequences.
    """
    ledger = Ledger()
    for model in models_of(trainer):
        ledger.hold("weights", [*model.parameters(), *model.buffers()])
    assert trainer.model is not None
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda weight: ledger.hold("gradients", weight.grad))
    waiting = trainer.args.gradient_accumulation_steps
    shorten(trainer, steps, ledger)
    collate = trainer.data_collator

    def collated(rows: Any) -> Any:
        batch = collate(rows)
        ledger.hold("data", batch)
        return batch

    trainer.data_collator = collated
    with imagining.building(), imagining, ledger, caching(ledger), quiet():
        trainer.train()
    data = ledger.peak["data"] * waiting // trainer.args.gradient_accumulation_steps
    return Counter({**ledger.peak, "data": data})


@contextlib.contextmanager
def caching(ledger: Ledger) -> Iterator[None]:
    """Inside, keys and values that are kept from token to token are counted as such; a step's are activations."""
    update = DynamicLayer.update

    def counted(layer: Any, *args: Any, **kwargs: Any) -> Any:
        with ledger.making("activations" if torch.is_grad_enabled() else "kv_cache"):
            return update(layer, *args, **kwargs)

    DynamicLayer.update = counted  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        DynamicLayer.update = update  # type: ignore[method-assign]


def widest(trainer: Trainer) -> tuple[int, int]:
    """Has the trainer learn its longest samples, as far as can be seen; their number in a batch, and tokens of one.

    Of the first samples, those with the longest texts take the place of all; of others than `Draws` nothing is known
    before they are made, and they stay in their order.
    """
    dataset: Any = trainer.train_dataset
    rows = trainer.args.per_device_train_batch_size
    if isinstance(dataset, Draws):
        places = sorted(range(min(len(dataset), LOOKED_AT)), key=lambda place: -text_length(dataset[place]))
        needed = rows * trainer.args.gradient_accumulation_steps * MOST_STEPS
        chosen = (places[:rows] * (needed // min(rows, len(places)) + 1))[:needed]
        dataset = trainer.train_dataset = Subset(dataset, chosen)
    batch = trainer.data_collator([dataset[place] for place in range(min(rows, len(dataset)))])
    ids = next((batch[name] for name in ("input_ids", "prompt_ids") if name in batch), None)
    return (0, 0) if ids is None else (int(ids.shape[0]), int(ids.shape[1]))


def models_of(trainer: Trainer) -> list[nn.Module]:
    """The model that is trained and those that it is compared with."""
    found = {id(value): value for value in vars(trainer).values() if isinstance(value, nn.Module)}
    for value in vars(trainer).values():
        if isinstance(value, list | tuple):
            found |= {id(item): item for item in value if isinstance(item, nn.Module)}
    return list(found.values())
