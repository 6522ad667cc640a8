"""Realizing: from chosen regions to the tokens that the language model sees.

Tokens are in reading order, carry their place, their level of detail and their relevance, and have positions
that depend on the place alone, never on what else was chosen. Q questions, M regions, K tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from arr_coc_model.attending import Allocation
from arr_coc_model.configuration import ArrCocConfig
from arr_coc_model.knowing import Knowledge
from arr_coc_model.regions import LEVELS, RegionTree

REMOVED = -1e4  # added to an attention score it removes the key exactly
FREQUENCIES = 4


@dataclass(frozen=True)
class VisualTokens:
    """Tokens of Q questions, padded on the right to the largest count K."""

    embeddings: Tensor  # [Q, K, d]
    mask: Tensor  # [Q, K] bool
    positions: Tensor  # [Q, K]: raster index of the region's top-left patch
    log_gate: Tensor | None  # [Q, K]: added to the attention keys; None where the choice is hard


class Realizing(nn.Module):
    """Makes tokens of regions."""

    def __init__(self, config: ArrCocConfig, text_size: int) -> None:
        super().__init__()
        assert config.feature_size is not None
        self.norm = nn.LayerNorm(config.feature_size)
        self.projector = nn.Sequential(
            nn.Linear((1 + config.query_slots) * config.feature_size, text_size),
            nn.GELU(),
            nn.Linear(text_size, text_size),
        )
        self.place = nn.Linear(2 + 4 * FREQUENCIES, text_size)
        self.level = nn.Embedding(LEVELS, text_size)
        self.relevance = nn.Linear(3 + 2 * config.query_slots, text_size)

    def forward(
        self,
        features: Tensor,
        picture: Tensor,
        known: Knowledge,
        chosen: Allocation,
        tree: RegionTree,
        *,
        gate_floor: float,
    ) -> VisualTokens:
        """features [B, N, D], picture [Q] -> the tokens of each question.

        Where the choice is soft, every region whose gate is above `gate_floor` is in the sequence (0: all M
        of them).
        """
        gate = chosen.log_gate
        if gate is None:
            there = chosen.leaves
        elif gate_floor > 0:
            there = gate > torch.tensor(gate_floor).log().item()
        else:
            there = torch.ones_like(chosen.leaves)
        count = int(there.sum(-1).max())
        index = (~there).to(torch.uint8).argsort(dim=-1, stable=True)[:, :count]
        mask = there.gather(1, index)
        pooled = self.pool(features[picture], known.evidence, index, tree)
        cue = torch.cat([known.relevance, known.match], -1)
        cue = self.relevance(cue.gather(1, index.unsqueeze(-1).expand(-1, -1, cue.shape[-1])))
        log_gate = None
        if gate is not None:
            log_gate = gate.gather(1, index).clamp(min=REMOVED)
            cue = cue * log_gate.exp().unsqueeze(-1).to(cue.dtype)
        embeddings = self.projector(pooled) + self.where(tree, pooled.dtype)[index] + cue
        return VisualTokens(embeddings, mask, tree.first_patch[index], log_gate)

    def pool(self, features: Tensor, evidence: Tensor, index: Tensor, tree: RegionTree) -> Tensor:
        """features [Q, N, D], evidence [Q, slots, N], regions [Q, K] -> [Q, K, (1 + slots) * D].

        The mean over the region, and for each referent the mean weighted by evidence: what in the region it may be.
        """
        pooling = tree.pooling[index]
        outside = (pooling == 0).unsqueeze(1)
        focus = evidence.unsqueeze(2).masked_fill(outside, REMOVED).softmax(-1)
        weights = torch.cat([pooling.unsqueeze(1).to(focus.dtype), focus], 1)
        count, kinds, tokens = weights.shape[:3]
        pooled: Tensor = self.norm(weights.flatten(1, 2) @ features)
        return pooled.view(count, kinds, tokens, -1).transpose(1, 2).flatten(2)

    def where(self, tree: RegionTree, dtype: torch.dtype) -> Tensor:
        """[M, d]: embedding of each region's centre and level."""
        octaves = 2.0 ** torch.arange(FREQUENCIES, device=tree.centre.device) * torch.pi
        waves = (tree.centre.unsqueeze(-1) * octaves).flatten(1)
        place = torch.cat([2 * tree.centre - 1, waves.sin(), waves.cos()], -1)
        embedded: Tensor = self.place(place.to(dtype)) + self.level(tree.level)
        return embedded
