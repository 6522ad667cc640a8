"""Paired differences, against statsmodels and scipy on the same numbers, against enumeration, and by simulation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harness.paired import (
    BOOTSTRAP,
    CLUSTERED_T,
    JACKKNIFE,
    MCNEMAR,
    changes,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_jackknife,
    paired_mean,
)

Answers = tuple[np.ndarray, np.ndarray, np.ndarray]


def right_or_wrong(generator: np.random.Generator, clusters: int, gain: float = 0.0) -> Answers:
    """Two models' answers to 1 to 9 questions a picture; pictures differ in difficulty, for each model in its own way.

    B is right more often by `gain` in the mean; with 0 the two are equally good.
    """
    codes = np.repeat(np.arange(clusters), generator.integers(1, 10, clusters))
    shared = generator.random(codes.size)
    of_a, of_b = generator.beta(3, 2, clusters)[codes], generator.beta(3, 2, clusters)[codes]
    # Half of the questions' luck is common to both.
    luck = np.where(generator.random(codes.size) < 0.5, shared, generator.random(codes.size))
    return (shared < of_a).astype(float), (luck < of_b * (1 + gain / 0.6)).astype(float), codes


@pytest.mark.parametrize("seed", range(5))
def test_a_clustered_difference_is_statsmodels_regression_on_a_constant(seed: int) -> None:
    linear_model = pytest.importorskip("statsmodels.regression.linear_model", reason="statsmodels is not installed")
    generator = np.random.default_rng(seed)
    codes = generator.permutation(np.repeat(np.arange(30), generator.integers(1, 12, 30)))
    a, b = generator.normal(size=(2, codes.size)) + generator.normal(size=(2, 30))[:, codes]
    found = paired_mean(a, b, codes)
    n, groups = codes.size, 30

    def fitted(**options: object) -> object:
        model = linear_model.OLS(b - a, np.ones(n))
        return model.fit(cov_type="cluster", cov_kwds={"groups": codes, "df_correction": True, **options}, use_t=True)

    # Its small-sample correction is G/(G-1) · (n-1)/(n-k), and a constant alone has k = 1: the very G/(G-1).
    result = fitted()
    assert found.stderr == pytest.approx(float(result.bse[0]), abs=1e-9)
    assert found.p_value == pytest.approx(float(result.pvalues[0]), abs=1e-9)
    for confidence in (0.5, 0.9, 0.95, 0.999):
        assert found.interval(confidence) == pytest.approx(result.conf_int(1 - confidence)[0], abs=1e-9)
    plain = fitted(use_correction=False)
    assert found.stderr == pytest.approx(float(plain.bse[0]) * math.sqrt(groups / (groups - 1)), abs=1e-9)


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=2, max_size=30))
def test_clusters_of_one_give_the_paired_t_test(values: list[tuple[float, float]]) -> None:
    a, b = np.array(values).T
    if np.ptp(b - a) < 1e-6:
        return
    found = paired_mean(a, b, np.arange(a.size))
    if found.rare:  # and no surer than if none had changed
        found = replace(found, rare=False, p_value=min(found.p_value, scipy_stats.ttest_rel(b, a).pvalue))
    oracle = scipy_stats.ttest_rel(b, a)
    assert found.test == (MCNEMAR if set(a) | set(b) <= {0.0, 1.0} else CLUSTERED_T)
    if found.test == CLUSTERED_T:
        assert found.p_value == pytest.approx(oracle.pvalue, abs=1e-9)
    for confidence in (0.9, 0.95):
        assert found.interval(confidence) == pytest.approx(oracle.confidence_interval(confidence), abs=1e-9)
    assert found.design_effect == pytest.approx(1)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_right_and_wrong_answers_without_clusters_take_mcnemars_test(values: list[tuple[bool, bool]]) -> None:
    a, b = np.array(values, float).T
    found = paired_mean(a, b, np.arange(a.size))
    up, down = int((b > a).sum()), int((b < a).sum())
    assert found.test == MCNEMAR
    # The probability, of all ways that the changed samples could have gone, of one no likelier than what happened.
    ways = [math.comb(up + down, k) for k in range(up + down + 1)]
    assert found.p_value == pytest.approx(sum(way for way in ways if way <= ways[up]) / 2 ** (up + down), abs=1e-9)
    assert found.p_value == pytest.approx(mcnemar(down, up))


@pytest.mark.parametrize(
    ("a", "b", "clusters"),
    [
        ([0.0, 1, 1, 0], [1.0, 1, 0, 1], [0, 0, 1, 2]),  # a picture with two questions
        ([0.0, 1, 1, 0], [1.0, 1, 0, 0.5], [0, 1, 2, 3]),  # a value between right and wrong
    ],
)
def test_mcnemars_test_is_for_nothing_else(a: list[float], b: list[float], clusters: list[int]) -> None:
    assert paired_mean(np.array(a), np.array(b), np.array(clusters)).test == CLUSTERED_T


def test_clusters_count_among_samples_with_a_value() -> None:
    """Where only one question of each picture has a value, nothing is clustered."""
    nan = math.nan
    found = paired_mean(
        np.array([0.0, nan, 1, nan, nan, 0]), np.array([1.0, nan, 1, nan, nan, 1]), np.array([0, 0, 1, 1, 2, 2])
    )
    assert (found.n, found.clusters, found.test) == (3, 3, MCNEMAR)
    assert (found.a, found.b, found.difference) == pytest.approx((1 / 3, 1, 2 / 3))


def test_means_over_different_samples_by_hand() -> None:
    """A precision: B says yes to two more of the six, and is wrong there."""
    nan = math.nan
    found = paired_mean(
        np.array([1.0, 1, nan, nan, 1, 0]), np.array([1.0, 1, 0, 0, 1, 0]), np.array([0, 0, 1, 1, 2, 2])
    )
    assert (found.a, found.b, found.difference) == pytest.approx((3 / 4, 1 / 2, -1 / 4))
    assert (found.n, found.clusters, found.test) == (6, 3, CLUSTERED_T)
    # Beside the difference: (b - 1/2) / 1 - (a - 3/4) / (4/6), which adds up to 1/4, -1 and 3/4 in the three.
    assert found.stderr == pytest.approx(math.sqrt(3 / 2 * (1 / 16 + 1 + 9 / 16)) / 6)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_error_of_means_over_different_samples_is_the_bootstraps_of_ratios(missing: float) -> None:
    generator = np.random.default_rng(7)
    a, b, codes = right_or_wrong(generator, 400, gain=0.05)
    a[generator.random(a.size) < missing], b[generator.random(b.size) < 2 * missing] = math.nan, math.nan
    known = [np.stack([np.nan_to_num(array), np.isfinite(array)], axis=1).astype(float) for array in (a, b)]
    resampled, exact = paired_bootstrap((known[0], ratio), (known[1], ratio), codes), paired_mean(a, b, codes)
    assert exact.difference == pytest.approx(resampled.difference)
    assert exact.stderr == pytest.approx(resampled.stderr, rel=0.05)
    assert exact.interval() == pytest.approx(resampled.interval(), abs=0.3 * resampled.stderr)


@given(st.lists(st.tuples(st.floats(-10, 10), st.integers(0, 4)), min_size=4, max_size=30), st.data())
def test_values_missing_in_both_change_nothing(values: list[tuple[float, int]], data: st.DataObject) -> None:
    a, codes = np.array([value for value, _ in values]), np.array([code for _, code in values])
    b = np.array(data.draw(st.lists(st.floats(-10, 10), min_size=a.size, max_size=a.size)))
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=a.size, max_size=a.size)))
    holed = paired_mean(np.where(kept, a, math.nan), np.where(kept, b, math.nan), codes)
    dense = paired_mean(a[kept], b[kept], codes[kept])
    assert repr(holed) == repr(dense)


def claims(generator: np.random.Generator, clusters: int, eagerness: float = 0.0) -> Answers:
    """What two models claim of 1 to 9 objects a picture: 1 where it is so, 0 where not, NaN where none is claimed.

    Both are equally precise; B claims more, and less of it is so, with `eagerness`.
    """
    codes = np.repeat(np.arange(clusters), generator.integers(1, 10, clusters))
    so = np.where(generator.random(codes.size) < 0.5, 1.0, 0.0)
    seen = 2 * so - 1 + generator.normal(0, 0.6, clusters)[codes]
    noise, other = generator.normal(size=(2, codes.size))
    of_b = seen + eagerness + np.where(generator.random(codes.size) < 0.5, noise, other)
    return np.where(seen + noise > 0, so, math.nan), np.where(of_b > 0, so, math.nan), codes


@pytest.mark.parametrize("clusters", [20, 80])
def test_equal_precisions_are_found_to_differ_in_one_case_of_twenty(clusters: int) -> None:
    generator = np.random.default_rng(13)
    found = [paired_mean(*claims(generator, clusters)).p_value <= 0.05 for _ in range(3_000)]
    assert 0.04 <= np.mean(found) <= 0.06


def test_intervals_of_unequal_precisions_cover_the_truth() -> None:
    generator = np.random.default_rng(14)
    truth = paired_mean(*claims(generator, 200_000, 0.8))
    assert truth.difference < -0.08
    assert truth.stderr < 0.001
    covered = 0
    for _ in range(2_000):
        low, high = paired_mean(*claims(generator, 80, 0.8)).interval()
        covered += low <= truth.difference <= high
    assert 0.935 <= covered / 2_000 <= 0.965


def test_a_side_without_a_value() -> None:
    nan = math.nan
    for a, b in (([nan, nan], [1.0, nan]), ([nan, nan], [nan, nan]), ([], [])):
        found = paired_mean(np.array(a), np.array(b), np.arange(len(a)))
        assert (found.p_value, found.interval()) == (None, None)
        assert math.isnan(found.difference)
        assert found.reason == "one of the two has a value of no sample"
    apart = paired_mean(np.array([nan, 1.0]), np.array([0.0, nan]), np.array([0, 1]))
    assert (apart.n, apart.a, apart.b, apart.difference) == (2, 1, 0, -1)


@pytest.mark.parametrize("clusters", [[0, 1, 2, 3], [0, 0, 1, 1]])
@pytest.mark.parametrize("values", [[0.0, 1, 1, 0], [0.25, 1.5, 2.0, 0.1]])
def test_equal_runs_do_not_differ_but_others_may(values: list[float], clusters: list[int]) -> None:
    array, codes = np.array(values), np.array(clusters)
    statistics = np.stack([array, np.ones(4)], axis=1)
    count = len(set(clusters))
    # None of so many clusters differs: of as many or more that differ in truth in a larger share, 1 in 200 shows none.
    bound = 1 - 0.005 ** (1 / count)
    for found, reach in (
        (paired_mean(array, array, codes), max(1, *values)),
        (paired_bootstrap((statistics, ratio), (statistics, ratio), codes), 1),
        (paired_jackknife((1.0, 1.0), array, array, n=4, clusters=count), 1),
    ):
        assert (found.difference, found.stderr, found.p_value) == (0, 0, 1)
        assert found.interval(0.99) == pytest.approx((-reach * bound, reach * bound))
        assert replace(found, reach=0.0).interval(0.99) == (0, 0)


def test_what_rounding_makes_of_equal_values_is_no_difference() -> None:
    a = np.array([0.1 + 0.2, 1 / 3, 1e-17, 0.5])
    b = np.array([0.3, 1 - 2 / 3, 0.0, 0.5])
    assert not np.array_equal(a, b)
    assert not changes(a, b).any()
    found = paired_mean(a, b, np.arange(4))
    assert (found.difference, found.p_value) == (0, 1)
    small = changes(np.array([1e-8, 0.0, 3.0]), np.array([2e-8, 1e-9, 3 - 1e-8]))
    assert small == pytest.approx([1e-8, 1e-9, -1e-8], rel=1e-6)


@pytest.mark.parametrize("count", [2, 3, 10, 400])
def test_clusters_that_all_went_one_way_are_the_sign_test(count: int) -> None:
    zeros, ones, codes = np.zeros(3 * count), np.ones(3 * count), np.arange(3 * count) % count
    oracle = scipy_stats.binomtest(count, count)
    for a, b, sign in ((zeros, ones, 1), (ones, zeros, -1)):
        for found in (paired_mean(a, b, codes), paired_bootstrap(*means(a, b), codes)):
            assert (found.difference, found.stderr) == (sign, 0)
            assert found.p_value == pytest.approx(oracle.pvalue)
            # A share θ of clusters gains and the others lose: the difference is θ - (1 - θ).
            low, high = sorted(sign * np.array(found.interval(0.9)))
            assert low == pytest.approx(2 * oracle.proportion_ci(0.9, "exact").low - 1, abs=1e-9)
            assert high == 1


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("count", [10, 200, 400])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_more_that_changed_are_never_less_sure(count: int, sign: int, confidence: float) -> None:
    """By t alone one that is worse would have been surer to be no loss than none."""
    bounds, p_values = [], []
    for changed in range(min(count // 2, 12)):
        a, b = np.repeat([[float(sign < 0)], [float(sign < 0)]], 2 * count, axis=1)
        b[: 2 * changed] += sign
        found = paired_mean(a, b, np.arange(2 * count) // 2)
        bounds.append(sign * np.array(found.interval(confidence))[::sign])
        p_values.append(found.p_value)
        low, high = found.interval(1 - found.p_value + 1e-6) if found.p_value < 1 else (0, 0)
        assert low <= 0 <= high
    nearer, further = np.array(bounds).T
    assert further.tolist() == sorted(further)
    assert nearer[0] == -further[0] < 0
    assert p_values == sorted(p_values, reverse=True)


@pytest.mark.parametrize(("count", "small"), [(5, True), (300, False)])
def test_a_difference_that_never_varies_is_as_sure_as_its_clusters_are_many(count: int, small: bool) -> None:
    found = paired_mean(np.full(2 * count, 0.1), np.full(2 * count, 0.4), np.arange(2 * count) // 2)
    assert found.difference == pytest.approx(0.3)
    assert (found.stderr, found.design_effect) == (0, None)
    assert (found.p_value > 0.05) == small
    for confidence, touches in ((1 - found.p_value - 1e-6, False), (1 - found.p_value + 1e-6, True)):
        if 0 < confidence < 1:
            low, high = found.interval(confidence)
            assert (low <= 0 <= high) == touches
    large = paired_mean(np.full(6, 100.0), np.full(6, 25.0), np.array([0, 0, 1, 1, 2, 2]))
    assert large.interval()[0] == pytest.approx(-75 - (1 - 0.025 ** (1 / 3)) * 25)


def test_one_cluster_is_no_test() -> None:
    values, codes = np.array([0.0, 1.0, 1.0]), np.array([4, 4, 4])
    statistics = np.stack([values, np.ones(3)], axis=1)
    for found in (
        paired_mean(values, values[::-1], codes),
        paired_bootstrap((statistics, ratio), (statistics[::-1], ratio), codes),
        paired_jackknife((1.0, 2.0), np.array([1.0]), np.array([2.0]), n=3, clusters=1),
    ):
        assert (found.test, found.stderr, found.p_value, found.interval()) == ("", None, None, None)
        assert "of one group" in found.reason


def ratio(sums: np.ndarray) -> np.ndarray:
    """[..., 2] -> a share; a corpus score whose resamples are those of a mean."""
    return np.divide(sums[..., 0], sums[..., 1], out=np.full_like(sums[..., 0], np.nan), where=sums[..., 1] > 0)


def means(a: np.ndarray, b: np.ndarray) -> tuple[tuple[np.ndarray, Callable], tuple[np.ndarray, Callable]]:
    """Two means as corpus scores; B's statistics are of another width and order."""
    ones = np.ones_like(a)
    return (np.stack([a, ones], axis=1), ratio), (
        np.stack([ones, ones * 7, b], axis=1),
        lambda sums: sums[..., 2] / sums[..., 0],
    )


