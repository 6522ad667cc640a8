"""`harness sweep` from the outside: the table, the JSON, exit codes, what counts as the same sweep, the report."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command, write_settings, write_trivia

from harness.report.sweep import SweepReport
from harness.work import Work, WorkItem

BOWL = """
name: bowl
method: grid
metric: {{name: loss}}
parameters:
  a: {{values: [3, 1, 2]}}
  b: {{value: {b}}}
command:
  - sh
  - -c
  - 'echo $0 >> seen; test $0 != a=2 -o -f mended && echo "{{\\"loss\\": ${{0#a=}}}}"'
  - ${{args_no_hyphens}}
"""


def test_failed_trials_are_kept_and_tried_again_when_asked(cli: Command, workspace: Path) -> None:
    (workspace / "bowl.yaml").write_text(BOWL.format(b=1))
    result = cli("sweep", "bowl.yaml", "--workers", "2", "--json")
    told = json.loads(result.stdout)
    assert result.returncode == 3
    assert {"trial 0001 is done: loss 3", "trial 0002 is done: loss 1"} < set(result.stderr.splitlines())
    assert "1 of 3 trials failed, such as 0003 (exit code 1" in result.stderr
    assert [(trial["trial"], trial["value"]) for trial in told["trials"]] == [
        ("0002", 1.0),
        ("0001", 3.0),
        ("0003", None),
    ]
    assert told["best"]["parameters"] == {"a": 1, "b": 1}
    (workspace / "mended").touch()
    assert cli("sweep", "bowl.yaml").returncode == 3, "what failed is not tried again by itself"
    assert len((workspace / "seen").read_text().split()) == 3
    result = cli("sweep", "bowl.yaml", "--retry-failed")
    assert result.returncode == 0
    assert "1 trial waits again\n" in result.stderr
    assert len((workspace / "seen").read_text().split()) == 4
    lines = [line.split() for line in result.stdout.splitlines() if line.strip().startswith("000")]
    assert lines == [["0002", "1", "1"], ["0003", "2", "2"], ["0001", "3", "3"]]
    assert "95% interval" not in result.stdout, "none has one"


def test_another_file_is_another_sweep_and_more_trials_are_the_same(cli: Command, workspace: Path) -> None:
    (workspace / "mended").touch()
    (workspace / "bowl.yaml").write_text(BOWL.format(b=1))
    first = json.loads(cli("sweep", "bowl.yaml", "--set", "run_cap=1", "--json").stdout)
    assert first["counts"] == {"all": 1, "done": 1}
    second = json.loads(cli("sweep", "bowl.yaml", "--json").stdout)
    assert (second["sweep"], second["counts"]) == (first["sweep"], {"all": 3, "done": 3})
    (workspace / "bowl.yaml").write_text(BOWL.format(b=2))
    result = cli("sweep", "bowl.yaml", "--json")
    assert json.loads(result.stdout)["sweep"] != first["sweep"]
    assert f"bowl: `parameters:` has changed since {first['sweep']}; this is another sweep" in result.stderr
    listed = json.loads(cli("list", "sweeps", "--json").stdout)["sweeps"]
    assert [(row["trials"], row["best"]) for row in listed] == [(3, 1.0), (3, 1.0)]
    assert "bowl-" in cli("list", "sweeps").stdout
    (workspace / "data.txt").write_text("1")
    (workspace / "reads.yaml").write_text("method: grid\nparameters: {a: {value: 1}}\ncommand: [cat, data.txt]\n")
    assert "changed" not in cli("sweep", "reads.yaml").stderr
    (workspace / "data.txt").write_text("2")
    assert "reads: the file data.txt has changed since reads-" in cli("sweep", "reads.yaml").stderr


def test_evaluations_are_trials_and_end_with_intervals_and_a_report(
    cli: Command, workspace: Path, third_party: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(third_party))
    write_trivia(workspace / "trivia")
    write_settings(workspace)
    (workspace / "it.yaml").write_text("""
