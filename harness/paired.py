"""Two results on the same samples: the difference B − A, its error, its interval at any confidence, and tests of it.

Samples come in clusters, such as many questions on one picture; every error here is that of whole clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.stats import (
    CONFIDENCE,
    FloatArray,
    IntArray,
    clustered_mean,
    distinct,
    hardly_vary,
    jackknife,
    resampled_sums,
    unseen,
    varies,
)

RESAMPLES = 2_000
"""Of a paired bootstrap: enough for p-values of a few thousandths, which a correction for several tests asks for."""

CLUSTERED_T = "clustered t"
MCNEMAR = "McNemar"
BOOTSTRAP = "bootstrap"
JACKKNIFE = "jackknife"
ONE_CLUSTER = "all samples are of one group, which says nothing of how results vary between groups"

Reduce = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """A difference between two results on the same samples.

    Attributes:
        a, b: the two values.
        difference: B − A.
        n: samples that they are made of.
        clusters: groups that these fall into.
        test: what gave the p-value; empty where there is no test.
        stderr: of the difference; None where there is no test.
        p_value: two-sided, of no difference.
        degrees: of freedom.
        resampled: [r] the difference in resamples of the clusters, in order; only of a bootstrap.
        design_effect: how many times the variance is what it would be if all samples were independent; only of means.
        reason: why there is no test.
        reach: how large a difference could be: 1 between fractions, which values between 0 and 1 are taken for, else as
            large as the largest value; 0 where it is certain that there is none.
        rare: whether hardly a cluster, or none, differs from the others.
    """

    a: float
    b: float
    difference: float
    n: int
    clusters: int
    test: str = ""
    stderr: float | None = None
    p_value: float | None = None
    degrees: int = 0
    resampled: FloatArray | None = None
    design_effect: float | None = None
    reason: str = ""
    reach: float = 1.0
    rare: bool = False

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """The two-sided confidence interval of the difference; its one bound holds with (1 + confidence) / 2.

        By Student's t; of a bootstrap between percentiles, set wider by Hesterberg's (2015, section 3.2) correction for
        few clusters: at Φ(-√(G/(G-1)) t) instead of (1 - confidence) / 2, for G clusters and t's quantile on G-1
        degrees of freedom. Where no resample lies so far out, by t and the bootstrap's standard error. None where
        there is no test.

        Where hardly a cluster differs from the others, it is no narrower than if none did, which is not certainty:
        those that do, and by `reach` either way, may be as many as `unseen` says.
        """
        if self.stderr is None:
            return None
        low, high = self._spread(self.stderr, confidence)
        if self.rare:
            share, reach = unseen(self.clusters, confidence), max(self.reach, abs(self.difference))
            low = min(low, self.difference - share * (reach + self.difference))
            high = max(high, self.difference + share * (reach - self.difference))
        return low, high

    def _spread(self, stderr: float, confidence: float) -> tuple[float, float]:
        from scipy.special import ndtr, stdtrit

        t = float(stdtrit(self.degrees, (1 + confidence) / 2))
        if self.resampled is not None:
            tail = float(ndtr(-t * _widening(self.clusters)))
            if tail * (self.resampled.size + 1) >= 1:
                low, high = np.quantile(self.resampled, [tail, 1 - tail])
                return float(low), float(high)
        return self.difference - t * stderr, self.difference + t * stderr


def paired_mean(a: FloatArray, b: FloatArray, clusters: IntArray) -> Paired:
    """The difference between two means over the same samples.

    The error is `clustered_mean`'s of the differences, the test Student's t with one degree of freedom less than
    clusters. Where every cluster is one sample and all values are 0 or 1, the p-value is that of McNemar's exact test
    instead (1947; the binomial of the samples that differ); with several samples a cluster that test would be wrong.

    Where some samples have a value on one side alone, as a share of what was claimed has, each mean is over
    its own side's, since those with both may be just those on which the two agree. The means A and B are then ratios
    of sums, and the error is that of their linear expansion (the delta method: Cochran, 1977, chapter 6): sample i
    counts as (B - A) + (b_i - B) / p_b - (a_i - A) / p_a, where p is the share of samples with a value on that side,
    and the term of a missing value is 0. With no value missing that is b_i - a_i.

    Args:
        a, b: [n], NaN where a sample has no value; one without either is left out.
        clusters: [n] numbers from 0.
    """
    either = np.isfinite(a) | np.isfinite(b)
    a, b, clusters = a[either], b[either], clusters[either]
    has_a, has_b = np.isfinite(a), np.isfinite(b)
    count = distinct(clusters)
    if not has_a.any() or not has_b.any():
        return Paired(np.nan, np.nan, np.nan, a.size, count, reason="one of the two has a value of no sample")
    whole = bool(has_a.all() and has_b.all())
    mean_a, mean_b = float(a[has_a].mean()), float(b[has_b].mean())
    change = changes(a, b) if whole else _expanded(a, b, mean_a, mean_b)
    difference = float(change.mean()) if whole else _change(mean_a, mean_b)
    known = mean_a, mean_b, difference, a.size, count
    interval = clustered_mean(change, clusters)
    if interval is None:
        return Paired(*known, reason=ONE_CLUSTER)
    alone, reach = float(change.std(ddof=1)) / np.sqrt(a.size), _reach(a[has_a], b[has_b])
    rare = interval.stderr == 0 or hardly_vary(change, clusters)
    test, p_value = CLUSTERED_T, _student_p(difference, interval.stderr, count - 1)
    if rare:
        p_value = max(p_value, _rare_p(difference, count, reach))
    if whole and count == a.size and _binary(a) and _binary(b):
        test, p_value = MCNEMAR, mcnemar(int((change > 0).sum()), int((change < 0).sum()))
    effect = float((interval.stderr / alone) ** 2) if varies(alone, change) else None
    return Paired(*known, test, interval.stderr, p_value, count - 1, design_effect=effect, reach=reach, rare=rare)


def _expanded(a: FloatArray, b: FloatArray, mean_a: float, mean_b: float) -> FloatArray:
    """[n] what each sample adds to the difference of two means over different samples, to first order."""
    own_a, own_b = (
        changes(np.full_like(values, mean), np.where(np.isfinite(values), values, mean)) / np.isfinite(values).mean()
        for values, mean in ((a, mean_a), (b, mean_b))
    )
    expanded: FloatArray = _change(mean_a, mean_b) + own_b - own_a
    return expanded


def paired_bootstrap(
    a: tuple[FloatArray, Reduce],
    b: tuple[FloatArray, Reduce],
    clusters: IntArray,
    *,
    values: tuple[float, float] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Paired:
    """The difference between two corpus scores over the same samples, both resampled with the same clusters.

    The p-value is 1 less the confidence at which `interval` would just reach 0. With R resamples, of which L lie at or
    below 0 and H at or above, one tail is p' = (1 + min(L, H)) / (R + 1) (the 1s count the result itself among the
    resamples: Davison and Hinkley, 1997, section 4.2), and p = 2 T(Φ⁻¹(p') √((G-1)/G)), 1 at most, where T is the
    distribution of Student's t on G-1 degrees of freedom and G the number of clusters. That has a floor, which t's own
    p-value may go below where no resample reaches 0. The standard error is that of the resamples times √(G/(G-1)),
    as in `clustered_mean`.

    Args:
        a, b: [n, k] sufficient statistics a sample, and [..., k] sums -> [...] scores; k may differ.
        clusters: [n] numbers from 0.
        values: the two scores, where they are known better than from the statistics.
    """
    (statistics_a, reduce_a), (statistics_b, reduce_b) = a, b
    n, count = len(clusters), distinct(clusters)
    if values is None:
        values = float(reduce_a(statistics_a.sum(axis=0))), float(reduce_b(statistics_b.sum(axis=0)))
    if not np.isfinite(values).all():
        return Paired(*values, np.nan, n, count, reason="one of the two has no score")
    known = *values, _change(*values), n, count
    sums = resampled_sums(np.hstack([statistics_a, statistics_b]), clusters, seed=seed, resamples=resamples)
    if sums is None:
        return Paired(*known, reason=ONE_CLUSTER)
    width = statistics_a.shape[1]
    scores_a, scores_b = reduce_a(sums[:, :width]), reduce_b(sums[:, width:])
    both = np.isfinite(scores_a) & np.isfinite(scores_b)
    change = np.sort(changes(scores_a[both], scores_b[both]))
    if change.size < 2:
        return Paired(*known, reason="hardly a resample of the groups has a score")
    stderr, reach = float(change.std(ddof=1)) * _widening(count), _reach(np.array(values))
    if not varies(stderr, change):
        stderr = 0.0
    p_value = _percentile_p(change, count)
    if change[0] > 0 or change[-1] < 0:
        p_value = min(p_value, _student_p(known[2], stderr, count - 1))
    if stderr == 0:
        p_value = _rare_p(known[2], count, reach)
    return Paired(*known, BOOTSTRAP, stderr, p_value, count - 1, change, reach=reach, rare=stderr == 0)


def paired_jackknife(values: tuple[float, float], a: FloatArray, b: FloatArray, *, n: int, clusters: int) -> Paired:
    """The difference between two scores, each known also without every one of the same disjoint parts.

    Args:
        a, b: [p] the scores without each part; the parts must be the same for both.
    """
    known = *values, _change(*values), n, clusters
    if a.size != b.size:
        return Paired(*known, reason=f"the two were cut into {a.size} and {b.size} parts")
    interval = jackknife(known[2], changes(a, b))
    if interval is None:
        return Paired(*known, reason=ONE_CLUSTER if a.size < 2 else "it has no score without one of its parts")
    reach, rare = _reach(np.array(values)), interval.stderr == 0
    p_value = _rare_p(known[2], clusters, reach) if rare else _student_p(known[2], interval.stderr, a.size - 1)
    return Paired(*known, JACKKNIFE, interval.stderr, p_value, a.size - 1, reach=reach, rare=rare)


def changes(a: FloatArray, b: FloatArray) -> FloatArray:
    """[n] b - a, exactly 0 where only rounding tells them apart, as it does where a sum was taken in another order."""
    scale = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0))
    change: FloatArray = np.where(np.isclose(a, b, rtol=1e-9, atol=1e-12 * scale), 0.0, b - a)
    return change


def _change(a: float, b: float) -> float:
    return float(changes(np.array([a]), np.array([b]))[0])


def mcnemar(up: int, down: int) -> float:
    """The two-sided p-value of McNemar's exact test, of the numbers of samples that changed each way."""
    from scipy.stats import binomtest

    return float(binomtest(up, up + down).pvalue) if up + down else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in their order (Holm, 1979): m, m-1, … times the smallest, the next …

    Never less than a smaller one's, and 1 at most.
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    corrected = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1)).clip(max=1)
    result = np.empty_like(values)
    result[order] = corrected
    return [float(value) for value in result]


