"""Comparing: scores of two runs against differences made by hand, and what must not be paired."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats as scipy_stats
from tests_support import Command, write_trivia

from harness import Entry, MetricInfo, UsageError, hookimpl
from harness.difference import FLIPS_SHOWN, compare_score, find_flips
from harness.paired import holm, paired_bootstrap, paired_mean
from harness.session import open_session
from harness.types import Measured

METRICS = ("exact", "exact_words")


def questions(trivia: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trivia / "trivia.jsonl").read_text().splitlines()]


def answered(
    cli: Command, trivia: Path, name: str, right: Callable[[int], bool], of: Callable[[int], bool] = bool, **how: str
) -> str:
    """The id of a stored run that answers those questions right for which `right(index)` holds."""
    said = [
        {"id": row["id"], "said": row["answers"][0] if right(n) else "?"}
        for n, row in enumerate(questions(trivia))
        if of is bool or of(n)
    ]
    (trivia.parent / name).write_text(json.dumps(said))
    bench = how.get("bench", "acme-trivia")
    scored = cli("score", "--bench", bench, "--results", name, "--allow-partial", "--json")
    assert scored.returncode == 0, scored.stderr
    run: str = json.loads(scored.stdout)["runs"][0]["run"]
    return run


def evaluated(cli: Command, model: str, *more: str) -> str:
    done = cli("eval", "--model", model, "--bench", "acme-trivia", "--json", *more)
    run: str = json.loads(done.stdout)["runs"][0]["run"]
    return run


def compare(cli: Command, *arguments: str) -> tuple[int, Any, str]:
    found = cli("compare", *arguments, "--json")
    return found.returncode, json.loads(found.stdout)["comparisons"] if found.stdout else None, found.stderr


def third(n: int) -> bool:
    return n % 3 == 0


def fifth(n: int) -> bool:
    return n % 5 == 0 or n > 30


@pytest.fixture
def two(cli: Command, trivia: Path) -> tuple[str, str]:
    """Two runs on 40 questions of 10 pictures: A right on every third, B on every fifth and the last nine."""
    return answered(cli, trivia, "third.json", third), answered(cli, trivia, "fifth.json", fifth)


def test_two_runs_against_the_difference_by_hand(cli: Command, two: tuple[str, str]) -> None:
    code, (found,), _ = compare(cli, two[0][:5], two[1], *(f"--metric={name}" for name in METRICS))
    a, b = (np.array([float(right(n)) for n in range(40)]) for right in (third, fifth))
    d, codes = b - a, np.arange(40) // 4
    totals = np.bincount(codes, d - d.mean())
    stderr = np.sqrt(10 / 9 * (totals**2).sum()) / 40
    score = found["scores"]["exact"]
    assert code == 0
    assert (found["a"]["run"], found["b"]["run"]) == two
    assert (found["n"], found["shared"], found["clusters"], found["confidence"]) == (40, 40, 10, 0.95)
    assert found["benchmark"]["protocol"] == "strict"
    assert list(found["scores"]) == ["exact", "exact_words"]
    assert (score["a"], score["b"], score["difference"]) == (a.mean(), b.mean(), pytest.approx(d.mean()))
    assert score["stderr"] == pytest.approx(stderr, abs=1e-9)
    assert score["p_value"] == pytest.approx(2 * scipy_stats.t.sf(abs(d.mean()) / stderr, 9), abs=1e-9)
    assert score["p_value"] == score["p_holm"]
    low, high = scipy_stats.t.interval(0.95, 9, d.mean(), stderr)
    assert (score["low"], score["high"]) == pytest.approx((low, high), abs=1e-9)
    assert (score["test"], score["n"], score["clusters"]) == ("clustered t", 40, 10)
    assert (score["higher_is_better"], score["direction"]) == (True, "better" if d.mean() > 0 else "worse")
    up, down = [f"q{n}" for n in np.flatnonzero(d > 0)], [f"q{n}" for n in np.flatnonzero(d < 0)]
    assert score["flips"] == {
        "better": len(up), "worse": len(down), "same": 40 - len(up) - len(down), "better_ids": up, "worse_ids": down,
    }  # fmt: skip


def test_a_corpus_score_is_resampled(cli: Command, two: tuple[str, str]) -> None:
    _, (found,), _ = compare(cli, *two, "--metric", "exact_words")
    a, b = (np.array([[float(right(n)), 1.0] for n in range(40)]) for right in (third, fifth))

    def share(sums: np.ndarray) -> np.ndarray:
        return sums[..., 0] / sums[..., 1]

    oracle = paired_bootstrap((a, share), (b, share), np.arange(40) // 4)
    score = found["scores"]["exact_words"]
    assert score["test"] == "bootstrap"
    assert (score["p_value"], score["stderr"]) == (oracle.p_value, oracle.stderr)
    assert (score["low"], score["high"]) == oracle.interval()
    assert "flips" not in score


def test_a_breakdown_is_compared_key_by_key(cli: Command, trivia: Path, two: tuple[str, str]) -> None:
    _, (found,), _ = compare(cli, *two)
    parts = found["scores"]["exact"]["by"]["topic"]
    topics = [row["topic"] for row in questions(trivia)]
    assert list(parts) == ["art", "sport"]
    for key, part in parts.items():
        rows = [n for n in range(40) if topics[n] == key]
        a, b = (np.array([float(right(n)) for n in rows]) for right in (third, fifth))
        oracle = paired_mean(a, b, np.array(rows) // 4)
        assert (part["a"], part["b"], part["n"]) == (oracle.a, oracle.b, len(rows))
        assert (part["stderr"], part["p_value"]) == (oracle.stderr, oracle.p_value)


def test_only_samples_that_both_answered_are_paired(cli: Command, trivia: Path) -> None:
    a = answered(cli, trivia, "a.json", third, of=lambda n: n != 6 and n >= 2)
    b = answered(cli, trivia, "b.json", fifth, of=lambda n: n < 38)
    code, (found,), error = compare(cli, a, b, *(f"--metric={name}" for name in (*METRICS, "coverage")))
    rows = [n for n in range(2, 38) if n != 6]
    oracle = paired_mean(*(np.array([float(right(n)) for n in rows]) for right in (third, fifth)), np.array(rows) // 4)
    assert code == 0
    assert (found["n"], found["shared"], found["clusters"]) == (40, 35, 10)
    assert "only 35 of 40 samples were answered by both" in error
    score, corpus, coverage = found["scores"].values()
    assert (score["n"], score["a"], score["b"], score["p_value"]) == (35, oracle.a, oracle.b, oracle.p_value)
    assert "note" not in score
    # What a corpus is made of is what both answered, too.
    assert (corpus["a"], corpus["b"], corpus["n"]) == (oracle.a, oracle.b, 35)
    assert corpus["note"] == "not comparable: only 35 of 40 samples were answered by both"
    # Coverage is over all samples.
    assert (coverage["a"], coverage["b"], coverage["n"]) == (37 / 40, 38 / 40, 40)
    assert coverage["flips"]["better_ids"] == ["q0", "q1", "q6"]
    assert coverage["flips"]["worse_ids"] == ["q38", "q39"]


def test_a_failure_is_no_answer(cli: Command, trivia: Path) -> None:
    a = evaluated(cli, "acme-parrot:last,fail=What3")
    b = evaluated(cli, "acme-parrot:last,fail=What7")
    code, (found,), _ = compare(cli, a, b)
    assert code == 0
    assert found["shared"] == 38
    assert found["scores"]["exact"]["direction"] == "equal"
    assert found["scores"]["coverage"]["flips"] == {
        "better": 1, "worse": 1, "same": 38, "better_ids": ["q3"], "worse_ids": ["q7"],
    }  # fmt: skip


def test_without_clusters_right_and_wrong_are_mcnemars(cli: Command, trivia: Path) -> None:
    rows = [{key: row[key] for key in ("id", "question", "answers")} for row in questions(trivia)]
    (trivia / "trivia.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    a, b = answered(cli, trivia, "a.json", third), answered(cli, trivia, "b.json", fifth)
    _, (found,), _ = compare(cli, a, b)
    up = sum(fifth(n) and not third(n) for n in range(40))
    down = sum(third(n) and not fifth(n) for n in range(40))
    score = found["scores"]["exact"]
    assert score["test"] == "McNemar"
    assert score["p_value"] == pytest.approx(scipy_stats.binomtest(up, up + down).pvalue, abs=1e-9)


def test_equal_runs(cli: Command, two: tuple[str, str]) -> None:
    code, (found,), error = compare(cli, two[0], two[0])
    assert code == 0
    assert f"A and B are the same run, {two[0]}" in error
    for score in found["scores"].values():
        assert (score["difference"], score["p_value"], score["low"], score["high"]) == (0, 1, 0, 0)
        assert score["direction"] == "equal"
    assert found["scores"]["exact"]["flips"]["same"] == 40


def test_what_is_equal_of_different_models_may_differ_on_other_samples(cli: Command, trivia: Path) -> None:
    a = answered(cli, trivia, "a.json", third)
    rows = questions(trivia)
    said = [{"id": row["id"], "said": row["answers"][0] if third(n) else "!"} for n, row in enumerate(rows)]
    (trivia.parent / "b.json").write_text(json.dumps(said))
    b = json.loads(cli("score", "--bench", "acme-trivia", "--results", "b.json", "--json").stdout)["runs"][0]["run"]
    code, (found,), _ = compare(cli, a, b)
    exact, coverage = found["scores"]["exact"], found["scores"]["coverage"]
    assert code == 0
    assert (exact["difference"], exact["p_value"], exact["direction"]) == (0, 1, "equal")
    assert (exact["low"], exact["high"]) == pytest.approx((-(1 - 0.025**0.1), 1 - 0.025**0.1))
    # All were answered by both, which is counted.
    assert (coverage["low"], coverage["high"]) == (0, 0)


def test_equal_answers_of_one_model_are_equal(cli: Command, trivia: Path) -> None:
    runs = evaluated(cli, "acme-parrot:last"), evaluated(cli, "acme-parrot:last", "--batch", "4")
    assert runs[0] != runs[1]
    _, (found,), _ = compare(cli, *runs)
    scores = found["scores"]["exact"], *found["scores"]["exact"]["by"]["topic"].values()
    assert [(score["low"], score["high"]) for score in scores] == [(0, 0)] * 3


def test_one_cluster_is_no_test(cli: Command, trivia: Path) -> None:
    rows = [{**row, "group": "g"} for row in questions(trivia)]
    (trivia / "trivia.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    a, b = answered(cli, trivia, "a.json", third), answered(cli, trivia, "b.json", fifth)
    code, (found,), error = compare(cli, a, b)
    score = found["scores"]["exact"]
    assert code == 3
    assert (score["p_value"], score["p_holm"], score["low"], score["test"]) == (None, None, None, None)
    assert score["difference"] != 0
    assert "acme-trivia: exact: not tested: all samples are of one group" in error


def test_what_differs_is_named(cli: Command, trivia: Path) -> None:
    plain, polite = evaluated(cli, "acme-parrot:last"), evaluated(cli, "acme-parrot:last", "--profile", "polite")
    limited = evaluated(cli, "acme-parrot:first", "--limit", "8")
    file = answered(cli, trivia, "a.json", third)
    for picture in trivia.glob("*.jpg"):
        picture.write_bytes(next(trivia.glob("0.jpg")).read_bytes())
    repainted = evaluated(cli, "acme-parrot:last")
    rows = [{**row, "answers": ["x"]} for row in questions(trivia)]
    (trivia / "trivia.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rewritten = evaluated(cli, "acme-parrot:last")
    for other, fields in (
        (polite, ["profile differs ('plain' and 'polite')", "prompt digest differs ("]),
        (limited, ["limit differs (None and 8)", "prompt digest differs ("]),
        (file, ["profile differs ('plain' and 'results')"]),
        (repainted, ["cannot be compared: digest of the pictures differs ("]),
        (rewritten, ["cannot be compared: data digest differs ("]),
    ):
        code, found, error = compare(cli, plain, other)
        assert (code, found) == (2, None)
        assert f"runs {plain} (acme-parrot:last) and {other} (" in error
        for field in fields:
            assert field in error
    # A model without pictures is a floor for one with them.
    assert compare(cli, evaluated(cli, "acme-parrot:first,image=none"), rewritten)[0] == 0


def test_unfinished_and_empty_runs_are_refused(cli: Command, workspace: Path, two: tuple[str, str]) -> None:
    empty = evaluated(cli, "acme-parrot:last,fail=is")
    whole = evaluated(cli, "acme-parrot:last")
    code, found, error = compare(cli, whole, empty)
    assert (code, found) == (3, None)
    assert f"run {empty} (acme-parrot:last,fail=is on acme-trivia) answered none of its 40 samples" in error
    with open_session(workspace / "home") as session, session.database.transaction() as connection:
        connection.execute("UPDATE runs SET status = 'running' WHERE id = ?", (two[0],))
    code, found, error = compare(cli, *two)
    assert (code, found) == (3, None)
    assert f"run {two[0]} (results:third.json on acme-trivia) is not complete: 40 of 40 samples were asked" in error
    code, _, error = compare(cli, "results:third.json", two[1])
    assert code == 2
    assert f"'results:third.json' has no complete run; not complete: {two[0]} on acme-trivia" in error


def test_nothing_answered_by_both(cli: Command, trivia: Path) -> None:
    a = answered(cli, trivia, "a.json", third, of=lambda n: n < 20)
    b = answered(cli, trivia, "b.json", third, of=lambda n: n >= 20)
    code, found, error = compare(cli, a, b)
    assert (code, found) == (3, None)
    assert f"no sample was answered both by run {a} and by run {b}" in error


@pytest.mark.parametrize(
    ("metric", "reason"),
    [("acme-nan", "the metric gave nan"), ("acme-raises", "ZeroDivisionError: nothing to divide by")],
)
def test_a_score_that_fails_is_never_a_result(cli: Command, two: tuple[str, str], metric: str, reason: str) -> None:
    code, (found,), error = compare(cli, *two, "--metric", "exact", "--metric", metric)
    assert code == 3
    assert found["uncompared"] == {metric: reason}
    assert list(found["scores"]) == ["exact"]
    assert f"acme-trivia: no {metric}: {reason}" in error


def test_no_value_in_one_run_is_no_result(cli: Command, trivia: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from acme_vlm.metric import Exact

    def where_right(self: object, pairs: Any, protocol: str) -> dict[str, Measured]:
        values = [1.0 if pair.answer in pair.sample.references else np.nan for pair in pairs]
        return {"exact": Measured(0.5, np.array(values))}

    monkeypatch.setattr(Exact, "compute", where_right)
    a, b = answered(cli, trivia, "a.json", third), answered(cli, trivia, "b.json", lambda n: False)
    code, (found,), _ = compare(cli, a, b)
    assert (code, list(found["scores"])) == (3, ["coverage"])
    assert found["uncompared"] == {"exact": "one of the two has a value of no sample"}


def test_nothing_to_measure_is_no_fault_beside_a_result(cli: Command, two: tuple[str, str]) -> None:
    code, (found,), _ = compare(cli, *two, "--metric", "exact", "--metric", "acme-nothing")
    assert (code, found["inapplicable"], found["uncompared"]) == (0, ["acme-nothing"], {})
    assert compare(cli, *two, "--metric", "acme-nothing")[0] == 3
    code, (found,), _ = compare(cli, *two, "--metric", "coverage")
    assert (code, list(found["scores"])) == (0, ["coverage"])


def test_models_stand_for_their_newest_runs(cli: Command, trivia: Path) -> None:
    first, last = evaluated(cli, "acme-parrot:first"), evaluated(cli, "acme-parrot:last")
    blind = evaluated(cli, "acme-parrot:last,image=none")
    failing = evaluated(cli, "acme-parrot:last,fail=What3")
    file = answered(cli, trivia, "said.json", third)

    def sides(*arguments: str) -> tuple[str, str]:
        code, (found,), error = compare(cli, *arguments)
        assert code == 0, error
        return found["a"]["run"], found["b"]["run"]

    assert sides("acme-parrot:first", "acme-parrot:last") == (first, last)
    assert sides("acme-parrot:first", "acme-parrot:last,image=none") == (first, blind)
    assert sides("acme-parrot:last,fail=What3", last[:8]) == (failing, last)
    # `sleep` does not change what the parrot says, so that it is the same model.
    assert sides("acme-parrot:first", "acme-parrot:last,sleep=0.001") == (first, last)
    assert sides("results:said.json", f"results:{trivia.parent}/said.json") == (file, file)
    # The newest that can be paired: that of the other is of all samples.
    limited = evaluated(cli, "acme-parrot:last", "--limit", "8")
    assert sides("acme-parrot:first", "acme-parrot:last") == (first, last)
    assert sides(evaluated(cli, "acme-parrot:first", "--limit", "8"), "acme-parrot:last")[1] == limited
    # Of those that can be, runs of all samples, though there are newer ones.
    assert sides("acme-parrot:first", "acme-parrot:last") == (first, last)
    again = evaluated(cli, "acme-parrot:last", "--batch", "4")
    assert sides("acme-parrot:first", "acme-parrot:last") == (first, again)
    code, _, error = compare(cli, "acme-parrot:first", "results:said.json")
    assert code == 2
    assert "profile differs ('plain' and 'results')" in error


def test_a_limited_run_says_so(cli: Command, trivia: Path) -> None:
    a, b = (evaluated(cli, f"acme-parrot:{which}", "--limit", "8") for which in ("first", "last"))
    assert "acme-trivia: only the first 8 samples were evaluated" in compare(cli, "acme-parrot:first", b)[2]
    _, (found,), _ = compare(cli, a, b, "--metric", "exact_words")
    assert (found["limit"], found["n"]) == (8, 8)
    assert found["scores"]["exact_words"]["note"] == "not comparable: only the first 8 samples were evaluated"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["acme-parrot:last", "zz"], "unknown run 'zz'"),
        (["acme-parrot", "acme-parrot:last"], "write acme-parrot:REF"),
        (["acme-parot:last", "acme-parrot:last"], "did you mean 'acme-parrot'"),
        (["acme-parrot:last", "acme-parrot:lst"], "did you mean 'last'"),
        (["acme-parrot:last", "acme-parrot:first"], "'acme-parrot:first' has no complete run; there are those of"),
        (["acme-parrot:last", "results:no.json"], "'results:no.json' has no complete run; there are those of"),
        (["acme-parrot:last", "acme-parrot:last", "--bench", "acme-trivi"], "is not of 'acme-trivi'"),
        (["acme-parrot:last", "acme-parrot:last", "--metric", "exat"], "did you mean 'exact'"),
        (["acme-parrot:last", "acme-parrot:last", "--protocol", "lowr"], "did you mean 'lower'"),
        (["acme-parrot:last", "acme-parrot:last", "--confidence", "1"], "1.0 is not in the range 0<x<1"),
        (["acme-parrot:last", "acme-parrot:last", "--confidence", "nan"], "nan is not a finite number"),
        (["acme-parrot:last"], "Missing argument 'B'"),
    ],
)
def test_wrong_ways(cli: Command, trivia: Path, arguments: list[str], message: str) -> None:
    evaluated(cli, "acme-parrot:last")
    found = cli("compare", *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert message in found.stderr
    assert "Traceback" not in found.stderr


def test_a_model_that_has_changed_under_its_name_is_another(cli: Command, workspace: Path, trivia: Path) -> None:
    run = evaluated(cli, "acme-parrot:last")
    with open_session(workspace / "home") as session, session.database.transaction() as connection:
        identity = dict(session.store.get(run).identity)
        identity["model"] = {**identity["model"], "fingerprint": "parrot-0"}
        connection.execute("UPDATE runs SET identity = ?", (msgspec.json.encode(identity).decode(),))
    code, _, error = compare(cli, "acme-parrot:last", "acme-parrot:last")
    assert code == 2
    assert f"it was another checkpoint, or answered otherwise, when it was evaluated as {run}" in error


@pytest.fixture
def quiz(cli: Command, trivia: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A second benchmark of the same kind, with other questions."""
    import acme_vlm

    @hookimpl
    def register_benchmarks() -> list[Entry]:
        return [Entry(name, "questions", "acme_vlm.benchmark:Trivia") for name in ("acme-trivia", "acme-quiz")]

    monkeypatch.setattr(acme_vlm, "register_benchmarks", register_benchmarks)
    (trivia.parent / "benchmarks.yaml").write_text(
        "benchmarks:\n"
        "  acme-trivia: {data: ./trivia, metrics: [exact]}\n"
        "  acme-quiz: {data: ./quiz, metrics: [exact]}\n"
    )
    return write_trivia(trivia.parent / "quiz", n=60)


