"""Times and memory: numpy's percentiles, and bootstraps of the values themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from tests_support import clustered_bootstrap

from harness import Measured, Pair, Usage
from plugins.metrics.latency import PERCENTILES, TAIL, Latency

MakePair = Callable[..., Pair]
Floats = NDArray[np.float64]


@pytest.fixture
def timed(pair: MakePair) -> Callable[..., list[Pair]]:
    def make(seconds: Floats, groups: NDArray[np.int64] | None = None, peaks: list[int] | None = None) -> list[Pair]:
        pairs = []
        for index, each in enumerate(seconds):
            group = index if groups is None else groups[index]
            usage = Usage(seconds=float(each), peak_bytes=peaks[index] if peaks else 0)
            made = pair("", usage=usage, id=str(index))
            pairs.append(replace(made, sample=replace(made.sample, group=str(group))))
        return pairs

    return make


def test_figures_by_hand(timed: Callable[..., list[Pair]]) -> None:
    pairs = timed(np.array([1.0, 2, 3, 0, 4]), peaks=[5, 9, 7, 0, 1])  # the fourth was not timed
    measured = Latency().compute(iter(pairs), "official")
    assert measured.keys() == Latency().info.keys()
    values = {name: item.value for name, item in measured.items()}
    assert values == pytest.approx(
        {
            "latency_mean": 2.5,
            "latency_p50": 2.5,
            "latency_p90": 3.7,
            "latency_p95": 3.85,
            "latency_p99": 3.97,
            "samples_per_second": 0.4,
            "peak_memory": 9,
        }
    )
    rate = measured["samples_per_second"]
    assert rate.statistics is not None
    assert rate.reduce is not None
    drawn = np.array([[1.0, 0, 0, 3, 0], [0, 0, 0, 2, 2], [0, 0, 0, 1, 0]]) @ rate.statistics
    np.testing.assert_array_equal(rate.reduce(drawn), [1, 0.25, np.nan])


@pytest.mark.parametrize("seconds", [[], [0.0, 0.0]])
def test_without_times_nothing_is_said(timed: Callable[..., list[Pair]], seconds: list[float]) -> None:
    measured = Latency().compute(timed(np.array(seconds)), "official")
    assert [item.value for item in measured.values()] == [None] * len(Latency().info)


def test_percentiles_are_numpys(timed: Callable[..., list[Pair]]) -> None:
    seconds = np.random.default_rng(0).lognormal(size=2_001)
    measured = Latency().compute(timed(seconds), "official")
    for percent in PERCENTILES:
        assert measured[f"latency_p{percent}"].value == np.percentile(seconds, percent)


def exact(percent: float, seconds: Floats, groups: NDArray[np.int64]) -> Floats:
    """Percentiles of a thousand resamples of whole groups."""
    generator = np.random.default_rng(0)
    members = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    found = []
    for _ in range(1_000):
        drawn = generator.integers(len(members), size=len(members))
        found.append(np.percentile(seconds[np.concatenate([members[group] for group in drawn])], percent))
    return np.array(found)


def interval(measured: Measured, groups: NDArray[np.int64]) -> tuple[float, float, float]:
    assert measured.statistics is not None
    assert measured.reduce is not None
    found = clustered_bootstrap(measured.statistics, measured.reduce, groups)
    assert found is not None
    return found.stderr, found.low, found.high


@pytest.mark.parametrize("within", [0.05, 1.0])
def test_the_counts_give_the_bootstrap_of_the_values(timed: Callable[..., list[Pair]], within: float) -> None:
    """Whether groups are all alike inside or not, and of whatever size."""
    generator = np.random.default_rng(2)
    sizes = generator.integers(1, 12, size=700)
    groups = np.repeat(np.arange(700), sizes)
    seconds = np.exp(generator.normal(size=700)[groups] + within * generator.normal(size=groups.size))
    measured = Latency().compute(timed(seconds, groups), "official")
    for percent in (50, 90, 99):
        ours = interval(measured[f"latency_p{percent}"], groups)
        truth = exact(percent, seconds, groups)
        expected = (truth.std(), *np.quantile(truth, [0.025, 0.975]))
        np.testing.assert_allclose(ours, expected, rtol=0.12)
        assert measured[f"latency_p{percent}"].value == pytest.approx(np.median(truth), rel=0.05)


def test_equal_times_have_no_spread(timed: Callable[..., list[Pair]]) -> None:
    measured = Latency().compute(timed(np.full(600, 2.5)), "official")
    for percent in PERCENTILES:
        assert interval(measured[f"latency_p{percent}"], np.arange(600)) == (0, 2.5, 2.5)


@pytest.mark.parametrize(("percent", "groups"), [(50, 2 * TAIL), (90, 10 * TAIL), (95, 20 * TAIL), (99, 100 * TAIL)])
def test_where_the_tail_was_hardly_seen_there_is_no_interval(
    timed: Callable[..., list[Pair]], percent: int, groups: int
) -> None:
    seconds = np.random.default_rng(0).lognormal(size=groups)
    enough = Latency().compute(timed(seconds), "official")[f"latency_p{percent}"]
    fewer = Latency().compute(timed(seconds[: groups - 2]), "official")[f"latency_p{percent}"]
    many = np.concatenate([np.zeros(9 * groups, np.int64), np.arange(groups)])  # most in a single group
    uneven = Latency().compute(timed(np.tile(seconds, 10), many), "official")[f"latency_p{percent}"]
    assert enough.statistics is not None
    assert fewer.value is not None
    assert fewer.statistics is None
    assert uneven.statistics is None


@pytest.mark.slow
@pytest.mark.parametrize(("percent", "groups", "size"), [(50, 20, 5), (90, 60, 3), (95, 400, 5), (99, 1_000, 1)])
def test_intervals_hold_the_truth(timed: Callable[..., list[Pair]], percent: int, groups: int, size: int) -> None:
    generator = np.random.default_rng(percent)
    codes = np.repeat(np.arange(groups), size)
    truth = np.exp(0.5 * float(np.sqrt(2) * _inverse_error(2 * percent / 100 - 1)))
    held = 0
    for _ in range(300):
        spread = 0.4 * generator.normal(size=groups)[codes] + 0.3 * generator.normal(size=codes.size)
        measured = Latency().compute(timed(np.exp(spread), codes), "official")[f"latency_p{percent}"]
        _, low, high = interval(measured, codes)
        held += low <= truth <= high
    assert 0.9 <= held / 300 <= 0.98


def _inverse_error(x: float) -> float:
    from scipy.special import erfinv

    return float(erfinv(x))
