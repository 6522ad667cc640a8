"""Power, against statsmodels and scipy, and as simulated tests have it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats
from tests_support import Command

from harness.errors import Incomplete, UsageError
from harness.paired import Paired, paired_mean
from harness.power import Spread, detectable, power_of, size_for
from harness.types import Score

CASES = [(0.01, 0.0056, 398), (0.3, 0.2, 9), (2.0, 0.5, 3), (0.02, 0.03, 2), (0.1, 0.005, 40_000), (9.0, 1.0, 2)]


@pytest.mark.parametrize(("effect", "stderr", "clusters"), CASES)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_power_is_the_noncentral_t_tests(effect: float, stderr: float, clusters: int, confidence: float) -> None:
    degrees, shift = clusters - 1, effect / stderr
    reach = scipy_stats.t.ppf((1 + confidence) / 2, degrees)
    oracle = scipy_stats.nct.sf(reach, degrees, shift)
    if shift < 8:  # further out scipy has the other tail as NaN here and there
        oracle += scipy_stats.nct.cdf(-reach, degrees, shift)
    assert power_of(effect, stderr, clusters, confidence) == pytest.approx(oracle, abs=1e-9)
    assert power_of(-effect, stderr, clusters, confidence) == power_of(effect, stderr, clusters, confidence)


@pytest.mark.parametrize("deviation", [0.3, 0.9, 1.7])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_independent_samples_are_statsmodels_paired_t_test(deviation: float, power: float) -> None:
    oracle = pytest.importorskip("statsmodels.stats.power", reason="statsmodels is not installed").TTestPower()
    n, effect = 50, 0.1
    sizing = size_for(Spread(deviation / math.sqrt(n), n, n, 1.0), effect, power)
    assert sizing.power_now == pytest.approx(float(oracle.power(effect / deviation, n, 0.05)), abs=1e-9)
    needed = float(oracle.solve_power(effect / deviation, power=power, alpha=0.05))
    assert sizing.needed_n == sizing.needed_clusters == sizing.needed_alone == math.ceil(needed)
    smallest = float(oracle.solve_power(nobs=n, power=power, alpha=0.05))  # its solver stops at 1e-5
    assert sizing.detectable == pytest.approx(deviation * smallest, rel=1e-5)
    assert float(oracle.power(sizing.detectable / deviation, n, 0.05)) == pytest.approx(power, abs=1e-9)


@pytest.mark.parametrize("spread", [Spread(0.0056, 12_578, 398, 3.2), Spread(0.1, 40, 10, 0.75), Spread(0.02, 100, 2)])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.99])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_size_is_the_smallest_with_the_power(spread: Spread, power: float, confidence: float) -> None:
    effect = 0.015
    sizing = size_for(spread, effect, power, confidence)

    def with_clusters(clusters: int) -> float:
        return power_of(effect, spread.stderr * math.sqrt(spread.clusters / clusters), clusters, confidence)

    assert with_clusters(sizing.needed_clusters) >= power
    assert with_clusters(sizing.needed_clusters - 1) < power
    assert sizing.needed_n == math.ceil(sizing.needed_clusters * spread.n / spread.clusters)
    assert power_of(sizing.detectable, spread.stderr, spread.clusters, confidence) == pytest.approx(power, abs=1e-6)
    assert (sizing.power_now >= power) == (sizing.needed_clusters <= spread.clusters)
    # The textbook's n = d σ² (z + z)² / effect², of which t takes a little more.
    z = sum(scipy_stats.norm.ppf([(1 + confidence) / 2, power]))
    textbook = spread.n * spread.stderr**2 * z**2 / effect**2
    assert 0.999 * textbook <= sizing.needed_n <= textbook * 1.1 + 6 * spread.n / spread.clusters
    if spread.design_effect is not None:
        assert sizing.needed_alone == math.ceil(sizing.needed_n / spread.design_effect)


def test_what_no_number_of_samples_shows() -> None:
    with pytest.raises(UsageError, match="1e-12 would take more than 1e\\+12 groups"):
        size_for(Spread(0.1, 100, 50), 1e-12)


@pytest.mark.parametrize(("power", "confidence"), [(0.04, 0.95), (0.05, 0.95), (0.8, 0.1)])
def test_a_power_that_any_test_has_is_no_aim(power: float, confidence: float) -> None:
    with pytest.raises(UsageError, match=f"a power of {power:g} is no aim: at a confidence of {confidence:g}"):
        size_for(Spread(0.1, 100, 50), 0.1, power, confidence)
    assert size_for(Spread(0.1, 100, 50), 0.1, 1.02 - confidence, confidence).needed_clusters >= 2


@pytest.mark.parametrize("confidence", [0.999, 0.999999])
def test_two_clusters_at_a_high_confidence(confidence: float) -> None:
    """T of two clusters is (Z + shift) / |Z'|, of two normal numbers: its density over Z' is summed up here."""
    spread = Spread(1.0, 4, 2)
    sizing = size_for(spread, 1.0, 0.8, confidence)
    reach = scipy_stats.t.ppf((1 + confidence) / 2, 1)
    for shift in (sizing.detectable, 3e5, 2e6, 1e9):
        # In units of where the threshold crosses the shift, in which all of Z' that matters lies below a few.
        grid = np.linspace(0, 8, 400_001)
        found = scipy_stats.norm.cdf(shift - reach * grid) * 2 * scipy_stats.norm.pdf(grid)
        assert power_of(shift, 1.0, 2, confidence) == pytest.approx(np.trapezoid(found, grid), abs=1e-4)
    assert power_of(sizing.detectable, 1.0, 2, confidence) == pytest.approx(0.8, abs=1e-6)


def answers(generator: np.random.Generator, clusters: int, gain: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two models' answers to 1 to 9 questions a picture; B is right more often by exactly `gain` in the mean."""
    codes = np.repeat(np.arange(clusters), generator.integers(1, 10, clusters))
    luck = generator.random(codes.size)
    other = np.where(generator.random(codes.size) < 0.5, luck, generator.random(codes.size))
    mean = 0.6 + gain
    of_a, of_b = generator.beta(3, 2, clusters)[codes], generator.beta(5 * mean, 5 - 5 * mean, clusters)[codes]
    return (luck < of_a).astype(float), (other < of_b).astype(float), codes


