"""Standard errors and intervals of scores whose samples come in clusters, such as many questions on one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CONFIDENCE = 0.95
RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A standard error and a confidence interval."""

    stderr: float
    low: float
    high: float


def cluster_codes(groups: Sequence[str]) -> IntArray:
    """Each sample's cluster as a number from 0, in order of first appearance. Shape [n]."""
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(group, len(numbers)) for group in groups), dtype=np.int64, count=len(groups))


def clustered_mean(values: FloatArray, clusters: IntArray, confidence: float = CONFIDENCE) -> Interval | None:
    """The cluster-robust interval of a mean, by Student's t with one degree of freedom less than clusters.

    The variance is that of a ratio of cluster totals, G/(G-1) Σ_g (Σ_{i in g} (x_i - mean))² / n²: Liang and Zeger's
    (1986) sandwich for an intercept alone, as in Miller, "Adding Error Bars to Evals" (2024), section 2.2.

    Args:
        values: [n].
        clusters: [n] numbers from 0.

    Returns:
        None where there are fewer than two clusters, which say nothing about their spread.
    """
    count = np.unique(clusters).size
    if count < 2:
        return None
    mean = values.mean()
    totals = np.bincount(clusters, weights=values - mean)
    stderr = float(np.sqrt(count / (count - 1) * np.square(totals).sum()) / values.size)
    reach = _student(count - 1, confidence) * stderr
    return Interval(stderr, float(mean - reach), float(mean + reach))


def clustered_bootstrap(
    statistics: FloatArray,
    reduce: Callable[[FloatArray], FloatArray],
    clusters: IntArray,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """The percentile interval of a corpus score, by resampling whole clusters with replacement.

    Args:
        statistics: [n, k] sufficient statistics a sample; they add up.
        reduce: [..., k] sums -> [...] scores.
        clusters: [n] numbers from 0.

    Returns:
        None where there are fewer than two clusters.
    """
    _, codes = np.unique(clusters, return_inverse=True)
    count = int(codes.max()) + 1 if codes.size else 0
    if count < 2:
        return None
    totals = np.zeros((count, statistics.shape[1]))
    np.add.at(totals, codes, statistics)
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    scores = reduce(draws @ totals)
    tail = (1 - confidence) / 2
    low, high = np.quantile(scores, [tail, 1 - tail])
    return Interval(float(scores.std(ddof=1)), float(low), float(high))


def _student(degrees: int, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))
