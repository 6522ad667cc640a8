"""Standard errors and intervals of scores whose samples come in clusters, such as many questions on one picture."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CONFIDENCE = 0.95
RESAMPLES = 1_000
EXPANDED = 300
"""Degrees of freedom from which on Student's t is expanded around the normal distribution."""
FEW = 3
"""So many clusters that differ from all others t takes for less uncertain than it is to have seen none."""
_ROUNDING = 1e-12
"""A spread of that share of the values is what rounding leaves of none."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A standard error and a confidence interval."""

    stderr: float
    low: float
    high: float


def cluster_codes(groups: Iterable[str]) -> IntArray:
    """Each sample's cluster as a number from 0, in order of first appearance. Shape [n]."""
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(group, len(numbers)) for group in groups), dtype=np.int64)


def clustered_mean(values: FloatArray, clusters: IntArray, confidence: float = CONFIDENCE) -> Interval | None:
    """The cluster-robust interval of a mean, by Student's t with one degree of freedom less than clusters.

    The variance is that of a ratio of cluster totals, G/(G-1) Σ_g (Σ_{i in g} (x_i - mean))² / n²: Liang and Zeger's
    (1986) sandwich for an intercept alone, as in Miller, "Adding Error Bars to Evals" (2024), section 2.2.

    Args:
        values: [n].
        clusters: [n] numbers from 0.

    Returns:
        None where there are fewer than two clusters, which say nothing about their spread. Where hardly any differ from
        the others, it is no narrower than what `alike` says: a few wrong answers do not make a score surer.
    """
    count = distinct(clusters)
    if count < 2:
        return None
    mean = float(values.mean())
    totals = np.bincount(clusters, weights=values - mean)
    stderr = float(np.sqrt(count / (count - 1) * np.square(totals).sum()) / values.size)
    stderr = stderr if varies(stderr, values) else 0.0
    usual = _around(mean, stderr, count - 1, confidence)
    if stderr and not hardly_vary(values, clusters):
        return usual
    least = alike(mean, count, confidence)
    return Interval(stderr, min(usual.low, least.low), max(usual.high, least.high))


def resampled_sums(
    statistics: FloatArray, clusters: IntArray, *, seed: int = 0, resamples: int = RESAMPLES
) -> FloatArray | None:
    """The sums of a corpus score's statistics in resamples of whole clusters, drawn with replacement.

    Args:
        statistics: [n, k] sufficient statistics a sample; they add up.
        clusters: [n] numbers from 0.

    Returns:
        [resamples, k]; None where there are fewer than two clusters.
    """
    _, codes = np.unique(clusters, return_inverse=True)
    count = int(codes.max()) + 1 if codes.size else 0
    if count < 2:
        return None
    totals = np.stack([np.bincount(codes, weights=column) for column in statistics.T], axis=1)
    generator = np.random.default_rng(seed)
    sums = np.empty((resamples, statistics.shape[1]))
    for row in sums:  # one at a time: what all the draws of many clusters would take is gigabytes
        row[:] = np.bincount(generator.integers(0, count, size=count), minlength=count) @ totals
    return sums


def percentile_interval(scores: FloatArray, clusters: int, confidence: float = CONFIDENCE) -> Interval | None:
    """The interval between the percentiles of a score's [r] resamples; where all are alike, what `alike` says.

    Resamples without a score (NaN), such as a ratio to nothing, are left out; None where fewer
    than two are left. Where none lies so far out, by Student's t and their standard error, if that is wider.

    Args:
        clusters: how many were resampled.
    """
    scores = scores[np.isfinite(scores)]
    if scores.size < 2:
        return None
    stderr = float(scores.std(ddof=1))
    if not varies(stderr, scores):
        return alike(float(scores.mean()), clusters, confidence)
    tail = (1 - confidence) / 2
    low, high = (float(bound) for bound in np.quantile(scores, [tail, 1 - tail]))
    if tail * (scores.size + 1) < 1:
        beyond = _around(float(scores.mean()), stderr, clusters - 1, confidence)
        low, high = min(low, beyond.low), max(high, beyond.high)
    return Interval(stderr, low, high)