def test_a_paired_bootstrap_of_few_clusters_against_all_their_resamples() -> None:
    """Five clusters have 3,125 resamples: the whole bootstrap distribution is known."""
    generator = np.random.default_rng(0)
    a, b, codes = right_or_wrong(generator, 5, gain=0.2)
    found = paired_bootstrap(*means(a, b), codes, resamples=20_000)
    sums = np.array([np.bincount(codes, weights=column) for column in (a, b, np.ones_like(a))])
    every = np.array([
        (chosen[1] - chosen[0]) / chosen[2]
        for draw in itertools.product(range(5), repeat=5)
        for chosen in [sums[:, list(draw)].sum(axis=1)]
    ])  # fmt: skip
    assert found.test == BOOTSTRAP
    assert found.difference == pytest.approx(b.mean() - a.mean())
    assert found.stderr == pytest.approx(every.std() * math.sqrt(5 / 4), rel=0.03)
    for confidence in (0.5, 0.8):
        tail = scipy_stats.norm.cdf(-math.sqrt(5 / 4) * scipy_stats.t.ppf((1 + confidence) / 2, 4))
        oracle = np.quantile(every, [tail, 1 - tail])
        assert found.interval(confidence) == pytest.approx(oracle, abs=0.01)
    tail = min((every <= 0).mean(), (every >= 0).mean())
    p_value = 2 * scipy_stats.t.cdf(scipy_stats.norm.ppf(tail) * math.sqrt(4 / 5), 4)
    assert found.p_value == pytest.approx(min(1, p_value), abs=0.02)


