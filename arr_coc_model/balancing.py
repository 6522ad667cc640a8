"""Balancing: opponent processing between three pairs of goods, for each question and picture.

compress <-> particularize: the price of a token, which decides how much deeper than wide detail goes.
exploit <-> explore: how much noise the scores carry while training.
focus <-> diversify: how much a region is worth less for saying what other chosen regions say.
Each tension lies in 0..1, towards the second of the two.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from arr_coc_model.configuration import TENSIONS, WAYS_OF_KNOWING, ArrCocConfig
from arr_coc_model.knowing import Knowledge
from arr_coc_model.regions import RegionTree


@dataclass(frozen=True)
class Balance:
    """What Q questions make of their regions."""

    scores: Tensor  # [Q, M]: one relevance a region, after opponent processing
    tensions: Tensor  # [Q, 3] in 0..1, in the order of TENSIONS
    weights: Tensor  # [Q, 3]: how much each way of knowing counts, sum 1


class Balancing(nn.Module):
    """Weighs the three ways of knowing and sets the three tensions, from question and picture."""

    prior: Tensor

    def __init__(self, config: ArrCocConfig) -> None:
        super().__init__()
        size = config.knowing_size
        self.knowing_weights = tuple(config.knowing_weights)
        self.register_buffer("prior", self.log_prior(), persistent=False)
        self.context = nn.Sequential(nn.LayerNorm(2 * size), nn.Linear(2 * size, size), nn.GELU())
        self.weigh = nn.Linear(size, len(WAYS_OF_KNOWING))
        self.tension = nn.Linear(size, len(TENSIONS))

    def log_prior(self) -> Tensor:
        """[3]: logarithm of the prior weights; one of 0 stays out whatever is learnt."""
        return torch.tensor(self.knowing_weights).log().clamp(min=-1e4)

    def forward(self, known: Knowledge, tree: RegionTree) -> Balance:
        """See `Balance`. Noise is added in training mode only."""
        context = self.context(torch.cat([known.question, known.regions.mean(1)], -1))
        weights = (self.weigh(context) + self.prior.to(context.dtype)).softmax(-1)
        tensions = self.tension(context).sigmoid()
        scores = (known.relevance * weights.unsqueeze(1)).sum(-1)
        scores = scores - tensions[:, 2:] * self.said_elsewhere(scores, known.regions, tree)
        if self.training:
            scores = scores + tensions[:, 1:2] * torch.randn_like(scores)
        return Balance(scores, tensions, weights)

    @staticmethod
    def said_elsewhere(scores: Tensor, regions: Tensor, tree: RegionTree) -> Tensor:
        """scores [Q, M], regions [Q, S, K] -> [Q, M]: likeness to the regions of the same level that will be
        chosen before, expected under the scores.

        Single patches are never split, so only splittable regions are compared with each other; a patch has
        0.
        """
        inner, level = tree.splittable, tree.level[tree.splittable]
        chosen, said = scores[:, inner], nn.functional.normalize(regions, dim=-1)
        peers = (level.unsqueeze(0) == level.unsqueeze(1)) & ~torch.eye(
            len(inner), dtype=torch.bool, device=level.device
        )
        before = (chosen.unsqueeze(1) - chosen.unsqueeze(2)).masked_fill(~peers, -1e4).sigmoid()
        alike = (said @ said.transpose(1, 2)).relu()
        redundancy = (before * alike).sum(-1) / peers.sum(-1).clamp(min=1).to(scores.dtype)
        return torch.zeros_like(scores).index_copy(1, inner, redundancy)