def test_several_benchmarks_are_corrected_for(cli: Command, trivia: Path, quiz: Path) -> None:
    for folder, bench in ((trivia, "acme-trivia"), (quiz, "acme-quiz")):
        answered(cli, folder, "a.json", third, bench=bench)
        answered(cli, folder, "b.json", lambda n: third(n) or n % 4 == 1, bench=bench)
    code, found, _ = compare(cli, "results:a.json", "results:b.json")
    assert code == 0
    assert [item["benchmark"]["name"] for item in found] == ["acme-quiz", "acme-trivia"]
    scores = [item["scores"]["exact"] for item in found]
    assert [item["p_holm"] for item in scores] == holm([item["p_value"] for item in scores])
    assert scores[0]["p_holm"] > scores[0]["p_value"]
    code, found, _ = compare(cli, "results:a.json", "results:b.json", "--bench", "acme-trivia")
    assert [item["benchmark"]["name"] for item in found] == ["acme-trivia"]
    assert found[0]["scores"]["exact"]["p_holm"] == found[0]["scores"]["exact"]["p_value"]
    printed = cli("compare", "results:a.json", "results:b.json")
    assert printed.returncode == 0
    assert "p (Holm)" in printed.stdout
    assert all(len(line.rstrip()) <= 80 for line in printed.stdout.splitlines())