@pytest.mark.parametrize(("gain", "power"), [(0.06, 0.8), (0.12, 0.9)])
def test_power_is_as_predicted(gain: float, power: float) -> None:
    """Predicted from runs without the effect, and then found by the test in as many of the cases."""
    generator = np.random.default_rng(21)
    pilot = paired_mean(*answers(generator, 2_000, 0.0))
    sizing = size_for(Spread.of_pair(pilot), gain, power)
    assert sizing.needed_clusters < 2_000
    for clusters, predicted in ((sizing.needed_clusters, power), (sizing.needed_clusters // 3, None)):
        assert pilot.stderr is not None
        expected = predicted or power_of(gain, pilot.stderr * math.sqrt(2_000 / clusters), clusters)
        found = [paired_mean(*answers(generator, clusters, gain)).p_value <= 0.05 for _ in range(1_500)]
        assert np.mean(found) == pytest.approx(expected, abs=0.05)


def test_ignoring_clusters_would_have_promised_too_much() -> None:
    """The case above is one that needs the design effect."""
    generator = np.random.default_rng(22)
    a, b, codes = answers(generator, 2_000, 0.0)
    clustered, alone = paired_mean(a, b, codes), paired_mean(a, b + 1e-9, np.arange(codes.size))
    assert clustered.design_effect == pytest.approx((clustered.stderr / alone.stderr) ** 2, rel=1e-3)
    sizes = [size_for(Spread.of_pair(found), 0.06).needed_n for found in (clustered, alone)]
    assert sizes[0] > 1.5 * sizes[1]


def test_one_run_bounds_two_from_above() -> None:
    generator = np.random.default_rng(23)
    a, b, codes = answers(generator, 1_000, 0.0)
    of_a = paired_mean(np.zeros_like(a), a, codes)
    score = Score(float(a.mean()), a.size, 1_000, of_a.stderr, 0, 1)
    pair, bound = Spread.of_pair(paired_mean(a, b, codes)), Spread.of_one(score, a, 0.0)
    assert bound.stderr == pytest.approx(of_a.stderr * math.sqrt(2))
    assert bound.design_effect == pytest.approx(of_a.design_effect)
    assert pair.stderr < bound.stderr
    covariance = np.cov(np.bincount(codes, a - a.mean()), np.bincount(codes, b - b.mean()))
    correlation = covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1])
    assert Spread.of_one(score, a, correlation).stderr == pytest.approx(pair.stderr, rel=0.05)