def jackknife(value: float, replicates: FloatArray, confidence: float = CONFIDENCE) -> Interval | None:
    """The interval of any smooth score, from its [b] values without each of b disjoint parts of about equal size.

    The variance is (b-1)/b Σ_j (θ_j - mean θ)²: the delete-a-group jackknife (Shao and Tu, 1995, section 2.3), with
    Student's t on b-1 degrees of freedom; where all are alike, what `alike` says of so many clusters. None where there
    are fewer than two parts.
    """
    parts = replicates.size
    if parts < 2 or not np.isfinite(replicates).all():
        return None
    stderr = float(np.sqrt((parts - 1) / parts * np.square(replicates - replicates.mean()).sum()))
    if not varies(stderr, replicates):
        return alike(value, parts, confidence)
    return _around(value, stderr, parts - 1, confidence)


def alike(value: float, clusters: int, confidence: float = CONFIDENCE) -> Interval:
    """The interval of a score of G clusters that are all alike: no spread seen is not no spread.

    Others may be anywhere between 0 and 1, if the score is a fraction, as one between 0 and 1 is taken to be. There are
    no more of them than `unseen` says, so that of a score of 1 this is Clopper and Pearson's (1934) interval. Of a
    score without bounds, such as tokens, nothing can be said of what was not seen.
    """
    share = unseen(clusters, confidence) if 0 <= value <= 1 else 0.0
    return Interval(0.0, value - share * value, value + share * (1 - value))


def hardly_vary(values: FloatArray, clusters: IntArray) -> bool:
    """Whether most clusters have one and the same mean, and no more than `FEW` another.

    Args:
        values: [n].
        clusters: [n] numbers from 0.
    """
    sizes, totals = np.bincount(clusters), np.bincount(clusters, weights=values)
    means = totals[sizes > 0] / sizes[sizes > 0]
    same = np.isclose(means, np.median(means), rtol=1e-9, atol=_ROUNDING * float(np.abs(values).max(initial=0)))
    odd = int(np.count_nonzero(~same))
    return odd <= FEW and 2 * odd < means.size


def unseen(clusters: int, confidence: float = CONFIDENCE) -> float:
    """The largest share that clusters of another kind may have where none is among G.

    1 - (α/2)^(1/G) for a confidence of 1 - α: exact, and of one side of a two-sided interval; about 3.7 / G at 95%.
    """
    return -math.expm1(math.log((1 - confidence) / 2) / clusters)


def varies(stderr: float, values: FloatArray) -> bool:
    """Whether a standard error is more than rounding makes of [n] values that are all alike."""
    return stderr > _ROUNDING * float(np.abs(values).max(initial=0))


def distinct(clusters: IntArray) -> int:
    """How many clusters there are among [n] numbers from 0."""
    return int(np.count_nonzero(np.bincount(clusters))) if clusters.size else 0


def _around(value: float, stderr: float, degrees: int, confidence: float) -> Interval:
    reach = student(degrees, confidence) * stderr
    return Interval(stderr, value - reach, value + reach)


def student(degrees: int, confidence: float) -> float:
    """How many standard errors a two-sided interval reaches, by Student's t.

    From 300 degrees of freedom on by its expansion around the normal quantile (Abramowitz and Stegun, 1964, 26.7.5),
    which is then exact to 9 digits at 99.9999% and to 12 at 95%: importing scipy takes longer than scoring most runs.
    """
    if degrees < EXPANDED:
        from scipy.special import stdtrit

        return float(stdtrit(degrees, (1 + confidence) / 2))
    x = NormalDist().inv_cdf((1 + confidence) / 2)
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return sum(term / float(degrees) ** power for power, term in enumerate(terms))
