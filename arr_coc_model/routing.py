"""Routing: where the tokens of a picture went and why, as tensors and as maps over the patch grid."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput

from arr_coc_model.attending import Allocation
from arr_coc_model.balancing import Balance
from arr_coc_model.knowing import Knowledge
from arr_coc_model.regions import RegionTree


@dataclass
class Routing(ModelOutput):
    """Where the tokens of each row went, and why. A row without a picture is 0 everywhere.

    Q rows, M regions, S of them splittable, rows x cols patches.
    """

    relevance: Tensor | None = None  # [Q, M, 3], standardised within the picture
    scores: Tensor | None = None  # [Q, M]: relevance after balancing
    tensions: Tensor | None = None  # [Q, 3] in 0..1, in the order of TENSIONS
    weights: Tensor | None = None  # [Q, 3]: what each way of knowing counted
    gains: Tensor | None = None  # [Q, S]
    leaves: Tensor | None = None  # [Q, M] bool
    visual_tokens: Tensor | None = None  # [Q]
    full_visual_tokens: Tensor | None = None  # [Q]: without compression
    relevance_map: Tensor | None = None  # [Q, 3, rows, cols]: relevance of the single patches
    level_map: Tensor | None = None  # [Q, rows, cols]: level of detail, 0 a block of 8x8 patches, 3 one patch
    budget_map: Tensor | None = None  # [Q, rows, cols]: tokens a patch; sums to visual_tokens

    def among(self, rows: Tensor, total: int) -> "Routing":
        """The same as `rows` among `total` rows, 0 elsewhere."""
        return Routing(
            **{
                name: value.new_zeros(total, *value.shape[1:]).index_copy(0, rows, value)
                for name, value in self.items()
            }
        )


@torch.no_grad()
def describe(known: Knowledge, balance: Balance, chosen: Allocation, tree: RegionTree) -> Routing:
    """What the components decided; of their gradients the gains' alone."""
    count, (rows, cols) = len(chosen.leaves), tree.regions.grid
    # Exactly one leaf covers a patch, so the sum over leaves of their index is its index.
    numbered = chosen.leaves * torch.arange(tree.size, device=chosen.leaves.device)
    leaf = (numbered.double() @ (tree.pooling > 0).double()).long()
    single = tree.own_split == tree.splits
    return Routing(
        relevance=known.relevance.detach(),
        scores=balance.scores.detach(),
        tensions=balance.tensions.detach(),
        weights=balance.weights.detach(),
        gains=chosen.gains,
        leaves=chosen.leaves,
        visual_tokens=chosen.leaves.sum(1),
        full_visual_tokens=torch.full((count,), rows * cols, device=chosen.leaves.device),
        relevance_map=known.relevance.detach()[:, single].transpose(1, 2).reshape(count, 3, rows, cols),
        level_map=tree.level[leaf].view(count, rows, cols),
        budget_map=tree.pooling.amax(1)[leaf].view(count, rows, cols),
    )
