"""The region tree and the allocation, against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from arr_coc_model.attending import Bounds, allocate, expected_tokens, leaves_of, log_gates, priced
from arr_coc_model.regions import Regions, RegionTree

UNBOUNDED = Bounds(least=1, most=10**6)
GRIDS = [(16, 16), (24, 24), (27, 27), (12, 12), (3, 5), (1, 1), (9, 17)]
TREES = {grid: RegionTree(Regions(*grid)) for grid in GRIDS}


def some_gains(tree: RegionTree, seed: int, rows: int = 2) -> torch.Tensor:
    """Random gains that never increase with depth."""
    steps = torch.from_numpy(np.random.default_rng(seed).exponential(size=(rows, tree.splits)).astype(np.float32))
    return -(steps @ tree.path.T)


def greedy(tree: RegionTree, gains: NDArray[np.float32], budget: int) -> set[int]:
    """The allocation, one split at a time: leaves."""
    nodes, splittable = tree.regions.nodes, [int(node) for node in tree.regions.splittable]
    leaves = {int(root) for root in tree.regions.roots}
    while True:
        open_splits = [node for node in leaves if node in splittable]
        if not open_splits:
            return leaves
        best = max(open_splits, key=lambda node: (gains[splittable.index(node)], -node))
        children = [int(child) for child in np.flatnonzero(nodes[:, 5] == best)]
        if len(leaves) - 1 + len(children) > budget:
            return leaves
        leaves = (leaves - {best}) | set(children)


@pytest.mark.parametrize("grid", GRIDS)
def test_every_split_replaces_a_region_by_two_to_four_that_cover_it(grid: tuple[int, int]) -> None:
    regions = Regions(*grid)
    for node in range(len(regions.nodes)):
        children = np.flatnonzero(regions.nodes[:, 5] == node)
        assert len(children) == 0 if regions.area[node] == 1 else 2 <= len(children) <= 4
        if len(children):
            assert (children > node).all()
            assert (regions.member[children].sum(0) == regions.member[node]).all()
    assert (regions.member[regions.roots].sum(0) == 1).all()
    assert len(regions.roots) == -(-grid[0] // 8) * -(-grid[1] // 8)
    assert (regions.area == 1).sum() == regions.patches


@settings(max_examples=60, deadline=None)
@given(grid=st.sampled_from(GRIDS), seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_leaves_keep_the_budget_and_cover_each_patch_once(grid: tuple[int, int], seed: int, share: float) -> None:
    tree = TREES[grid]
    budget = tree.roots + round(share * (tree.regions.patches - tree.roots))
    splits, _, _ = allocate(some_gains(tree, seed), torch.tensor([budget, budget]), tree, UNBOUNDED)
    leaves = leaves_of(splits, tree)
    assert (leaves.sum(1) <= budget).all()
    assert (leaves.sum(1) >= min(budget - 2, tree.regions.patches)).all()
    assert ((leaves.float() @ (tree.pooling > 0).float()) == 1).all()


@settings(max_examples=30, deadline=None)
@given(grid=st.sampled_from(GRIDS), seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_the_choice_is_the_greedy_one(grid: tuple[int, int], seed: int, share: float) -> None:
    tree = TREES[grid]
    budget = tree.roots + round(share * min(60, tree.regions.patches - tree.roots))
    gains = some_gains(tree, seed, rows=1)
    splits, _, _ = allocate(gains, torch.tensor([budget]), tree, UNBOUNDED)
    assert set(leaves_of(splits, tree)[0].nonzero()[:, 0].tolist()) == greedy(tree, gains[0].numpy(), budget)


def test_greedy_is_optimal_where_splits_cost_the_same() -> None:
    tree = RegionTree(Regions(4, 4))
    gains = some_gains(tree, seed=3, rows=1)[0] + 5
    above = tree.path.bool().numpy()
    for budget in range(1, 17):
        splits, _, _ = allocate(gains[None], torch.tensor([budget]), tree, UNBOUNDED)
        best = -np.inf
        for code in range(2**tree.splits):
            chosen = np.array([bool(code >> bit & 1) for bit in range(tree.splits)])
            closed = all(chosen[above[split]].all() for split in np.flatnonzero(chosen))
            # Every budget unit that fits is spent, as the allocation does whatever the sign of a gain.
            if closed and chosen.sum() == (budget - 1) // 3:
                best = max(best, float(gains.numpy()[chosen].sum()))
        assert float(gains[splits[0]].sum()) == pytest.approx(best)


@settings(max_examples=30, deadline=None)
@given(grid=st.sampled_from(GRIDS), seed=st.integers(0, 10**6), data=st.data())
def test_a_larger_budget_refines_a_smaller_one(grid: tuple[int, int], seed: int, data: st.DataObject) -> None:
    tree = TREES[grid]
    budgets = st.integers(tree.roots, tree.regions.patches)
    pair = sorted((data.draw(budgets), data.draw(budgets)))
    gains = some_gains(tree, seed, rows=1).expand(2, -1)
    small, large = allocate(gains, torch.tensor(pair), tree, UNBOUNDED)[0]
    assert bool((small <= large).all())


@pytest.mark.parametrize("grid", GRIDS)
def test_the_whole_budget_gives_every_patch(grid: tuple[int, int]) -> None:
    tree = TREES[grid]
    splits, _, _ = allocate(some_gains(tree, 0), torch.tensor([tree.regions.patches] * 2), tree, UNBOUNDED)
    leaves = leaves_of(splits, tree)
    assert (leaves.sum(1) == tree.regions.patches).all()
    assert (tree.level[leaves.any(0)] == 3).all()


@pytest.mark.parametrize(("tiles", "least", "most"), [(1, 4, 7), (1, 7, 64), (2, 8, 40), (2, 1, 13)])
def test_blocks_keep_their_bounds(tiles: int, least: int, most: int) -> None:
    tree = RegionTree(Regions(16, 16, tiles, tiles))
    gains = some_gains(tree, seed=1, rows=3)
    blocks = tree.regions.block
    for budget in (tree.regions.least_tokens(least), 80, 200):
        splits, _, _ = allocate(gains, torch.tensor([budget] * 3), tree, Bounds(least, most))
        for leaves in leaves_of(splits, tree).numpy():
            counts = np.bincount(blocks[leaves], minlength=blocks.max() + 1)
            assert counts.sum() <= budget
            assert counts.min() >= least
            assert counts.max() <= most


def test_ties_are_split_from_the_root() -> None:
    tree = TREES[16, 16]
    splits, _, _ = allocate(torch.zeros(1, tree.splits), torch.tensor([4 + 3 * 5]), tree, UNBOUNDED)
    assert bool((splits.float() @ tree.path.T)[0][splits[0]].eq(tree.path[splits[0]].sum(1)).all())


@pytest.mark.parametrize("grid", [(16, 16), (12, 12), (3, 5)])
def test_gates_share_each_place_among_its_levels(grid: tuple[int, int]) -> None:
    tree = TREES[grid]
    gates = log_gates(torch.randn(2, tree.splits), tree).exp()
    torch.testing.assert_close(gates @ (tree.pooling > 0).float(), torch.ones(2, tree.regions.patches))


def test_expected_tokens_are_the_sum_of_gates() -> None:
    tree = TREES[9, 17]
    logits = torch.randn(3, tree.splits)
    torch.testing.assert_close(expected_tokens(logits, tree), log_gates(logits, tree).exp().sum(1))


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_price_meets_the_budget_and_has_its_true_gradient(temperature: float) -> None:
    tree = TREES[12, 12]
    gains = some_gains(tree, 2).requires_grad_()
    budget, free = torch.tensor([20.0, 60.0]), torch.full((2, tree.splits), float("nan"))
    logits = priced(gains, budget, temperature, tree, free)
    torch.testing.assert_close(expected_tokens(logits, tree), budget, atol=0.05, rtol=0)
    # With the price following the gains, no change of them changes the expected tokens.
    (moved,) = torch.autograd.grad(expected_tokens(logits, tree).sum(), gains)
    assert moved.abs().max() < 0.02 / temperature


def test_cold_gates_are_the_hard_choice() -> None:
    tree = TREES[16, 16]
    gains, budget = some_gains(tree, 5), torch.tensor([28, 64])
    splits, _, _ = allocate(gains, budget, tree, UNBOUNDED)
    soft = log_gates(priced(gains, budget, 1e-4, tree, torch.full_like(gains, float("nan"))), tree).exp()
    assert bool(((soft > 0.5) == leaves_of(splits, tree)).all())


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="is empty"):
        Regions(0, 4)
