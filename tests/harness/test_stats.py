"""Uncertainty, against sums written out by hand and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit
from scipy.stats import binomtest
from tests_support import clustered_bootstrap

from harness.scoring import rows_by_key
from harness.stats import (
    cluster_codes,
    clustered_mean,
    jackknife,
    percentile_interval,
    resampled_sums,
    student,
)


def test_a_clustered_error_by_hand() -> None:
    # Residuals from the mean 0.5 add up to 1, -1 and 0 in the three clusters: 3/2 · (1 + 1 + 0) / 6² = 1/12.
    values = np.array([1.0, 1, 0, 0, 1, 0])
    interval = clustered_mean(values, np.array([0, 0, 1, 1, 2, 2]))
    assert interval is not None
    assert interval.stderr == pytest.approx((1 / 12) ** 0.5)
    # Student's t with 2 degrees of freedom: 4.302653 (any table).
    assert interval.high - 0.5 == pytest.approx(4.302653 * interval.stderr, rel=1e-6)
    assert 0.5 - interval.low == pytest.approx(interval.high - 0.5)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=30))
def test_clusters_of_one_give_the_ordinary_standard_error(values: list[float]) -> None:
    array = np.array(values)
    interval = clustered_mean(array, np.arange(len(values)))
    assert interval is not None
    assert interval.stderr == pytest.approx(array.std(ddof=1) / np.sqrt(len(values)), abs=1e-12)


def test_one_cluster_says_nothing_of_its_spread() -> None:
    assert clustered_mean(np.array([1.0, 0]), np.array([3, 3])) is None
    assert clustered_bootstrap(np.ones((2, 1)), lambda sums: sums[..., 0], np.array([3, 3])) is None


def test_codes_follow_first_appearance() -> None:
    assert cluster_codes(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def clustered_sample(generator: np.random.Generator, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong answers to 1 to 8 questions a picture, pictures differing in difficulty; their mean is 0.6."""
    sizes = generator.integers(1, 9, clusters)
    difficulty = generator.beta(3, 2, clusters)
    codes = np.repeat(np.arange(clusters), sizes)
    return (generator.random(codes.size) < difficulty[codes]).astype(float), codes


@pytest.mark.parametrize("method", ["analytic", "bootstrap"])
def test_95_percent_of_intervals_cover_the_truth(method: str) -> None:
    generator = np.random.default_rng(1)
    trials = 2_000 if method == "analytic" else 400
    covered = 0
    for _ in range(trials):
        values, codes = clustered_sample(generator, 80)
        if method == "analytic":
            interval = clustered_mean(values, codes)
        else:
            statistics = np.stack([values, np.ones_like(values)], axis=1)
            interval = clustered_bootstrap(
                statistics, lambda sums: sums[..., 0] / sums[..., 1], codes, resamples=400, seed=2
            )
        assert interval is not None
        covered += interval.low <= 0.6 <= interval.high
    slack = 3 * np.sqrt(0.95 * 0.05 / trials)
    assert 0.93 - slack <= covered / trials <= 0.97 + slack


def test_ignoring_clusters_would_not_have_covered() -> None:
    """The case is one that needs clustering: a test of the tests above."""
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(500):
        values, _ = clustered_sample(generator, 80)
        interval = clustered_mean(values, np.arange(values.size))
        assert interval is not None
        covered += interval.low <= 0.6 <= interval.high
    assert covered / 500 < 0.93


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=30))
def test_the_jackknife_of_a_mean_is_its_standard_error(values: list[float]) -> None:
    array = np.array(values)
    without = (array.sum() - array) / (array.size - 1)
    interval = jackknife(array.mean(), without)
    assert interval is not None
    assert interval.stderr == pytest.approx(array.std(ddof=1) / np.sqrt(array.size), abs=1e-9)


def test_a_jackknife_needs_parts_that_have_a_score() -> None:
    assert jackknife(1.0, np.array([1.0])) is None
    assert jackknife(1.0, np.array([1.0, np.nan, 2.0])) is None


