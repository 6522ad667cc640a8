"""Attending: from balanced relevance to a level of detail everywhere, within a budget.

Every split of a region has a predicted gain that is less than its parent's, so taking splits by descending
gain while the budget lasts is the best choice under the predicted gains wherever splits cost the same. Q
questions, M regions, S of them splittable.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from arr_coc_model.balancing import Balance
from arr_coc_model.configuration import ArrCocConfig
from arr_coc_model.knowing import Knowledge
from arr_coc_model.regions import LEVELS, RegionTree

SURE = 30.0  # a logit whose sigmoid is 1 in float32
BISECTIONS = 30


@dataclass(frozen=True)
class Allocation:
    """Where the tokens go."""

    gains: Tensor  # [Q, S], a child's less than its parent's
    splits: Tensor  # [Q, S] bool: the hard choice
    leaves: Tensor  # [Q, M] bool: the regions that become tokens, each place covered once
    log_gate: Tensor | None  # [Q, M]: the soft choice while the router learns; None where the choice is hard


class Attending(nn.Module):
    """Predicts the gain of each split."""

    def __init__(self, config: ArrCocConfig) -> None:
        super().__init__()
        size = config.knowing_size
        seen = 1 + 3 + 2 * config.query_slots + (LEVELS - 1) + size
        self.gain = nn.Sequential(nn.Linear(seen, size), nn.GELU(), nn.Linear(size, 1))

    def forward(self, known: Knowledge, balance: Balance, tree: RegionTree) -> Tensor:
        """Gains [Q, S]. A root's is free; each deeper one is less than its parent's by a positive step. In
        float32.

        The step is the price of a token, which compress <-> particularize sets: at a high price detail
        spreads out before it goes deep.
        """
        inner = tree.splittable
        level = nn.functional.one_hot(tree.level[inner], LEVELS - 1).to(balance.scores.dtype)
        seen = [
            balance.scores[:, inner].unsqueeze(-1),
            known.relevance[:, inner],
            known.match[:, inner],
            level.expand(len(balance.scores), -1, -1),
            known.regions,
        ]
        worth = balance.scores[:, inner] + self.gain(torch.cat(seen, -1)).squeeze(-1)
        price = 2 * (1 - balance.tensions[:, :1])
        root = tree.parent_split[inner] == tree.splits
        step = torch.where(root, worth, -price * nn.functional.softplus(-worth) - 1e-4)
        with torch.autocast(step.device.type, enabled=False):
            return step.float() @ tree.path.float().T


@dataclass(frozen=True)
class Bounds:
    """Least and most tokens of a block."""

    least: int
    most: int


def block_counts(order: Tensor, tree: RegionTree) -> tuple[Tensor, Tensor]:
    """Tokens of each split's block before and after it, if splits are taken in `order` [Q, S]: two [Q, S] by rank."""
    cost = tree.cost[order]
    blocks = nn.functional.one_hot(tree.block[order], len(tree.block_roots))
    after = (blocks * cost.unsqueeze(-1)).cumsum(1).gather(2, tree.block[order].unsqueeze(-1)).squeeze(-1)
    after = after + tree.block_roots[tree.block[order]]
    return after - cost, after


def allocate(gains: Tensor, budget: Tensor, tree: RegionTree, bounds: Bounds) -> tuple[Tensor, Tensor, Tensor]:
    """Splits by descending gain while they fit: splits, and those that are `forced` and `allowed`, all [Q,
    S] bool.

    gains [Q, S] must not increase from parent to child; budget [Q]. Splits that a block needs to reach its
    least are forced and go first; those that would take it over its most are not allowed. The first split
    that does not fit ends the choice, so a larger budget always refines a smaller one's.
    """
    order = gains.argsort(dim=-1, descending=True, stable=True)
    before, after = block_counts(order, tree)
    forced, allowed = before < bounds.least, after <= bounds.most
    forced &= allowed
    rank = (forced.long() + allowed.long()).argsort(dim=-1, descending=True, stable=True)
    order, forced, allowed = order.gather(1, rank), forced.gather(1, rank), allowed.gather(1, rank)
    taken = allowed & (tree.cost[order].cumsum(1) <= (budget - tree.roots).unsqueeze(1))
    back = order.argsort(-1)
    return taken.gather(1, back), forced.gather(1, back), allowed.gather(1, back)