def test_with_many_clusters_the_bootstrap_of_means_is_the_t_test() -> None:
    generator = np.random.default_rng(3)
    a, b, codes = right_or_wrong(generator, 300, gain=0.02)
    resampled, exact = paired_bootstrap(*means(a, b), codes), paired_mean(a, b, codes)
    assert exact.stderr is not None
    assert exact.p_value is not None
    assert 0.005 < exact.p_value < 0.7
    assert resampled.stderr == pytest.approx(exact.stderr, rel=0.05)
    assert resampled.p_value == pytest.approx(exact.p_value, abs=0.03)
    for confidence in (0.8, 0.95, 0.99):
        assert resampled.interval(confidence) == pytest.approx(exact.interval(confidence), abs=0.3 * exact.stderr)


def test_a_bootstrap_is_seeded_and_its_interval_agrees_with_its_p_value() -> None:
    generator = np.random.default_rng(4)
    for gain in (0.0, 0.03, 0.06, 0.3):
        a, b, codes = right_or_wrong(generator, 60, gain)
        first, again = paired_bootstrap(*means(a, b), codes), paired_bootstrap(*means(a, b), codes)
        assert first.p_value is not None
        assert (first.p_value, first.interval()) == (again.p_value, again.interval())
        assert first.interval() != paired_bootstrap(*means(a, b), codes, seed=1).interval()
        for confidence, touches in ((1 - first.p_value - 0.005, False), (1 - first.p_value + 0.005, True)):
            if 0 < confidence < 1:
                low, high = first.interval(confidence)
                assert (low <= 0 <= high) == touches


