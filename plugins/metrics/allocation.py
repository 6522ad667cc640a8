"""Where a model that tells its routing spent its visual tokens.

Read from a `Trace` whose maps, rows x cols over the picture's grid, are

    token_budget                                            visual tokens spent on each cell
    level_of_detail                                         0 the coarsest, one more for each halving of the regions
    relevance_propositional, _perspectival, _participatory  how relevant each cell is, in any unit

and whose scalars weight_propositional, weight_perspectival and weight_participatory tell what each way counted. Any
model may tell some of these; a sample that lacks one, or whose map is ragged or not finite, has no such figure.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr
from scipy.stats import rankdata

from harness import Measured, MetricInfo, Pair, Trace
from plugins.metrics.means import mean

FloatArray: TypeAlias = NDArray[np.float64]

BUDGET, LEVEL = "token_budget", "level_of_detail"
WAYS = ("propositional", "perspectival", "participatory")
RELEVANCES = tuple(f"relevance_{way}" for way in WAYS)
WEIGHTS = tuple(f"weight_{way}" for way in WAYS)
LEVELS = range(4)
AT_ONCE = 32
"""Traces that are unpacked together: few, so that they stay in the cache and die young."""


class Allocation:
    """Means over the samples of what their traces tell. No direction is better by itself.

    allocation_entropy: H(p) / log(cells), where p is the share of the tokens that each cell has and H its Shannon
        entropy: 1 where the whole picture has the same detail, lower the more a few cells get; needs two cells.
    area_at_level_0 … area_at_level_3: the share of the picture at this level of detail.
    relevance_propositional, relevance_perspectival, relevance_participatory: Spearman's rank correlation (1904) over
        the cells, ties at their mean rank, of this way's relevance with the tokens spent: which way the allocation
        follows. Undefined where one of the two is the same everywhere.
    weight_propositional, weight_perspectival, weight_participatory: the weight that the model gave this way.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        areas = (f"area_at_level_{level}" for level in LEVELS)
        return {
            **{name: MetricInfo("fraction", higher_is_better=None) for name in ("allocation_entropy", *areas)},
            **{name: MetricInfo("correlation", higher_is_better=None) for name in RELEVANCES},
            **{name: MetricInfo("weight", higher_is_better=None) for name in WEIGHTS},
        }

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        names = tuple(self.info)
        tables = [_figures(traces, names) for traces in _traces(pairs)] or [_figures((), names)]
        return {name: mean(np.concatenate([table[name] for table in tables])) for name in names}


def _traces(pairs: Iterable[Pair]) -> Iterator[list[Trace | None]]:
    """The pairs' traces in their order, some at a time."""
    traces = (pair.output.trace for pair in pairs)
    while chunk := list(islice(traces, AT_ONCE)):
        yield chunk


def _stacked(
    traces: Sequence[Trace | None], names: Sequence[str]
) -> Iterator[tuple[list[int], Mapping[str, FloatArray]]]:
    """Where B traces with the same of the maps on the same grid stand, and name -> [B, rows, cols] their maps.

    Ragged and empty maps are left out; a map that is not finite is NaN everywhere.
    """
    alike: defaultdict[tuple[tuple[str, int, int], ...], list[tuple[int, Trace]]] = defaultdict(list)
    for place, trace in enumerate(traces):
        if trace is not None:
            grids = ((name, _grid(trace.maps[name])) for name in names if name in trace.maps)
            if layout := tuple((name, *grid) for name, grid in grids if grid is not None):
                alike[layout].append((place, trace))
    for layout, found in alike.items():
        maps = {name: np.array([trace.maps[name] for _, trace in found], np.float64) for name, _, _ in layout}
        for stack in maps.values():
            stack[~np.isfinite(stack).all(axis=(1, 2))] = np.nan
        yield [place for place, _ in found], maps


def _grid(rows: Sequence[Sequence[float]]) -> tuple[int, int] | None:
    """Rows and columns; None where there are none or the rows differ."""
    widths = {len(row) for row in rows}
    return (len(rows), widths.pop()) if len(widths) == 1 and 0 not in widths else None


def _figures(traces: Sequence[Trace | None], names: Sequence[str]) -> dict[str, FloatArray]:
    """Name -> [n] the figure of each trace, NaN where it has none."""
    table = {name: np.full(len(traces), np.nan) for name in names}
    for name in WEIGHTS:
        weights = (math.nan if trace is None else trace.scalars.get(name, math.nan) for trace in traces)
        table[name][:] = [weight if math.isfinite(weight) else math.nan for weight in weights]
    for places, maps in _stacked(traces, (BUDGET, LEVEL, *RELEVANCES)):
        if LEVEL in maps:
            known = ~np.isnan(maps[LEVEL][:, 0, 0])
            for level in LEVELS:
                area = (maps[LEVEL] == level).mean(axis=(1, 2))
                table[f"area_at_level_{level}"][places] = np.where(known, area, np.nan)
        if BUDGET in maps:
            table["allocation_entropy"][places] = _entropy(maps[BUDGET])
            spent = _ranks(maps[BUDGET])
            for name in RELEVANCES:
                if name in maps and maps[name].shape == maps[BUDGET].shape:
                    table[name][places] = _correlation(_ranks(maps[name]), spent)
    return table


def _shares(maps: FloatArray) -> FloatArray:
    """[B, rows, cols], each divided by its sum; NaN where one has a negative number or none but 0."""
    peak = maps.max(axis=(1, 2), keepdims=True)
    fit = (maps.min(axis=(1, 2), keepdims=True) >= 0) & (peak > 0)
    scaled = np.divide(maps, peak, out=np.full_like(maps, np.nan), where=fit)  # so that no sum overflows
    return np.asarray(scaled / scaled.sum(axis=(1, 2), keepdims=True))


def _entropy(budgets: FloatArray) -> FloatArray:
    """[B, rows, cols] -> [B] entropies of the shares, as a fraction of the largest that there can be."""
    cells = budgets[0].size
    if cells < 2:
        return np.full(len(budgets), np.nan)
    return np.asarray(entr(_shares(budgets)).sum(axis=(1, 2)) / math.log(cells))


def _ranks(maps: FloatArray) -> FloatArray:
    """[B, rows, cols] -> [B, cells] ranks less their mean; NaN where the map is."""
    flat = maps.reshape(len(maps), -1)
    return np.asarray(rankdata(flat, axis=-1) - (flat.shape[-1] + 1) / 2)


def _correlation(first: FloatArray, second: FloatArray) -> FloatArray:
    """Two [B, cells] of mean 0 -> [B] correlations, NaN where one is 0 everywhere."""
    spread = np.sqrt(np.square(first).sum(axis=-1) * np.square(second).sum(axis=-1))
    shared = (first * second).sum(axis=-1)
    return np.asarray(np.divide(shared, spread, out=np.full_like(spread, np.nan), where=spread > 0))