def leaves_of(splits: Tensor, tree: RegionTree) -> Tensor:
    """Splits [Q, S] -> leaves [Q, M]: regions whose parent is split (or that are roots) and that are not."""
    there = nn.functional.pad(splits, (0, 1), value=True)
    split = nn.functional.pad(splits, (0, 1), value=False)
    return there[:, tree.parent_split] & ~split[:, tree.own_split]


def log_gates(logits: Tensor, tree: RegionTree) -> Tensor:
    """Split logits [Q, S] -> log gates [Q, M]: log of (all ancestors split) x (itself not split)."""
    open_above = nn.functional.logsigmoid(logits) @ tree.ancestors.to(logits.dtype).T
    return open_above + nn.functional.pad(nn.functional.logsigmoid(-logits), (0, 1))[:, tree.own_split]


def expected_tokens(logits: Tensor, tree: RegionTree) -> Tensor:
    """[Q]: roots + the sum over splits of their cost x the probability that they and all above them happen."""
    reach = (nn.functional.logsigmoid(logits) @ tree.path.to(logits.dtype).T).exp()
    return tree.roots + (reach * tree.cost.to(logits.dtype)).sum(-1)


def priced(gains: Tensor, budget: Tensor, temperature: float, tree: RegionTree, fixed: Tensor) -> Tensor:
    """Split logits (gain - price) / temperature [Q, S] at the price where the expected tokens are the budget.

    The price comes from bisection. One Newton step from there, whose derivative is held constant, gives it
    its true
    gradient: more gain for one region is less for the others. `fixed` [Q, S] holds a logit where the bounds
        decide and
    NaN elsewhere.
    """

    def logits_at(price: Tensor) -> Tensor:
        return torch.where(fixed.isnan(), (gains - price.unsqueeze(-1)) / temperature, fixed)

    with torch.no_grad():
        low = gains.amin(-1) - SURE * temperature
        high = gains.amax(-1) + SURE * temperature
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            over = expected_tokens(logits_at(middle), tree) > budget
            low, high = torch.where(over, middle, low), torch.where(over, high, middle)
        nudge = 1e-2 * temperature
        slope = expected_tokens(logits_at(high + nudge), tree) - expected_tokens(logits_at(high - nudge), tree)
        slope = (slope / (2 * nudge)).clamp(max=-1e-3)
    excess = expected_tokens(logits_at(high), tree)
    return logits_at(high - (excess - excess.detach()) / slope)


def attend(
    gains: Tensor, budget: Tensor, tree: RegionTree, bounds: Bounds, *, temperature: float | None, hard: bool
) -> Allocation:
    """Allocates, and while the router learns adds the soft choice at a temperature.

    With `hard` the forward value is the hard choice and the gradient that of the soft one (straight-through,
    on the logarithms).
    """
    splits, forced, allowed = allocate(gains.detach(), budget, tree, bounds)
    leaves = leaves_of(splits, tree)
    if temperature is None:
        return Allocation(gains, splits, leaves, None)
    fixed = torch.full_like(gains, float("nan"), dtype=torch.float32)
    fixed = fixed.masked_fill(forced, SURE).masked_fill(~allowed, -SURE)
    # The price is found by small differences of expected tokens, which bfloat16 would round to none.
    with torch.autocast(gains.device.type, enabled=False):
        soft = log_gates(priced(gains, budget, temperature, tree, fixed), tree)
    if hard:
        soft = torch.zeros_like(soft).masked_fill(~leaves, -1e4) + soft - soft.detach()
    return Allocation(gains, splits, leaves, soft)