def test_a_bootstrap_goes_on_by_t_where_no_resample_lies_so_far_out() -> None:
    generator = np.random.default_rng(5)
    a, b, codes = right_or_wrong(generator, 150, gain=0.4)
    found, exact = paired_bootstrap(*means(a, b), codes), paired_mean(a, b, codes)
    assert exact.p_value < 1e-6
    assert math.log(found.p_value) == pytest.approx(math.log(exact.p_value), rel=0.2)
    reach = scipy_stats.t.ppf(1 - 5e-7, 149) * found.stderr
    assert found.interval(1 - 1e-6) == pytest.approx((found.difference - reach, found.difference + reach))


def test_resamples_without_a_score_are_left_out() -> None:
    """A share of what hardly a cluster has: some resamples have none of it."""
    a = np.array([[1.0, 1], [0, 1], [0, 0], [0, 0], [0, 0]])
    b = np.array([[0.0, 1], [1, 1], [0, 0], [0, 0], [0, 0]])
    found = paired_bootstrap((a, ratio), (b, ratio), np.arange(5))
    assert found.resampled is not None
    assert 500 < found.resampled.size < 2_000
    assert found.p_value == 1
    none = np.zeros((5, 2))
    assert paired_bootstrap((a, ratio), (none, ratio), np.arange(5)).reason == "one of the two has no score"
    given = paired_bootstrap((a, ratio), (none, ratio), np.arange(5), values=(0.5, 0.5))
    assert given.reason == "hardly a resample of the groups has a score"