def test_without_an_error_there_is_no_size() -> None:
    for found in (Paired(1, 1, 0, 9, 1, reason="one group"), Paired(1, 1, 0, 9, 3, "t", 0.0, 1.0, 2)):
        with pytest.raises(Incomplete, match="choose other runs with --run"):
            Spread.of_pair(found)
    for stderr in (None, 0.0):
        with pytest.raises(Incomplete, match="name two runs with --run"):
            Spread.of_one(Score(1, 9, 1, stderr), np.ones(9), 0.0)
    assert Spread.of_one(Score(1, 9, 3, 0.5), None, 0.0).design_effect is None
    assert detectable(Spread(1.0, 4, 2), 0.99, 0.99) > 50


# The command


def write(trivia: Path, name: str, right: Any) -> str:
    """A results file that answers those questions right for which `right(index)` holds."""
    rows = [json.loads(line) for line in (trivia / "trivia.jsonl").read_text().splitlines()]
    said = [{"id": row["id"], "said": row["answers"][0] if right(n) else "?"} for n, row in enumerate(rows)]
    path = trivia.parent / name
    path.write_text(json.dumps(said))
    return str(path)


@pytest.fixture
def results(cli: Command, trivia: Path) -> list[str]:
    """Three runs, oldest first: right on every fifth question, every third, and all."""
    runs = []
    for name, step in (("fifth.json", 5), ("third.json", 3), ("all.json", 1)):
        file = write(trivia, name, lambda n, step=step: n % step == 0)
        scored = cli("score", "--bench", "acme-trivia", "--results", file, "--json")
        runs.append(json.loads(scored.stdout)["runs"][0]["run"])
    return runs


def ask(cli: Command, *arguments: str) -> tuple[int, Any, str]:
    found = cli("power", "--bench", "acme-trivia", "--effect", "0.1", *arguments, "--json")
    return found.returncode, json.loads(found.stdout)["power"] if found.stdout else None, found.stderr


def test_the_newest_two_runs_are_taken(cli: Command, results: list[str]) -> None:
    code, (found,), _ = ask(cli)
    assert code == 0
    assert [run["run"] for run in found["runs"]] == results[1:]
    assert found["score"] == "acme-trivia.exact"
    # Of four questions a picture, A has the first of every three; B has all.
    third, codes = np.array([float(n % 3 == 0) for n in range(40)]), np.arange(40) // 4
    pair = paired_mean(third, np.ones(40), codes)
    sizing = size_for(Spread.of_pair(pair), 0.1)
    assert (found["n"], found["clusters"], found["stderr"]) == (40, 10, pytest.approx(pair.stderr))
    assert (found["needed_n"], found["needed_clusters"]) == (sizing.needed_n, sizing.needed_clusters)
    assert found["correlation"] is None


def test_runs_of_all_samples_go_before_newer_ones_of_some(cli: Command, trivia: Path) -> None:
    for limit in ([], ["--limit", "8"]):
        for which in ("first", "last"):
            cli("eval", "--model", f"acme-parrot:{which}", "--bench", "acme-trivia", *limit, "--json")
    code, (found,), _ = ask(cli)
    assert (code, found["n"]) == (0, 40)


