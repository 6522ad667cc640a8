"""How many samples a difference takes to be seen, from the error that it had in runs of the same kind."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.errors import Incomplete, UsageError
from harness.paired import Paired
from harness.stats import CONFIDENCE, FloatArray
from harness.types import Score

POWER = 0.8
_MOST = 10**12


@dataclass(frozen=True, slots=True)
class Spread:
    """How uncertain a difference between two runs was.

    Attributes:
        stderr: of the difference, clustered.
        n, clusters: samples that it was made of, and the groups that they fell into.
        design_effect: how many times the variance is what it would be if all samples were independent; None where
            unknown.
    """

    stderr: float
    n: int
    clusters: int
    design_effect: float | None = None

    @classmethod
    def of_pair(cls, found: Paired) -> Spread:
        """That of a difference that was measured.

        Raises:
            Incomplete: it has no error, or none but 0.
        """
        if found.stderr is None:
            raise Incomplete(f"the difference has no error: {found.reason}; choose other runs with --run")
        if found.stderr == 0:
            raise Incomplete("the two runs do not differ in any way that varies; choose other runs with --run")
        return cls(found.stderr, found.n, found.clusters, found.design_effect)

    @classmethod
    def of_one(cls, score: Score, values: FloatArray | None, correlation: float) -> Spread:
        """What is to be expected of two runs that are as uncertain as one: √(2 (1 - correlation)) its error.

        An upper bound at a correlation of 0, since questions that are hard for one model are hard for most.

        Args:
            values: [n] of its samples, NaN where one has none; None where it has no such.
            correlation: of the two runs' errors.

        Raises:
            Incomplete: the score has no error, or none but 0.
        """
        if not score.stderr:
            raise Incomplete("the score of this one run has no error; name two runs with --run")
        known = np.empty(0) if values is None else values[np.isfinite(values)]
        alone = float(known.std(ddof=1)) / math.sqrt(known.size) if known.size > 1 else 0.0
        effect = (score.stderr / alone) ** 2 if alone else None
        return cls(score.stderr * math.sqrt(2 * (1 - correlation)), score.n, score.clusters, effect)


@dataclass(frozen=True, slots=True)
class Sizing:
    """What it takes to detect a difference.

    Attributes:
        effect, power, confidence: a true difference of that size is found in that share of the cases, by a two-sided
            test that finds one where there is none in 1 - confidence of them.
        power_now: the power with as many clusters as there were.
        detectable: the smallest difference that has the wanted power with these.
        needed_clusters: for the wanted power, each with as many samples as there were on average.
        needed_n: samples in them.
        needed_alone: samples where each is a cluster of its own; None where the design effect is unknown.
    """

    effect: float
    power: float
    confidence: float
    power_now: float
    detectable: float
    needed_clusters: int
    needed_n: int
    needed_alone: int | None


def size_for(spread: Spread, effect: float, power: float = POWER, confidence: float = CONFIDENCE) -> Sizing:
    """The size that detects an effect.

    With σ the standard deviation of the samples' differences, d the design effect and z quantiles of the normal
    distribution, it takes about n = d σ² (z_(1-α/2) + z_power)² / effect² samples (Miller, "Adding Error Bars to
    Evals", 2024, section 5; for clusters Donner and Klar, 2000, section 5.2), where d σ² = n · stderr², as measured.
    Instead of z's the quantiles are those of t and noncentral t on a degree of freedom less than clusters, which are
    the test's own.

    Args:
        spread: with a `stderr` above 0 and two clusters or more.

    Raises:
        UsageError: the effect is too small for any number of samples, or the power is no more than any test has.
    """
    require_aim(power, confidence)
    clusters = _clusters(spread, effect, power, confidence)
    n = math.ceil(clusters * spread.n / spread.clusters)
    return Sizing(
        effect,
        power,
        confidence,
        power_of(effect, spread.stderr, spread.clusters, confidence),
        detectable(spread, power, confidence),
        clusters,
        n,
        None if spread.design_effect is None else max(2, math.ceil(n / spread.design_effect)),
    )


def require_aim(power: float, confidence: float) -> None:
    """Refuse a power that a test has of no difference at all.

    Raises:
        UsageError: says how much that is.
    """
    if power <= 1 - confidence:
        raise UsageError(
            f"a power of {power:g} is no aim: at a confidence of {confidence:g} a difference is found in "
            f"{1 - confidence:.4g} of the cases where there is none; ask for more of either"
        )


def power_of(effect: float, stderr: float, clusters: int, confidence: float = CONFIDENCE) -> float:
    """How often the two-sided t test on G - 1 degrees of freedom finds a true difference (Cohen, 1988, section 2.2).

    P(|T| > t_(1-α/2)), where T is noncentral t with the noncentrality effect / stderr.
    """
    from scipy.special import chdtr, nctdtr, stdtrit

    reach = float(stdtrit(clusters - 1, (1 + confidence) / 2))
    shift = abs(effect) / stderr
    upper = 1 - float(nctdtr(clusters - 1, shift, reach))
    if math.isnan(upper):
        # So far out, where T = (Z + shift) / √(χ²/(G-1)), Z is nothing beside the shift.
        upper = float(chdtr(clusters - 1, (clusters - 1) * (shift / reach) ** 2))
    # The other tail's probability is NaN here and there where it is next to nothing.
    return upper + float(np.nan_to_num(nctdtr(clusters - 1, shift, -reach)))


def detectable(spread: Spread, power: float = POWER, confidence: float = CONFIDENCE) -> float:
    """The smallest true difference that is found with that power."""
    from scipy.optimize import brentq

    def lacking(ratio: float) -> float:
        return power_of(ratio, 1.0, spread.clusters, confidence) - power

    top = 1.0
    while lacking(top) < 0:
        top *= 2
    return spread.stderr * float(brentq(lacking, 0.0, top, xtol=1e-9))


def _clusters(spread: Spread, effect: float, power: float, confidence: float) -> int:
    """The fewest clusters that have the power; more have more."""

    def enough(clusters: int) -> bool:
        return power_of(effect, spread.stderr * math.sqrt(spread.clusters / clusters), clusters, confidence) >= power

    high = 2
    while not enough(high):
        if high > _MOST:
            raise UsageError(f"an effect of {effect:g} would take more than {_MOST:.0e} groups of samples")
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