def test_the_metrics_own_values_stand() -> None:
    generator = np.random.default_rng(6)
    a, b, codes = right_or_wrong(generator, 20)
    found = paired_bootstrap(*means(a, b), codes, values=(0.25, 0.75))
    assert (found.a, found.b, found.difference) == (0.25, 0.75, 0.5)


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=3, max_size=30))
def test_the_paired_jackknife_of_means_is_the_paired_t_test(values: list[tuple[float, float]]) -> None:
    a, b = np.array(values).T
    if np.ptp(b - a) < 1e-3:
        return
    without_a, without_b = ((array.sum() - array) / (array.size - 1) for array in (a, b))
    found = paired_jackknife((a.mean(), b.mean()), without_a, without_b, n=a.size, clusters=a.size)
    oracle = scipy_stats.ttest_rel(b, a)
    assert found.test == JACKKNIFE
    assert found.p_value == pytest.approx(oracle.pvalue, abs=1e-6)
    assert found.interval() == pytest.approx(oracle.confidence_interval(), abs=1e-6)


def test_a_jackknife_needs_the_same_parts() -> None:
    found = paired_jackknife((1.0, 2.0), np.array([1.0, 1.1, 0.9]), np.array([2.0, 2.1]), n=9, clusters=3)
    assert (found.p_value, found.reason) == (None, "the two were cut into 3 and 2 parts")
    found = paired_jackknife((1.0, 2.0), np.array([1.0, 1.1]), np.array([2.0, math.nan]), n=9, clusters=3)
    assert (found.p_value, found.reason) == (None, "it has no score without one of its parts")