method: grid
metric: {name: acme-trivia.exact, goal: maximize}
evaluate: {model: "acme-parrot:last", benchmarks: [acme-trivia]}
parameters: {sleep: {values: [0, 0.001]}, image: {value: none}}
""")
    for wrong, said in {
        "acme-trivia.exat": "unknown score of acme-trivia 'exat' (did you mean 'exact'?)",
        "acme-trivja.exact": "unknown benchmark 'acme-trivja' (did you mean 'acme-trivia'?)",
    }.items():
        result = cli("sweep", "it.yaml", "--set", f"metric.name={wrong}", "--dry-run")
        assert (result.returncode, said in result.stderr) == (2, True), result.stderr
        assert "it.yaml:3: metric: " in result.stderr
    result = cli("sweep", "it.yaml", "--workers", "2", "--report", "it.html", "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    direct = json.loads(cli("eval", "--model", "acme-parrot:last", "--bench", "acme-trivia", "--json").stdout)
    score = direct["runs"][0]["scores"]["exact"]
    for trial in told["trials"]:
        assert [trial[part] for part in ("value", "low", "high")] == [score[part] for part in ("value", "low", "high")]
        assert trial["runs"]
    page = (workspace / "it.html").read_text()
    assert "acme-trivia.exact" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_dry_run_says_what_the_constraints_leave(cli: Command, workspace: Path) -> None:
    (workspace / "bowl.yaml").write_text(BOWL.format(b=1) + "constraints: [a > 1, a < 3]\n")
    result = cli("sweep", "bowl.yaml", "--dry-run")
    assert "a trial: sh -c 'echo $0 >> seen;" in result.stdout
    assert "bowl: grid, 3 points\n  a > 1: leaves 2\n  a < 3: leaves 1\n" in result.stdout
    assert not (workspace / "seen").exists()


def test_a_target_ends_the_search(cli: Command, workspace: Path) -> None:
    (workspace / "mended").touch()
    (workspace / "bowl.yaml").write_text(BOWL.format(b=1).replace("name: loss", "name: loss, target: 1"))
    told = json.loads(cli("sweep", "bowl.yaml", "--workers", "1", "--json").stdout)
    assert told["counts"] == {"all": 3, "done": 2, "waiting": 1}
    assert cli("sweep", "bowl.yaml", "--workers", "1", "--json").returncode == 0
    assert len((workspace / "seen").read_text().split()) == 2, "a target that was reached stays so"


def test_a_metric_that_no_trial_gives_is_said(cli: Command, workspace: Path) -> None:
    (workspace / "mended").touch()
    (workspace / "bowl.yaml").write_text(BOWL.format(b=1).replace("name: loss", "name: los"))
    assert "gave no 'los'; what it gave: loss" in cli("sweep", "bowl.yaml").stderr


def trials(values: list[tuple[dict[str, Any], float | None]], goal: str = "minimize") -> SweepReport:
    names = list(values[0][0])
    document = {"name": "x", "method": "grid", "metric": {"name": "loss", "goal": goal}, "parameters": names,
                "constraints": [], "description": None, "size": None}  # fmt: skip
    items = [
        WorkItem(
            key, 1, f"{key:04d}", {"parameters": point}, "done" if value is not None else "failed", 1, None,
            None if value is None else {"value": value, "low": value - 1, "high": value + 1}, {}, None, "", None, None,
        )
        for key, (point, value) in enumerate(values)
    ]  # fmt: skip
    return SweepReport(Work(1, "sweep", "x-1", document, "2026-01-01T00:00"), items)


def test_importance_is_epsilon_squared() -> None:
    """Against the textbook's formula by a regression on dummies: adjusted R squared."""
    statsmodels = pytest.importorskip("statsmodels.api")
    import numpy as np

    chance = np.random.default_rng(0)
    rows = [({"a": int(a), "b": str(b), "noise": int(n)}, float(2 * a + (b == 1) + chance.normal(0, 0.5)))
            for a, b, n in chance.integers(0, 3, (40, 3))]  # fmt: skip
    found = {item.name: item for item in trials(rows).importances}
    values = np.array([value for _, value in rows])
    for name, item in found.items():
        levels = sorted({str(point[name]) for point, _ in rows})
        dummies = np.array([[str(point[name]) == level for level in levels] for point, _ in rows], dtype=float)
        assert item.share == pytest.approx(max(0.0, statsmodels.OLS(values, dummies).fit().rsquared_adj))
        for label, number, mean in item.groups:
            of_label = [value for point, value in rows if str(point[name]) == label]
            assert (number, mean) == (len(of_label), pytest.approx(sum(of_label) / len(of_label)))
    assert next(iter(found)) == "a"
    assert found["noise"].share < 0.2


def test_a_page_ranks_by_the_goal_and_draws_every_trial(tmp_path: Path) -> None:
    from harness.report.sweep import render_sweep

    rows: list[tuple[dict[str, Any], float | None]] = [
        ({"lr": 10.0**-n, "kind": ["<b>", "y"][n % 2], "same": 1}, float(n)) for n in range(1, 9)
    ]
    report = trials([*rows, ({"lr": 1.0, "kind": "y", "same": 1}, None)], "maximize")
    assert [trial.rank for trial in report.trials] == [*range(1, 9), None]
    assert report.trials[0].value == 8
    assert report.overlapping == 2
    page = render_sweep(report)
    parser = Counting()
    parser.feed(page)
    assert parser.lines == 8
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_a_page_names_no_best_trial_where_all_are_alike(tmp_path: Path) -> None:
    from harness.report.sweep import render_sweep

    report = trials([({"lr": lr, "evaluate": None}, 0.0) for lr in (1, 2)])
    for item in report._items:
        item.result.update(low=None, high=None)
    page = render_sweep(report)
    assert "All 2 trials have the same" in page
    assert "best of 2" not in page
    assert "the best:" not in page
    assert " first" not in page.partition("</style>")[2].partition("<script>")[0]
    assert "95% interval</th>" not in page
    assert "<bdi>null</bdi>" in page
    assert [text for _, text in report.axes[-1].ticks] == ["0"]


class Counting(HTMLParser):
    """How many trials are drawn."""

    lines = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.lines += tag == "polyline" and "trial" in (dict(attrs).get("class") or "")