def test_runs_can_be_named(cli: Command, results: list[str]) -> None:
    code, (found,), _ = ask(cli, "--run", "results:fifth.json", "--run", results[1][:6], "--power", "0.9")
    assert code == 0
    assert [run["run"] for run in found["runs"]] == results[:2]
    assert found["power"] == 0.9
    both = [ask(cli, "--run", results[0], "--correlation", text)[1][0] for text in ("0", "0.75")]
    assert [len(item["runs"]) for item in both] == [1, 1]
    assert both[0]["stderr"] == pytest.approx(2 * both[1]["stderr"])
    assert both[0]["needed_clusters"] > both[1]["needed_clusters"]
    assert [item["correlation"] for item in both] == [0, 0.75]


def test_it_is_said_in_words_that_fit(cli: Command, results: list[str]) -> None:
    found = cli("power", "--bench", "acme-trivia", "--effect", "0.1", "--run", results[0], "--run", results[1])
    assert found.returncode == 0
    for text in (
        "acme-trivia.exact: a difference of 0.1 at 95% confidence",
        "needed, one sample a group",
        *results[:2],
    ):
        assert text in found.stdout
    alone = cli("power", "--bench", "acme-trivia", "--effect", "0.1", "--run", results[0])
    assert "one run alone: two runs' errors are taken to correlate by 0" in alone.stdout
    assert all(len(line.rstrip()) <= 80 for line in (found.stdout + alone.stdout).splitlines())


def test_any_score_can_be_asked_for(cli: Command, results: list[str]) -> None:
    two = ["--run", results[0], "--run", results[1]]
    code, found, _ = ask(cli, *two, "--metric", "exact_words", "--metric", "exact")
    assert code == 0
    assert {item["score"]: item["design_effect"] is None for item in found} == {
        "acme-trivia.exact_words": True,
        "acme-trivia.exact": False,
    }
    code, _, error = ask(cli, *two, "--metric", "acme-raises")
    assert code == 3
    assert "no acme-raises: ZeroDivisionError: nothing to divide by" in error
    assert "no acme-nan: the metric gave nan" in ask(cli, "--run", results[0], "--metric", "acme-nan")[2]
    assert "nothing to measure" in ask(cli, *two, "--metric", "acme-nothing")[2]


def test_what_cannot_be_sized(cli: Command, trivia: Path, results: list[str]) -> None:
    code, _, error = ask(cli, "--run", results[2])
    assert code == 3
    assert "has no error; name two runs" in error
    code, _, error = ask(cli, "--run", results[0], "--run", results[0])
    assert code == 3
    assert "do not differ" in error


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--bench", "acme-trivia", "--effect", "0.1"], 3, "no complete run of 'acme-trivia' yet"),
        (["--bench", "acme-triva", "--effect", "0.1"], 2, "did you mean 'acme-trivia'"),
        (["--bench", "acme-trivia", "--effect", "0"], 2, "0.0 is not in the range x>0"),
        (["--bench", "acme-trivia", "--effect", "nan"], 2, "nan is not a finite number"),
        (["--bench", "acme-trivia", "--effect", "0.1", "--confidence", "nan"], 2, "nan is not a finite number"),
        (["--bench", "acme-trivia", "--effect", "0.1", "--power", "0.04"], 2, "a power of 0.04 is no aim"),
        (["--bench", "acme-trivia", "--effect", "0.1", "--confidence", "0.1"], 2, "a power of 0.8 is no aim"),
        (["--bench", "acme-trivia", "--effect", "0.1", "--power", "1"], 2, "1.0 is not in the range 0<x<1"),
        (["--bench", "acme-trivia", "--effect", "0.1", "--run", "zz"], 2, "unknown run 'zz'"),
        (["--bench", "acme-trivia", "--effect", "0.1", *["--run", "zz"] * 3], 2, "--run names one run, or two"),
    ],
)
def test_wrong_ways(cli: Command, trivia: Path, arguments: list[str], code: int, message: str) -> None:
    found = cli("power", *arguments)
    assert (found.returncode, found.stdout) == (code, "")
    assert message in found.stderr
