"""The region tree: a quadtree over the patch grid, as plain index tables.

Nodes are kept in raster order of their top-left patch, the coarser first, so a parent always comes before its
children and any selection of nodes read in order of index is in reading order.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

ROOT_SIZE = 8
LEVELS = 4  # blocks of 8, 4, 2 and 1 patches


@dataclass(frozen=True)
class Regions:
    """A quadtree over `tile_rows x tile_cols` tiles of `rows x cols` patches each.

    Roots are blocks of 8x8 patches that never cross a tile. At a ragged edge a block is cut, and a level
    that would not divide the cut block is left out, so every split replaces a node by two to four smaller
    ones.
    """

    rows: int
    cols: int
    tile_rows: int = 1
    tile_cols: int = 1

    def __post_init__(self) -> None:
        if min(self.rows, self.cols, self.tile_rows, self.tile_cols) < 1:
            raise ValueError(
                f"a grid of {self.rows}x{self.cols} patches in {self.tile_rows}x{self.tile_cols} tiles is empty"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the whole picture in patches."""
        return self.rows * self.tile_rows, self.cols * self.tile_cols

    @property
    def patches(self) -> int:
        """N of the whole picture."""
        return self.grid[0] * self.grid[1]

    @cached_property
    def nodes(self) -> NDArray[np.int64]:
        """[M, 7]: top, left, bottom, right (in patches, end exclusive), level, parent (-1 for a root), tile."""
        found: list[tuple[int, ...]] = []

        def grow(top: int, left: int, size: int, parent: tuple[int, ...], edge: tuple[int, int], tile: int) -> None:
            height, width = min(size, edge[0] - top), min(size, edge[1] - left)
            while size > 1 and max(height, width) <= size // 2:
                size //= 2
            node = (top, left, top + height, left + width, LEVELS - 1 - (size.bit_length() - 1))
            found.append((*node, *parent, tile))
            half = size // 2
            if size > 1:
                for y in range(top, top + height, half):
                    for x in range(left, left + width, half):
                        grow(y, x, half, (top, left, node[4]), edge, tile)

        for tile in range(self.tile_rows * self.tile_cols):
            first = (tile // self.tile_cols * self.rows, tile % self.tile_cols * self.cols)
            edge = (first[0] + self.rows, first[1] + self.cols)
            for top in range(first[0], edge[0], ROOT_SIZE):
                for left in range(first[1], edge[1], ROOT_SIZE):
                    grow(top, left, ROOT_SIZE, (-1, -1, -1), edge, tile)
        found.sort(key=lambda node: (node[0], node[1], node[4]))
        place = {(node[0], node[1], node[4]): index for index, node in enumerate(found)}
        rows = [(*node[:5], place.get((node[5], node[6], node[7]), -1), node[8]) for node in found]
        return np.asarray(rows, dtype=np.int64)

    @cached_property
    def member(self) -> NDArray[np.bool_]:
        """[M, N]: the patches that each node covers."""
        ys, xs = np.divmod(np.arange(self.patches), self.grid[1])
        top, left, bottom, right = (self.nodes[:, i, None] for i in range(4))
        return np.asarray((ys >= top) & (ys < bottom) & (xs >= left) & (xs < right))

    @cached_property
    def surround(self) -> NDArray[np.bool_]:
        """[M, N]: the ring around each node, as wide as the node; the rest of the picture where nothing is around."""
        ys, xs = np.divmod(np.arange(self.patches), self.grid[1])
        top, left, bottom, right = (self.nodes[:, i, None] for i in range(4))
        height, width = bottom - top, right - left
        near = (ys >= top - height) & (ys < bottom + height) & (xs >= left - width) & (xs < right + width)
        ring = np.asarray(near & ~self.member)
        return np.where(ring.any(axis=1, keepdims=True), ring, True)

    @cached_property
    def splittable(self) -> NDArray[np.int64]:
        """[S]: the nodes that can be split, in order."""
        return np.flatnonzero(self.area > 1)

    @property
    def area(self) -> NDArray[np.int64]:
        """[M]: patches in each node."""
        return np.asarray((self.nodes[:, 2] - self.nodes[:, 0]) * (self.nodes[:, 3] - self.nodes[:, 1]))

    @property
    def roots(self) -> NDArray[np.int64]:
        """[R]: the nodes without a parent: the smallest possible number of tokens."""
        return np.flatnonzero(self.nodes[:, 5] < 0)

    @cached_property
    def cost(self) -> NDArray[np.int64]:
        """[S]: tokens that each split adds: its children, less itself."""
        children = np.bincount(self.nodes[:, 5][self.nodes[:, 5] >= 0], minlength=len(self.nodes))
        return np.asarray(children[self.splittable] - 1)

    @cached_property
    def ancestors(self) -> NDArray[np.bool_]:
        """[M, S]: the splits that must have happened for the node to be there (its strict ancestors)."""
        column = {int(node): index for index, node in enumerate(self.splittable)}
        above = np.zeros((len(self.nodes), len(self.splittable)), dtype=bool)
        for index, parent in enumerate(self.nodes[:, 5]):
            if parent >= 0:
                above[index] = above[parent]
                above[index, column[int(parent)]] = True
        return above

    @cached_property
    def block(self) -> NDArray[np.int64]:
        """[M]: the block whose tokens are bounded: the root of the node, or its tile where there are several."""
        if self.tile_rows * self.tile_cols > 1:
            return self.nodes[:, 6]
        root = np.arange(len(self.nodes))
        for index, parent in enumerate(self.nodes[:, 5]):
            if parent >= 0:
                root[index] = root[parent]
        return np.asarray(np.searchsorted(self.roots, root))

    def least_tokens(self, minimum: int) -> int:
        """Tokens after which every block surely has `minimum` of them (or all its patches)."""
        patches = np.bincount(self.block, weights=(self.area == 1))
        roots = np.bincount(self.block[self.roots], minlength=len(patches))
        even = bool((self.cost == 3).all())
        reached = roots + 3 * -(-(minimum - roots) // 3) if even else np.full_like(roots, minimum + 2)
        needed = np.where(roots >= minimum, roots, np.minimum(patches, reached))
        return int(needed.sum())


class RegionTree(nn.Module):
    """The tables of `Regions` on the model's device: buffers that are never saved, since the grid determines
    them.

    M nodes, S of them splittable, N patches, G bounded blocks.
    """

    member: Tensor  # [E] node of each (node, patch) pair
    member_patch: Tensor  # [E] patch of each pair
    pooling: Tensor  # [M, N] mean over a node's patches
    around: Tensor  # [M, N] mean over a node's surround
    parent: Tensor  # [M] node, itself for a root
    level: Tensor  # [M]
    first_patch: Tensor  # [M] raster index of the top-left patch
    centre: Tensor  # [M, 2] y and x in 0..1
    splittable: Tensor  # [S] node
    parent_split: Tensor  # [M] column in S of the parent, S for a root
    own_split: Tensor  # [M] own column in S, S for a single patch
    path: Tensor  # [S, S] 1 where the column is the row itself or an ancestor
    ancestors: Tensor  # [M, S] 1 where the column is a strict ancestor
    cost: Tensor  # [S]
    block: Tensor  # [S]
    block_roots: Tensor  # [G] roots in each block

    def __init__(self, regions: Regions) -> None:
        super().__init__()
        self.regions = regions
        self.size = len(regions.nodes)
        self.roots = len(regions.roots)
        self.splits = len(regions.splittable)
        for name, table in self.tables().items():
            self.register_buffer(name, table, persistent=False)

    def tables(self) -> dict[str, Tensor]:
        """Every buffer's value, for (re)initialisation."""
        r = self.regions
        nodes, parent = r.nodes, r.nodes[:, 5]
        column = np.full(self.size + 1, self.splits)
        column[r.splittable] = np.arange(self.splits)
        path = r.ancestors[r.splittable] | np.eye(self.splits, dtype=bool)
        pair_node, pair_patch = np.nonzero(r.member)
        rows, cols = r.grid
        centre = np.stack([(nodes[:, 0] + nodes[:, 2]) / (2 * rows), (nodes[:, 1] + nodes[:, 3]) / (2 * cols)], 1)
        arrays = {
            "member": pair_node,
            "member_patch": pair_patch,
            "pooling": (r.member / r.member.sum(1, keepdims=True)).astype(np.float32),
            "around": (r.surround / r.surround.sum(1, keepdims=True)).astype(np.float32),
            "parent": np.where(parent < 0, np.arange(self.size), parent),
            "level": nodes[:, 4],
            "first_patch": nodes[:, 0] * cols + nodes[:, 1],
            "centre": centre.astype(np.float32),
            "splittable": r.splittable,
            "parent_split": column[parent],
            "own_split": column[: self.size],
            "path": path.astype(np.float32),
            "ancestors": r.ancestors.astype(np.float32),
            "cost": r.cost.astype(np.float32),
            "block": r.block[r.splittable],
            "block_roots": np.bincount(r.block[r.roots]),
        }
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def mean(self, values: Tensor) -> Tensor:
        """[B, N, D] of patches -> [B, M, D]: the mean over each node."""
        return self.pooling.to(values.dtype) @ values

    def maximum(self, values: Tensor) -> Tensor:
        """[B, C, N] of patches -> [B, C, M]: the maximum over each node."""
        source = values[..., self.member_patch]
        empty = values.new_full((*values.shape[:-1], self.size), float("-inf"))
        return empty.scatter_reduce(-1, self.member.expand_as(source), source, "amax", include_self=False)