def test_runs_of_different_benchmarks(cli: Command, trivia: Path, quiz: Path) -> None:
    a = answered(cli, trivia, "a.json", third)
    b = answered(cli, quiz, "b.json", third, bench="acme-quiz")
    code, _, error = compare(cli, a, b)
    assert code == 2
    assert "no benchmark in common: acme-trivia of the one, acme-quiz of the other" in error
    with open_session() as session:
        runs = [session.store.get(run) for run in (a, b)]
        with pytest.raises(UsageError, match=r"benchmark differs \('acme-trivia' and 'acme-quiz'\)"):
            session.comparer.compare(*runs, print)


def test_it_is_said_in_words_that_fit(cli: Command, two: tuple[str, str]) -> None:
    found = cli("compare", *two)
    assert found.returncode == 0
    lines = [line.rstrip() for line in found.stdout.splitlines()]
    assert all(len(line) <= 80 for line in lines)
    assert lines[:2] == [f"A  results:third.json (run {two[0]})", f"B  results:fifth.json (run {two[1]})"]
    (row,) = [line.split() for line in lines if line.startswith(" acme-trivia.exact ") and "…" in line]
    _, (document,), _ = compare(cli, *two)
    score = document["scores"]["exact"]
    assert row[1:4] == [f"{score['a']:.3f}", f"{score['b']:.3f}", f"{score['difference']:+.3f}"]
    assert row[4:7] == [f"{score['low']:+.3f}", "…", f"{score['high']:+.3f}"]
    assert row[7:] == [f"{score['p_value']:.3f}", "–"]
    (flips,) = [line.split() for line in lines if line.startswith(" acme-trivia.exact ") and "clustered" in line]
    counts = [str(score["flips"][key]) for key in ("better", "worse", "same")]
    assert flips[1:] == [*counts, "40", "10", "clustered", "t"]
    more = score["flips"]["better"] - 5
    assert f"acme-trivia.exact: better in {', '.join(score['flips']['better_ids'][:5])} and {more} more" in lines


