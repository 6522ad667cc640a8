# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""The Hugging Face Trainer with ARR-COC's steps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer

from arr_coc_model import ArrCocForConditionalGeneration, ArrCocProcessor
from training.arr_coc.alignment import Vocabulary, alignment_loss
from training.arr_coc.distilling import answers_of, distillation_loss, full_pass, gain_loss
from training.arr_coc.steps import Step, learning_rate, plan_step

if TYPE_CHECKING:
    from training.stages.arr_coc import ArrCocStage


OF_PICTURES = frozenset(("pixel_values", "target", "described"))
"""What of a batch has a row a picture; all else has one a prompt."""


class ArrCocTrainer(Trainer):
    """The Hugging Face Trainer with steps as `plan_step` has them.

    Attributes:
        taught: the model, without what wraps it.
    """

    def __init__(
        self,
        settings: ArrCocStage,
        vocabulary: Vocabulary,
        model: ArrCocForConditionalGeneration,
        processor: ArrCocProcessor,
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, processing_class=processor, **kwargs)
        self.taught = model
        self.processor = processor
        self.settings = settings
        self.vocabulary = vocabulary
        self.model_accepts_loss_kwargs = True  # the answers of a step count alike, on whatever device they are
        self._since_logged: list[tuple[Step, dict[str, Tensor]]] = []

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LambdaLR:
        """The schedule of `learning_rate`."""
        if self.lr_scheduler is None:
            assert self.optimizer is not None
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, partial(learning_rate, self.settings))
        return self.lr_scheduler

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Tensor | int | None]:
        """The batches of a step, cut to the pictures that it takes, and how many tokens of answers all devices have."""
        taken = plan_step(self.settings, self.state.global_step).pictures
        cut = (self._first(taken, batch) for batch in epoch_iterator)
        found: tuple[list[dict[str, Tensor]], Tensor | int | None] = super().get_batch_samples(cut, num_batches, device)
        return found

    def _first(self, pictures: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = pictures * self.settings.prompts
        return {name: value[: pictures if name in OF_PICTURES else rows] for name, value in batch.items()}

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The answers' loss, and by their weights those of alignment, distillation and gains."""
        settings, step = self.settings, plan_step(self.settings, self.state.global_step)
        target, described = (inputs.pop(name) for name in ("target", "described"))
        batch = inputs
        words = None if settings.alignment is None else self.vocabulary.ids.to(target.device)
        losses: dict[str, Tensor] = {}
        # What is a mean over a batch is one of so many that make a step.
        part = 1.0 if num_items_in_batch is None else 1 / self.args.gradient_accumulation_steps
        if step.budget is None:
            output = model(pixel_values=batch["pixel_values"], find_words=words)
            loss = target.new_zeros(())
        else:
            output = model(
                **batch, token_budget=step.budget, gating=step.gating, find_words=words, learn_gains=step.measured,
                num_items_in_batch=num_items_in_batch,
            )  # fmt: skip
            loss = losses["answer"] = output.loss
            if num_items_in_batch is not None:  # devices are averaged, the batches of a step summed
                loss = loss * self.args.world_size
                losses["answer"] = loss * self.args.gradient_accumulation_steps
        if settings.alignment is not None:
            excluding = self.vocabulary.excluding.to(target.device)
            losses["alignment"] = alignment_loss(output.likeness, target, excluding, described)
            loss = loss + part * settings.alignment.weight * losses["alignment"]
        if settings.distill is not None and step.distilled:
            # After the model's own pass: autocast would keep weights that it cast without a gradient.
            teacher = full_pass(model, batch, self.taught.config.full_tokens)
            told, known = (answers_of(logits, batch["labels"]) for logits in (output.logits, teacher))
            losses["distill"] = distillation_loss(told, known, settings.distill.temperature)
            loss = loss + part * settings.distill.weight * losses["distill"]
        if settings.gains is not None and step.measured and output.routing is not None:
            random = np.random.default_rng((settings.seed, self.state.global_step, 1 + self.args.process_index))
            # Not every device may have something to measure, and what wraps the model wants to hear from all of them.
            losses["gains"] = gain_loss(self.taught, self.taught.tree, batch, output.routing, random)
            loss = loss + part * settings.gains.weight * losses["gains"]
        if model.training:
            self._since_logged.append((step, {name: value.detach() for name, value in losses.items()}))
        return (loss, output) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With the loss, its parts and what the steps since it was last logged were like."""
        if "loss" in logs and self._since_logged:
            logs = {**logs, **course(self._since_logged)}
            self._since_logged = []
        super().log(logs, start_time)


def course(steps: list[tuple[Step, dict[str, Tensor]]]) -> dict[str, float]:
    """Curves of steps and their losses.

    token_budget: the mean budget. gated_share: the share of steps whose choice was made by gates; temperature: theirs
    at the last; hard_share: the share of them that went straight through. NAME_loss: the mean where there was one.
    """
    values: dict[str, float] = {}
    budgets = [step.budget for step, _ in steps if step.budget is not None]
    gates = [step.gating for step, _ in steps if step.gating is not None]
    if budgets:
        values["token_budget"] = sum(budgets) / len(budgets)
        values["gated_share"] = len(gates) / len(budgets)
    if gates:
        values["temperature"] = gates[-1].temperature
        values["hard_share"] = sum(gate.hard for gate in gates) / len(gates)
    for name in dict.fromkeys(name for _, losses in steps for name in losses):
        values[f"{name}_loss"] = float(torch.stack([losses[name] for _, losses in steps if name in losses]).mean())
    return values
