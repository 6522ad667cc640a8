"""How long answers took, and how much memory they held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from harness import Measured, MetricInfo, Pair
from plugins.metrics.means import mean

PERCENTILES = (50, 90, 95, 99)
TAIL = 5
"""Groups that must be expected beyond a percentile for its interval. Simulated on clustered log-normal times, the
bootstrap's 95% interval holds the truth in 91 to 97% of the cases from there on, and in 46 to 89% below."""
CUTS, REACH = 17, 4.0
"""Times at which a percentile's bootstrap counts, and how many standard errors around the percentile they span."""

Floats = NDArray[np.float64]


class Latency:
    """Time and memory on the device, from `Usage.seconds` and `Usage.peak_bytes`.

    latency_mean: seconds a sample.
    latency_p50, latency_p90, latency_p95, latency_p99: percentiles over the samples, interpolated linearly between
        order statistics (definition 7 of Hyndman and Fan, 1996). The interval is a bootstrap's over groups; there is
        none where fewer than `TAIL` groups are expected beyond the percentile, since what lies there was hardly seen.
    samples_per_second: samples / their summed seconds, so what the device does, waiting for pictures apart.
    peak_memory: bytes, the most that any batch held on the device, the weights included. A maximum has no interval.

    A sample's seconds are its share of its batch's, so the percentiles are those of the shares, and samples of one
    batch vary together, which intervals over groups see only as far as a batch holds whole groups. Samples without
    a time (0 seconds) are left out, and memory is not applicable where no model plugin measured it.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        seconds = MetricInfo("seconds", higher_is_better=False)
        return {
            "latency_mean": seconds,
            **{f"latency_p{percent}": seconds for percent in PERCENTILES},
            "samples_per_second": MetricInfo("samples/s", higher_is_better=True),
            "peak_memory": MetricInfo("bytes", higher_is_better=False),
        }

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        rows, peak, sizes = [], 0, Counter[str]()
        for pair in pairs:
            usage = pair.output.usage
            rows.append(usage.seconds)
            peak = max(peak, usage.peak_bytes)
            sizes[pair.sample.group] += usage.seconds > 0
        seconds = np.array(rows, np.float64)
        timed = seconds > 0
        # Of groups of differing size, as many of equal size would say as much (Kish, 1965).
        groups = sizes.total() ** 2 / max(1, sum(size**2 for size in sizes.values()))
        return {
            "latency_mean": mean(np.where(timed, seconds, np.nan)),
            **{f"latency_p{percent}": percentile(seconds, timed, percent, groups) for percent in PERCENTILES},
            "samples_per_second": _rate(seconds, timed),
            "peak_memory": Measured(float(peak) if peak else None),
        }


def percentile(values: Floats, known: NDArray[np.bool_], percent: float, groups: float) -> Measured:
    """A percentile of [n] values of which some are known.

    Its statistics are counts between `CUTS` values around it, from which it can be read again for any resample, and
    which take less memory than the values' ranks.

    Args:
        groups: how many independent groups the known values are worth.
    """
    if not known.any():
        return Measured(None)
    seen, share = values[known], percent / 100
    value = float(np.percentile(seen, percent))
    if groups * min(percent, 100 - percent) < 100 * TAIL:
        return Measured(value)
    # As if all of a group were equal, which is the widest that its standard error can be.
    error = np.sqrt(share * (1 - share) / groups)
    cuts = np.unique(np.quantile(seen, np.clip(share + np.linspace(-REACH, REACH, CUTS) * error, 0, 1)))
    statistics = np.zeros((values.size, cuts.size + 1))
    statistics[np.flatnonzero(known), np.searchsorted(cuts, seen)] = 1
    return Measured(value, statistics=statistics, reduce=partial(_quantile, share, cuts))


def _quantile(share: float, cuts: Floats, sums: Floats) -> Floats:
    """[..., c + 1] values up to each of [c] cuts, and above all -> [...] quantiles, NaN where there is no value."""
    below = sums.cumsum(axis=-1)
    total = below[..., -1]
    target = (share * total)[..., np.newaxis]
    upper = np.minimum((below[..., :-1] < target).sum(axis=-1, keepdims=True), cuts.size - 1)
    lower = np.maximum(upper - 1, 0)
    start = np.take_along_axis(below, lower, -1)
    width = np.take_along_axis(below, upper, -1) - start
    part = np.divide(target - start, width, out=np.zeros_like(width), where=width > 0).clip(0, 1)
    found: Floats = (cuts[lower] + part * (cuts[upper] - cuts[lower]))[..., 0]
    return np.where(total > 0, found, np.nan)


def _rate(seconds: Floats, timed: NDArray[np.bool_]) -> Measured:
    statistics = np.stack([np.where(timed, seconds, 0), timed], axis=-1).astype(np.float64)
    value = float(_per_second(statistics.sum(axis=0))) if timed.any() else None
    return Measured(value, statistics=statistics, reduce=_per_second)


def _per_second(sums: Floats) -> Floats:
    """[..., 2] summed seconds and samples -> [...] samples a second, NaN where there are none."""
    seconds, samples = sums[..., 0], sums[..., 1]
    return np.divide(samples, seconds, out=np.full_like(seconds, np.nan), where=seconds > 0)
