"""Whether what a model spends goes where it helps: the main figure by what was spent on the sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.stats import FloatArray, IntArray, cluster_codes, clustered_mean, distinct
from harness.store import Run, RunStore
from harness.types import Output

VISUAL_TOKENS = "visual tokens"
BINS = 8


@dataclass(frozen=True, slots=True)
class Bin:
    """The samples on which about as much was spent.

    Attributes:
        least, most, mean: what was spent on them.
        value: the mean of their scores, `low` and `high` its clustered 95% interval.
    """

    least: float
    most: float
    mean: float
    n: int
    clusters: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """The main figure by quantiles of a quantity: the visual tokens, or a scalar of the model's trace."""

    quantity: str
    bins: tuple[Bin, ...]


def calibrations(store: RunStore, run: Run, protocol: str, score: str | None) -> tuple[Calibration, ...]:
    """One for each quantity that is not the same on all samples; none where the score has no value a sample."""
    values = store.per_sample(run, protocol).get(score) if score else None
    if values is None:
        return ()
    spent: dict[str, list[float]] = {}
    groups: list[str] = []
    for group, quantities in _quantities(store, run):
        for name, value in quantities.items():
            if name not in spent:
                spent[name] = [np.nan] * len(groups)
            spent[name].append(value)
        groups.append(group)
        for column in spent.values():
            column.extend([np.nan] * (len(groups) - len(column)))
    clusters = cluster_codes(groups)
    found = ((name, binned(np.array(column), values, clusters)) for name, column in spent.items())
    return tuple(Calibration(name, bins) for name, bins in found if len(bins) > 1)


def binned(spent: FloatArray, values: FloatArray, clusters: IntArray) -> tuple[Bin, ...]:
    """Up to `BINS` bins of about equally many samples, those with equal spendings together.

    Args:
        spent: [n] what was spent on each sample, NaN where that is unknown.
        values: [n] the samples' scores, NaN where there is none.
        clusters: [n] numbers from 0.
    """
    known = np.isfinite(spent) & np.isfinite(values)
    spent, values, clusters = spent[known], values[known], clusters[known]
    if not spent.size:
        return ()
    levels = np.unique(spent)
    edges = levels if levels.size <= BINS else np.unique(np.sort(spent)[np.arange(BINS) * spent.size // BINS])
    places = np.searchsorted(edges, spent, side="right") - 1
    return tuple(_bin(spent[rows], values[rows], clusters[rows]) for rows in (places == np.arange(edges.size)[:, None]))


def _bin(spent: FloatArray, values: FloatArray, clusters: IntArray) -> Bin:
    interval = clustered_mean(values, clusters)
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return Bin(
        float(spent.min()), float(spent.max()), float(spent.mean()), values.size, distinct(clusters),
        float(values.mean()), low, high,
    )  # fmt: skip


def _quantities(store: RunStore, run: Run) -> Iterator[tuple[str, dict[str, float]]]:
    """Of every answered sample its group, and what was spent on it."""
    for sample, prediction in store.predictions(run):
        if isinstance(prediction.result, Output):
            trace = prediction.result.trace
            scalars = {} if trace is None else trace.scalars
            yield sample.group, {VISUAL_TOKENS: float(prediction.result.usage.visual_tokens), **scalars}
