"""Where a model looks on average: the mean over a run's samples of each map of their traces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np

from harness.stats import FloatArray, IntArray
from harness.store import Run, RunStore
from harness.types import Output, Trace

Grid: TypeAlias = tuple[int, int]
"""Rows and columns."""

SHARE, VALUE = "share", "value"
AT_ONCE = 32
"""Traces that are unpacked together: few, so that they stay in the cache and die young."""
SIDE = 64
"""Rows and columns of a mean map, at most."""
GRIDS = 64
"""Grids of a map that are summed apart, at most."""


@dataclass(frozen=True, slots=True)
class MeanMap:
    """The mean of a map over samples.

    Attributes:
        grid: its rows, on the grid that most samples' maps have, the finest of equally frequent ones.
        unit: "share": what part of the sum of its sample's map a patch has, all of the grid being 1. "value": what the
            maps hold, where any of them has a negative number, or none any but 0.
        n: samples that it is the mean of.
    """

    grid: tuple[tuple[float, ...], ...]
    unit: str
    n: int

    @property
    def low(self) -> float:
        return min(map(min, self.grid))

    @property
    def high(self) -> float:
        return max(map(max, self.grid))


def mean_maps(store: RunStore, run: Run) -> dict[str, MeanMap]:
    """Name -> the mean of that map over the run's answered samples.

    A map of another grid than most is laid over theirs: a share is spread evenly over its patch's area, of values the
    mean by area is taken. Maps that are ragged, empty or not finite are left out; of shares also those that are 0
    everywhere.
    """
    sums: dict[str, _Sums] = {}
    results = (prediction.result for _, prediction in store.predictions(run))
    traces = (result.trace for result in results if isinstance(result, Output) and result.trace is not None)
    with np.errstate(over="ignore", invalid="ignore"):  # values without a sum have no mean either
        while chunk := list(islice(traces, AT_ONCE)):
            for name, maps in _stacked(chunk):
                sums.setdefault(name, _Sums()).add(maps)
        means = {name: found.mean() for name, found in sums.items()}
    return {name: mean for name, mean in means.items() if mean is not None}


def _stacked(traces: Iterable[Trace]) -> Iterable[tuple[str, FloatArray]]:
    """Of every name and grid, [B, rows, cols] the maps that are finite."""
    alike: defaultdict[tuple[str, Grid], list[Sequence[Sequence[float]]]] = defaultdict(list)
    for trace in traces:
        for name, rows in trace.maps.items():
            widths = {len(row) for row in rows}
            if len(widths) == 1 and 0 not in widths:
                alike[name, (len(rows), widths.pop())].append(rows)
    for (name, _), found in alike.items():
        maps = np.array(found, np.float64)
        yield name, maps[np.isfinite(maps).all(axis=(1, 2))]


class _Sums:
    """The sums of one name's maps. Shares and values side by side: which are wanted is known at the end."""

    def __init__(self) -> None:
        self._sums: dict[Grid, FloatArray] = {}  # [2, rows, cols]: of shares, and of values by their patch's area
        self._counts: defaultdict[Grid, IntArray] = defaultdict(lambda: np.zeros(2, np.int64))
        self._negative = False

    def add(self, maps: FloatArray) -> None:
        """Add [B, rows, cols] maps; B may be 0."""
        if not len(maps):
            return
        high, wide = maps.shape[1:]
        self._negative = self._negative or bool(maps.min() < 0)
        shares = _shares(maps)
        grid = min(high, SIDE), min(wide, SIDE)
        summed = _laid(np.stack([shares.sum(axis=0), maps.sum(axis=0) / (high * wide)]), grid)
        self._counts[grid] += (len(shares), len(maps))
        self._sums[grid] = self._sums.get(grid, 0.0) + summed
        if len(self._sums) > GRIDS:
            self._fold()

    def _fold(self) -> None:
        """Lay the rarest grid's sums over the most frequent: where pictures keep their shape, grids are many."""
        common, *_, rarest = sorted(self._sums, key=lambda grid: -int(self._counts[grid][1]))
        self._sums[common] += _laid(self._sums.pop(rarest), common)

    def mean(self) -> MeanMap | None:
        """The mean of the shares, or of the values; None where there are none."""
        place = 1 if self._negative or not any(shares for shares, _ in self._counts.values()) else 0
        n = sum(int(counts[place]) for counts in self._counts.values())
        if not n:
            return None
        grid = max(self._counts, key=lambda grid: (int(self._counts[grid][place]), grid[0] * grid[1], grid))
        total = np.sum([_laid(summed[place], grid) for summed in self._sums.values()], axis=0)
        total = total / n * (grid[0] * grid[1] if place else 1)
        if not np.isfinite(total).all():
            return None
        return MeanMap(tuple(map(tuple, total.tolist())), (SHARE, VALUE)[place], n)


def _shares(maps: FloatArray) -> FloatArray:
    """[B, rows, cols] -> those of them that have shares, each divided by its sum."""
    peak = maps.max(axis=(1, 2), keepdims=True)
    fit = ((maps.min(axis=(1, 2), keepdims=True) >= 0) & (peak > 0))[:, 0, 0]
    scaled = maps[fit] / peak[fit]  # so that no sum overflows
    return np.asarray(scaled / scaled.sum(axis=(1, 2), keepdims=True))


def _laid(sums: FloatArray, grid: Grid) -> FloatArray:
    """[..., rows, cols] -> on another grid, what lies in each cell spread evenly over its area."""
    high, wide = sums.shape[-2:]
    if (high, wide) == grid:
        return sums
    return np.asarray(_overlap(high, grid[0]) @ sums @ _overlap(wide, grid[1]).T)


def _overlap(source: int, target: int) -> FloatArray:
    """[target, source]: the part of each of `source` equal pieces of a line that lies in each of `target` pieces."""
    here = np.arange(target)[:, np.newaxis] / target
    there = np.arange(source) / source
    shared = np.minimum(here + 1 / target, there + 1 / source) - np.maximum(here, there)
    return np.asarray(shared.clip(min=0) * source)