def test_what_is_hardly_chance_is_called_better_or_worse(cli: Command, trivia: Path) -> None:
    a = answered(cli, trivia, "a.json", lambda n: n % 7 == 0)
    b = answered(cli, trivia, "b.json", lambda n: n % 7 != 0)
    for names, word in (((a, b), "better"), ((b, a), "worse")):
        found = cli("compare", *names, "--metric", "exact")
        (row,) = [line.split() for line in found.stdout.splitlines() if "…" in line]
        assert row[-2:] == ["<0.001", word]


def test_a_hostile_name_is_shown_as_text(cli: Command, trivia: Path) -> None:
    rows = [{**row, "id": f"\x1b[31m{row['id']}\u202e"} for row in questions(trivia)]
    (trivia / "trivia.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    a, b = answered(cli, trivia, "a.json", third), answered(cli, trivia, "b.json", fifth)
    found = cli("compare", a, b)
    assert "\\x1b[31mq5\\u202e" in found.stdout
    assert not {"\x1b", "\u202e"} & set(found.stdout + found.stderr)


def test_other_rules_and_other_confidence(cli: Command, trivia: Path, two: tuple[str, str]) -> None:
    rows = [{"id": row["id"], "said": row["answers"][0].upper()} for row in questions(trivia)]
    (trivia.parent / "loud.json").write_text(json.dumps(rows))
    cli("score", "--bench", "acme-trivia", "--results", "loud.json")
    _, (strict,), _ = compare(cli, two[0], "results:loud.json")
    _, (lower,), _ = compare(cli, two[0], "results:loud.json", "--protocol", "lower", "--confidence", "0.5")
    assert (strict["scores"]["exact"]["b"], lower["scores"]["exact"]["b"]) == (0, 1)
    _, (wide,), _ = compare(cli, two[0], "results:loud.json", "--protocol", "lower", "--confidence", "0.99")
    low, high = (lower["scores"]["exact"][side] for side in ("low", "high"))
    assert wide["scores"]["exact"]["low"] < low < high < wide["scores"]["exact"]["high"]
    assert (lower["confidence"], lower["benchmark"]["protocol"]) == (0.5, "lower")


def test_from_python(cli: Command, workspace: Path, two: tuple[str, str]) -> None:
    with open_session(workspace / "home") as session:
        found = session.comparer.compare(*map(session.store.get, two), print)
    score = found.scores["exact"]
    document = json.loads(msgspec.json.encode(found.document(0.9)))
    # One-sided at 95% is two-sided at 90%.
    assert score.interval(0.9) == pytest.approx(
        (document["scores"]["exact"]["low"], document["scores"]["exact"]["high"])
    )
    assert score.by["topic"]["art"].interval(0.9) is not None
    assert list(found.scores) == ["exact", "coverage"]


# One score


IDS = tuple(f"s{n}" for n in range(6))
CLUSTERS = np.array([0, 0, 1, 1, 2, 2])
BETTER = MetricInfo("fraction", higher_is_better=True)


def compared(a: Measured, b: Measured, info: MetricInfo = BETTER, part: str = "") -> Any:
    return compare_score(a, b, info, IDS, CLUSTERS, part=part)


def of(values: Sequence[float], **more: Any) -> Measured:
    array = np.array(values)
    return Measured(float(np.nanmean(array)), array, **more)


def test_where_lower_is_better_less_is_a_gain() -> None:
    a, b = of([3.0, 1, 1, 5, 2, 2]), of([1.0, 2, 1, 1, 2, 2])
    found = compared(a, b, MetricInfo("seconds", higher_is_better=False))
    assert found.direction == "better"
    assert (found.flips.better_ids, found.flips.worse_ids, found.flips.same) == (("s3", "s0"), ("s1",), 3)
    neither = compared(a, b, MetricInfo("tokens", higher_is_better=None))
    assert (neither.direction, neither.flips) == ("", None)
    assert neither.paired.p_value == found.paired.p_value


def test_flips_are_bounded_and_the_largest_come_first() -> None:
    a, b = np.zeros(100), np.arange(100.0)
    flips = find_flips(a, b, [str(n) for n in range(100)], higher_is_better=True)
    assert (flips.better, flips.worse, flips.same) == (99, 0, 1)
    assert flips.better_ids == tuple(str(n) for n in range(99, 99 - FLIPS_SHOWN, -1))


def test_each_mean_is_over_its_own_samples() -> None:
    nan = np.nan
    found = compared(of([1, 0, nan, 1, 0, 1]), of([1, 1, 1, nan, 0, 1]))
    assert (found.paired.n, found.paired.a, found.paired.b) == (6, 0.6, 0.8)
    assert found.note == "2 samples have a value in one run alone: each mean is over its own"
    assert (found.flips.better, found.flips.worse, found.flips.same) == (1, 0, 3)


def test_a_precision_differs_by_what_is_claimed() -> None:
    """Its values are the truth where something was claimed: where both claim it they cannot differ."""
    nan = np.nan
    found = compared(of([1, nan, 1, nan, 1, nan]), of([1, 0, 1, 0, 1, nan]))
    assert (found.paired.a, found.paired.b, found.direction) == (1, 0.6, "worse")
    assert found.paired.stderr > 0


def test_notes_of_both_runs_are_kept_once() -> None:
    a, b = of([1, 0, 1, 1, 0, 1], incomparable="odd"), of([1, 0, 1, 1, 0, 1], incomparable="odd")
    info = MetricInfo("points", higher_is_better=True, corpus=True)
    assert compared(a, b, info, "only a part").note == "odd; not comparable: only a part"
    assert compared(a, b, BETTER, "only a part").note == "odd"


def test_only_keys_on_which_both_agree_are_compared() -> None:
    keys_a, keys_b = ["x", "x", "y", "y", None, "z"], ["x", "x", "y", "x", "x", "z"]
    found = compared(
        of([1, 0, 1, 1, 0, 1], labels={"kind": keys_a, "more": keys_a}), of([1] * 6, labels={"kind": keys_b})
    )
    assert list(found.by) == ["kind"]
    assert {key: part.paired.n for key, part in found.by["kind"].items()} == {"x": 2, "y": 1, "z": 1}
    assert found.by["kind"]["x"].paired.difference == 0.5
    assert found.by["kind"]["x"].paired.p_value is None


def test_a_jackknife_is_taken_where_there_is_nothing_else() -> None:
    a = Measured(1.0, replicates=np.array([1.0, 1.2, 0.8]))
    b = Measured(2.0, replicates=np.array([2.1, 2.0, 1.7]))
    found = compared(a, b)
    # (p-1)/p Σ(d - mean)² is (p-1)² times the variance of the mean of d.
    stderr = 2 * np.std([1.1, 0.8, 0.9], ddof=1) / np.sqrt(3)
    assert (found.paired.test, found.paired.stderr) == ("jackknife", pytest.approx(stderr))
    assert found.paired.p_value == pytest.approx(2 * scipy_stats.t.sf(1 / stderr, 2))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Measured(1.0), Measured(2.0)),
        (Measured(1.0), of([1, 0, 1, 1, 0, 1])),
        (Measured(1.0, np.ones(6), np.ones((6, 1)), lambda sums: sums[..., 0]), of([2.0] * 6)),
    ],
)
def test_what_cannot_be_tested_is_still_shown(a: Measured, b: Measured) -> None:
    found = compared(a, b).document()
    assert (found["a"], found["b"], found["difference"]) == (a.value, b.value, b.value - a.value)
    assert (found["p_value"], found["low"], found["stderr"]) == (None, None, None)
    assert found["note"].startswith("not tested: it has neither values of single samples nor statistics")


def test_a_part_of_a_corpus_score_is_its_own_corpus() -> None:
    def share(sums: np.ndarray) -> np.ndarray:
        return sums[..., 0] / sums[..., 1]

    labels = {"kind": ["x", "x", "x", "x", "y", "y"]}
    rows = np.array([[1.0, 1], [0, 2], [1, 1], [1, 2], [0, 1], [1, 1]])
    a, b = (Measured(float(share(r.sum(axis=0))), None, r, share, labels) for r in (rows, rows[::-1]))
    found = compared(a, b)
    part = found.by["kind"]["x"].paired
    assert (part.a, part.b) == (3 / 6, pytest.approx(3 / 5))
    assert (part.n, part.clusters, part.test) == (4, 2, "bootstrap")
    assert found.by["kind"]["y"].paired.p_value is None