def test_resamples_without_a_score_are_left_out() -> None:
    interval = percentile_interval(np.array([1.0, np.nan, 2.0, 3.0]), 9)
    assert interval is not None
    assert interval.stderr == 1
    assert percentile_interval(np.array([1.0, np.nan]), 9) is None


@pytest.mark.parametrize("count", [2, 3, 10, 400])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_spread_seen_is_clopper_and_pearsons_interval(count: int, value: float) -> None:
    codes = np.arange(3 * count) % count
    values = np.full(codes.size, value)
    statistics = np.stack([values, np.ones_like(values)], axis=1)
    oracle = binomtest(round(value) * count, count).proportion_ci(0.9, "exact")
    for interval in (
        clustered_mean(values, codes, 0.9),
        clustered_bootstrap(statistics, lambda sums: sums[..., 0] / sums[..., 1], codes, confidence=0.9),
        jackknife(value, np.full(count, value), 0.9),
    ):
        assert interval is not None
        assert interval.stderr == 0
        assert (interval.low, interval.high) == pytest.approx((oracle.low, oracle.high), abs=1e-12)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("count", [10, 367, 2_000])
def test_a_few_wrong_answers_do_not_make_a_score_surer(count: int, size: int) -> None:
    """By t alone one wrong answer among 367 would have had a higher bound, 0.992, than none, 0.990."""
    codes = np.repeat(np.arange(count), size)
    lows = []
    for wrong in range(min(count, 12)):
        interval = clustered_mean((codes >= wrong).astype(float), codes)
        assert interval is not None
        lows.append(interval.low)
        if 3 < wrong < count / 2:
            reach = student(count - 1, 0.95) * interval.stderr
            assert interval.high - interval.low == pytest.approx(2 * reach)
    assert lows == sorted(lows, reverse=True)
    assert lows[0] == pytest.approx(0.025 ** (1 / count))


@given(st.floats(-10, 10), st.integers(2, 50), st.integers(1, 4))
def test_no_spread_seen_bounds_any_value(value: float, count: int, size: int) -> None:
    codes = np.repeat(np.arange(count), size)
    interval = clustered_mean(np.full(codes.size, value), codes)
    assert interval is not None
    assert interval.stderr == 0
    assert interval.low <= value + 1e-12
    assert interval.high >= value - 1e-12
    share = 1 - 0.025 ** (1 / count)
    wide = 1 if 0 <= value <= 1 else 0
    assert interval.high - interval.low == pytest.approx(share * wide, abs=1e-12)


def test_a_bootstrap_draws_whole_clusters() -> None:
    """With clusters that are all alike there is nothing to vary, however much their samples do."""
    statistics = np.array([[1.0, 0], [0, 4], [1, 0], [0, 4], [1, 0], [0, 4]])
    sums = resampled_sums(statistics, np.array([0, 0, 1, 1, 2, 2]), resamples=50)
    assert sums is not None
    np.testing.assert_array_equal(sums, [[3.0, 12.0]] * 50)
    again = resampled_sums(statistics[:, ::-1], np.array([5, 5, 9, 9, 7, 7]), resamples=50)
    np.testing.assert_array_equal(again, [[12.0, 3.0]] * 50)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999, 0.999999])
@pytest.mark.parametrize("degrees", [1, 2, 30, 299, 300, 301, 42_870, 10**7])
def test_students_quantile(degrees: int, confidence: float) -> None:
    assert student(degrees, confidence) == pytest.approx(stdtrit(degrees, (1 + confidence) / 2), rel=1e-9)


def test_rows_without_a_key_are_of_no_part() -> None:
    found = rows_by_key(["b", "", None, "a", "b", "", " "])
    assert {key: rows.tolist() for key, rows in found.items()} == {" ": [6], "a": [3], "b": [0, 4]}
    assert rows_by_key([None, ""]) == {}