def test_holm_by_hand() -> None:
    # 0.01·4, 0.02·3, 0.03·2 (which may not be less than the one before), 0.9·1.
    assert holm([0.03, 0.9, 0.01, 0.02]) == pytest.approx([0.06, 0.9, 0.04, 0.06])
    assert holm([0.4, 0.5]) == pytest.approx([0.8, 0.8])
    assert holm([0.7, 0.6]) == pytest.approx([1, 1])
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_against_its_definition(p_values: list[float]) -> None:
    """A hypothesis falls at a level where it and all smaller ones pass their steps; its corrected p-value is the
    smallest such level."""
    corrected = holm(p_values)
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(order):
        steps = [(len(order) - earlier) * p_values[order[earlier]] for earlier in range(rank + 1)]
        assert corrected[place] == pytest.approx(min(1, max(steps)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=50)
def test_holm_is_statsmodels(p_values: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    assert holm(p_values) == pytest.approx(multitest.multipletests(p_values, method="holm")[1], abs=1e-9)


def test_one_true_null_hypothesis_in_twenty_is_rejected() -> None:
    """And more than one in eight if the clusters are ignored, so that the case is one that needs them."""
    generator = np.random.default_rng(11)
    trials, clustered, alone, crossed = 4_000, 0, 0, 0
    for _ in range(trials):
        a, b, codes = right_or_wrong(generator, 80)
        found = paired_mean(a, b, codes)
        low, high = found.interval(0.95)
        clustered += found.p_value <= 0.05
        crossed += not low <= 0 <= high
        alone += mcnemar(int((b > a).sum()), int((b < a).sum())) <= 0.05
    assert clustered == crossed
    assert 0.04 <= clustered / trials <= 0.06
    assert alone / trials > 0.125


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [12, 80])
def test_one_true_null_hypothesis_in_twenty_is_rejected_by_the_bootstrap(clusters: int) -> None:
    generator = np.random.default_rng(12)
    trials = 2_000
    rejected = 0
    for _ in range(trials):
        a, b, codes = right_or_wrong(generator, clusters)
        rejected += paired_bootstrap(*means(a, b), codes, resamples=1_000).p_value <= 0.05
    assert 0.04 <= rejected / trials <= 0.06