def _student_p(difference: float, stderr: float, degrees: int) -> float:
    """Two-sided; of what has no spread, as if it had hardly any."""
    if stderr == 0:
        return float(difference == 0)
    from scipy.special import stdtr

    return 2 * float(stdtr(degrees, -abs(difference) / stderr))


def _rare_p(difference: float, clusters: int, reach: float) -> float:
    """Where hardly a cluster differs from the others: at 1 less that confidence `Paired.interval` just reaches 0.

    Of fractions that all went from 0 to 1, say, that is the sign test's 2 / 2^G.
    """
    if difference == 0:
        return 1.0
    reach = max(reach, abs(difference))
    return min(1.0, 2 * (reach / (reach + abs(difference))) ** clusters)


def _percentile_p(change: FloatArray, clusters: int) -> float:
    from scipy.special import ndtri, stdtr

    tail = (1 + min((change <= 0).sum(), (change >= 0).sum())) / (change.size + 1)
    return min(1.0, 2 * float(stdtr(clusters - 1, ndtri(min(tail, 0.5)) / _widening(clusters))))


def _widening(clusters: int) -> float:
    """How much narrower resamples of G clusters spread than new clusters would: √(G/(G-1))."""
    return float(np.sqrt(clusters / (clusters - 1)))


def _reach(*values: FloatArray) -> float:
    """How large a difference between values of that kind could be."""
    known = np.concatenate(values)
    return 1.0 if known.min() >= 0 and known.max() <= 1 else float(np.abs(known).max())


def _binary(values: FloatArray) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())
