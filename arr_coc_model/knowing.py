"""Knowing: how relevant each region is, in three ways.

Propositional is what is there: the detail that a coarse token would lose. Perspectival is what stands out
    from its
surroundings. Participatory is what it is to the question. B pictures, Q questions, N patches, M regions (S
of them splittable), L words.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from arr_coc_model.configuration import ArrCocConfig
from arr_coc_model.regions import RegionTree

FAINT = 0.02


@dataclass(frozen=True)
class Knowledge:
    """What the router knows of Q questions, each about its picture."""

    relevance: Tensor  # [Q, M, 3], mean 0 and standard deviation 1 over the regions of the picture
    match: Tensor  # [Q, M, 2 * slots] in 0..1: each referent's best and mean match in the region, not standardised
    regions: Tensor  # [Q, S, K]: what is in each region that can be split
    evidence: Tensor  # [Q, slots, N]: that a patch is the referent, at most 0
    question: Tensor  # [Q, K]


def certainty(likeness: Tensor) -> Tensor:
    """Logarithm of the probability that a word is true of a patch, never below that of FAINT.

    Words that are not there say so once, however sure they are, so no word outvotes all others.
    """
    return (FAINT + (1 - FAINT) * likeness.sigmoid()).log()


def standardised(scores: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the last axis: within one picture, never over the batch."""
    centred = scores - scores.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()


class Question(nn.Module):
    """Reads a question: what each word means, and which words each referent is made of.

    The referents of "the cup left of the box" are kept apart: each slot chooses words of its own, by their context.
    """

    def __init__(self, config: ArrCocConfig, text_size: int) -> None:
        super().__init__()
        size = config.knowing_size
        self.word = nn.Linear(text_size, size)
        self.norm = nn.LayerNorm(size)
        self.context = nn.Conv1d(size, size, kernel_size=5, padding=2)
        self.choice = nn.Linear(size, config.query_slots)
        self.meaning = nn.Linear(size, size)

    def forward(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """words [Q, L, d], mask [Q, L] -> question [Q, K], meanings [Q, L, K], choice [Q, slots, L] in 0..1.

        Masked words are chosen by none.
        """
        kept = mask.unsqueeze(-1).to(words.dtype)
        alone = self.norm(self.word(words)) * kept
        hidden = alone + nn.functional.gelu(self.context(alone.transpose(1, 2)).transpose(1, 2))
        choice = self.choice(hidden).sigmoid() * kept
        question = (hidden * kept).sum(1) / kept.sum(1).clamp(min=1)
        return question, self.meaning(alone), choice.transpose(1, 2)


class Knowing(nn.Module):
    """The three heads."""

    def __init__(self, config: ArrCocConfig, text_size: int) -> None:
        super().__init__()
        size = config.knowing_size
        assert config.feature_size is not None
        self.enter = nn.Sequential(
            nn.LayerNorm(config.feature_size), nn.Linear(config.feature_size, size), nn.LayerNorm(size)
        )
        self.question = Question(config, text_size)
        self.likeness = nn.Linear(size, size)
        self.propositional = nn.Sequential(nn.Linear(size + 1, size), nn.GELU(), nn.Linear(size, 1))
        self.perspectival = nn.Sequential(nn.Linear(size + 1, size), nn.GELU(), nn.Linear(size, 1))
        self.participatory = nn.Linear(2 * config.query_slots, 1)

    def forward(self, features: Tensor, words: Tensor, mask: Tensor, picture: Tensor, tree: RegionTree) -> Knowledge:
        """What there is to know of every region.

        features [B, N, D], words [Q, L, d] with their mask [Q, L] (before the answer only), picture [Q] the
        row of `features` that each question is about.
        """
        patches = self.enter(features)
        regions = tree.mean(patches)
        question, meanings, choice = self.question(words, mask)
        evidence = choice @ certainty(self.compare(meanings, patches[picture]))
        match = self.matches(evidence, choice, tree)
        ways = (
            self.detail(patches, regions, tree)[picture],
            self.contrast(patches, regions, tree)[picture],
            self.participatory(match).squeeze(-1),
        )
        relevance = torch.stack([standardised(way) for way in ways], -1)
        return Knowledge(relevance, match, regions[:, tree.splittable][picture], evidence, question)

    def detail(self, patches: Tensor, regions: Tensor, tree: RegionTree) -> Tensor:
        """Propositional scores [B, M]: ||h - up(pool(h))||^2, the spread of features within the region.

        A single patch has no spread: what counts there is what its parent's token loses of it.
        """
        spread = tree.mean(patches.square()) - regions.square()
        lost = (regions - regions[:, tree.parent]).square()
        energy = torch.where(tree.own_split.eq(tree.splits).unsqueeze(-1), lost, spread).mean(-1, keepdim=True)
        scores: Tensor = self.propositional(torch.cat([energy.clamp(min=0).log1p(), regions], -1)).squeeze(-1)
        return scores

    def contrast(self, patches: Tensor, regions: Tensor, tree: RegionTree) -> Tensor:
        """Perspectival scores [B, M]: centre against surround."""
        difference = regions - tree.around.to(patches.dtype) @ patches
        energy = difference.square().mean(-1, keepdim=True).log1p()
        scores: Tensor = self.perspectival(torch.cat([energy, difference], -1)).squeeze(-1)
        return scores

    def compare(self, meanings: Tensor, patches: Tensor) -> Tensor:
        """meanings [B, L, K], patches [B, N, K] -> likeness [B, L, N] of words and patches, not bounded."""
        keys = self.likeness(patches)
        likeness: Tensor = meanings @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5
        return likeness

    def find(self, features: Tensor, words: Tensor) -> Tensor:
        """Likeness [B, V, N] of patches, from features [B, N, D], and single words [V, d]."""
        every = torch.ones(1, len(words), dtype=torch.bool, device=words.device)
        _, meanings, _ = self.question(words.unsqueeze(0), every)
        return self.compare(meanings, self.enter(features))

    @staticmethod
    def matches(evidence: Tensor, choice: Tensor, tree: RegionTree) -> Tensor:
        """evidence [Q, slots, N], choice [Q, slots, L] -> [Q, M, 2 * slots]: best and mean match over each region.

        A match is the geometric mean of the chosen words' probabilities. Its mean keeps the mass that a maximum
        loses: two objects that match are more than one.
        """
        match = (evidence / choice.sum(-1, keepdim=True).clamp(min=1)).exp()
        mean = match @ tree.pooling.to(match.dtype).T
        return torch.cat([tree.maximum(match), mean], 1).transpose(1, 2)
