# mypy: allow-untyped-calls
# Parts of transformers and trl carry no annotations.

"""What trl's trainers have in common here: their arguments, the order of their data, and ARR-COC among their models."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import PeftModel
from torch import nn
from transformers import Trainer

from arr_coc_model import ArrCocForConditionalGeneration
from training.aligning.settings import AlignStage
from training.callbacks.evaluating import bare
from training.conversations import IGNORED
from training.job import Job
from training.loop import trainer_arguments
from training.processes import WORLD


class Quiet(Trainer):
    """A trainer of trl that tells nobody of itself and writes no card: cards are written when a model is exported."""

    def _send_telemetry(self) -> None:
        pass

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None."""


def arguments(job: Job) -> dict[str, Any]:
    """The settings in the words of trl's configs, whose own defaults are others than the Trainer's."""
    given = trainer_arguments(job.settings, job.folder / "trainer", job.session.settings.workspace.device)
    return {**given, "gradient_checkpointing": job.settings.scale.gradient_checkpointing}


def ordered(count: int, length: int, seed: int, column: str) -> Dataset:
    """`length` places among `count` records, each record once an epoch, as a dataset of one column.

    trl takes nothing but its own kind of dataset. What is at a place depends on the seed and the place alone, so a
    training goes on anywhere as if it had never stopped.
    """
    epochs = -(-length // count)
    orders = [np.random.default_rng((seed, epoch)).permutation(count) for epoch in range(epochs)]
    return Dataset.from_dict({column: np.concatenate(orders)[:length]})


def rows_of(settings: AlignStage) -> int:
    """Rows that the whole training takes, over all processes."""
    return settings.steps * settings.batch * settings.accumulate * WORLD


def without_copy(model: nn.Module) -> None:
    """Leaves the model without its adapters as the reference: trl would keep a copy of the adapters for it."""
    if isinstance(model, PeftModel) and "ref" in model.peft_config:
        model.delete_adapter("ref")


def speak_as_expected(model: nn.Module) -> None:
    """Has an ARR-COC do what trl's loops expect of a model, after trl's own changes to it; others do so by themselves.

    The router reads nothing of the answers, which trl's head holds back with the labels, and explores nothing: both
    answers and the reference see the picture alike, as trl takes dropout away for. `generate` gives the prompt before
    the new tokens. The harness asks through `answer`, which stays as it is.
    """
    reader = bare(model)
    if not isinstance(reader, ArrCocForConditionalGeneration):
        return
    plain, answer = reader.forward, reader.generate

    @functools.wraps(type(reader).forward)
    def forward(*args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return plain(*args, **kwargs)
        question = (kwargs["labels"] == IGNORED).long().cumprod(1)
        fused: Any = plain
        return fused(*args, fused_lm_head=True, question_mask=question, **kwargs)

    @functools.wraps(type(reader).generate)
    def generate(*args: Any, **kwargs: Any) -> Any:
        prompt = args[0] if args else kwargs["input_ids"]
        return torch.cat([prompt, answer(*args, **kwargs)], 1)

    reader.forward, reader.generate = forward, generate  # type: ignore[method-assign]
    calm = reader.balancing.eval()
    calm.train = lambda mode=True: calm  # type: ignore[method-assign]
