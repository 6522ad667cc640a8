"""What ARR-COC learns from itself: from its own pass with all tokens, and from what splits turn out to be worth.

Q rows, L tokens, V words, S splits, M regions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from arr_coc_model import Routing
from training.callbacks.evaluating import resting
from training.conversations import IGNORED

FLAT = 0.1
"""Gains that differ by less, as a root mean square, are hardly told apart; their gradients would be the largest."""


def answers_of(logits: Tensor, labels: Tensor) -> Tensor:
    """logits [Q, L, V] and labels [Q, L] -> [A, V]: the logits from which each of the A answers' tokens is told."""
    return logits[:, :-1][labels[:, 1:] != IGNORED]


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² KL(teacher || student) of [A, V] logits at temperature T, the mean over answers' tokens.

    Hinton, Vinyals and Dean 2015 (arXiv:1503.02531), section 2.
    """
    told, known = (logits.float().div(temperature).log_softmax(-1) for logits in (student, teacher))
    return functional.kl_div(told, known, log_target=True, reduction="batchmean") * temperature**2


@torch.no_grad()
def full_pass(model: Any, batch: Mapping[str, Tensor], full_tokens: int) -> Tensor:
    """Logits [Q, L, V] of the same model with all visual tokens, in evaluation mode."""
    with resting(model):
        logits: Tensor = model(**batch, token_budget=full_tokens).logits
    return logits


def answer_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """logits [Q, L, V] and labels [Q, L] -> [Q]: each row's mean negative log likelihood of its answer, in nats."""
    told, wanted = logits[:, :-1].float(), labels[:, 1:]
    losses = functional.cross_entropy(told.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none")
    return losses.sum(1) / (wanted != IGNORED).sum(1).clamp(min=1)


def two_splits(leaves: Tensor, splittable: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Leaves [Q, M] bool, splittable [S] -> rows [R] that could split two of their leaves, and two splits [R, 2]."""
    there = leaves[:, splittable]
    order = torch.from_numpy(random.random(there.shape)).to(there.device).masked_fill(~there, -1).topk(2).indices
    rows = (there.sum(1) > 1).nonzero().squeeze(1)
    return rows, order[rows]


def gain_loss(
    model: Any, tree: Any, batch: Mapping[str, Tensor], routing: Routing, random: np.random.Generator
) -> Tensor:
    """How little the predicted gains tell of which of two splits helps the answer more; 0 at the best, 2 at the worst.

    Two leaves of each row are split, each alone, and the drops of the answer's loss are measured. What is compared are
    the differences of the two gains and of the two drops, d and m: 1 - (d · m) / (|d| |m|) over the rows, which is what
    is left by least squares of normed m on d. A gain is told up to a factor, since the gates' temperature sets its
    scale, and up to what all regions of a row share, which the price takes away. |d| is at least `FLAT` for each row.

    Args:
        model: takes a batch as the Trainer's does.
        tree: the model's `RegionTree`.
        batch: what the step's loss was computed of.
        routing: of that pass, its gains with their gradient.
    """
    assert routing.gains is not None
    assert routing.leaves is not None
    rows, two = two_splits(routing.leaves, tree.splittable, random)
    if not len(rows):
        return routing.gains.sum() * 0
    drops = _drops(model, batch, rows, routing.leaves[rows].to(tree.ancestors.dtype) @ tree.ancestors > 0, two)
    gains = routing.gains[rows].gather(1, two).float()
    apart, measured = gains[:, 0] - gains[:, 1], functional.normalize(drops[:, 0] - drops[:, 1], dim=0)
    told: Tensor = apart / apart.norm().clamp(min=FLAT * len(rows) ** 0.5)
    return 1 - (told * measured).sum()


@torch.no_grad()
def _drops(model: Any, batch: Mapping[str, Tensor], rows: Tensor, taken: Tensor, two: Tensor) -> Tensor:
    """[R, 2]: how much less the answers' loss is with each of two splits besides those taken [R, S]."""
    tried = [taken, *(taken.scatter(1, split.unsqueeze(1), True) for split in two.T)]
    asked = {name: batch[name][rows].repeat(3, 1) for name in ("input_ids", "attention_mask", "labels")}
    splits = torch.zeros(len(tried) * len(rows), taken.shape[1], dtype=torch.bool, device=taken.device)
    torch.cat(tried, out=splits)
    with resting(model):
        output = model(
            **asked, pixel_values=batch["pixel_values"], image_index=batch["image_index"][rows].repeat(3), splits=splits
        )
    before, *after = answer_losses(output.logits, asked["labels"]).view(3, -1)
    return torch.stack([before - one for one in after], 1)
