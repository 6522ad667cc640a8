"""The main job through the command line, with a model, benchmark and metric that the host has never seen."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests_support import Command, write_settings, write_trivia

EVAL = ("eval", "--model", "acme-parrot:last", "--bench", "acme-trivia")


def rows(workspace: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(workspace / "home" / "workspace.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def only_run(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (run,) = json.loads(result.stdout)["runs"]
    return dict(run)


def test_a_strangers_plugin_is_evaluated_through_the_command_line(harness: Command, trivia: Path) -> None:
    listed = json.loads(harness("list", "--json").stdout)
    assert {"acme-parrot"} <= {row["name"] for row in listed["models"]}
    result = harness(*EVAL, "--json")
    assert result.returncode == 0, result.stderr
    run = only_run(result)
    questions = [json.loads(line) for line in (trivia / "trivia.jsonl").read_text().splitlines()]
    right = np.array([row["question"].split()[-1] in row["answers"] for row in questions], dtype=float)
    score = run["scores"]["exact"]
    assert score["value"] == pytest.approx(right.mean())
    groups = np.array([row["group"] for row in questions])
    residuals = [(right[groups == group] - right.mean()).sum() for group in np.unique(groups)]
    count = len(residuals)
    assert score["stderr"] == pytest.approx(np.sqrt(count / (count - 1) * np.square(residuals).sum()) / len(right))
    art = [value for value, row in zip(right, questions, strict=True) if row["topic"] == "art"]
    assert score["by"]["topic"]["art"]["value"] == pytest.approx(np.mean(art))
    assert score["by"]["topic"]["art"]["n"] == len(art)
    assert set(score["by"]["topic"]) == {"art", "sport"}
    assert (run["n"], run["coverage"], score["clusters"], run["failures"]) == (40, 1.0, 10, {})
    assert run["usage"]["kept_fraction"] == pytest.approx(0.5, abs=0.05)


def test_its_command_is_found_and_help_does_not_import_it(harness: Command) -> None:
    assert "Say hello from somebody else's package." in harness("--help").stdout
    assert harness("acme-hello").stdout == "hello from acme\n"


def test_the_table_fits_80_columns_and_names_all_figures(cli: Command, trivia: Path) -> None:
    result = cli(*EVAL, "--model", "acme-parrot:last,image=none")
    assert result.returncode == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    for word in ("acme-trivia.exact", "acme-parrot:last,image=none", "95% interval", "coverage", "tokens", "100.0%"):
        assert word in result.stdout


def test_the_same_command_prints_the_stored_result_without_the_model(cli: Command, trivia: Path) -> None:
    first = only_run(cli(*EVAL, "--json"))
    before = rows(trivia.parent, "SELECT rowid, * FROM runs")
    second = only_run(cli(*EVAL, "--json"))
    assert first == second
    assert rows(trivia.parent, "SELECT rowid, * FROM runs") == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_goes_on_and_equals_an_unbroken_one(
    cli: Command, trivia: Path, third_party: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    workspace = trivia.parent
    command = (*EVAL, "--batch", "4", "--json")
    slow = [option.replace("acme-parrot:last", "acme-parrot:last,sleep=0.3") for option in command]
    environment = {**os.environ, "PYTHONPATH": str(third_party)}
    process = subprocess.Popen([sys.executable, "-P", "-m", "harness", *slow], env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    done = 0
    while not 4 <= done < 40 and time.monotonic() < deadline:
        time.sleep(0.05)
        if (workspace / "home" / "workspace.db").exists():
            done = rows(workspace, "SELECT count(*) FROM sqlite_master WHERE name = 'predictions'")[0][0]
            done = rows(workspace, "SELECT count(*) FROM predictions")[0][0] if done else 0
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    if number != signal.SIGKILL:
        assert b"the same command goes on" in errors
    kept = rows(workspace, "SELECT count(*) FROM predictions")[0][0]
    assert 4 <= kept < 40
    assert kept % 4 == 0
    resumed = cli(*command)  # of the same model, which gives its answers without delay
    assert f"going on after {kept} of 40 samples" in resumed.stderr
    table = "SELECT position, sample, text, prompt_tokens, visual_tokens, generated_tokens, failure FROM predictions"
    broken = rows(workspace, table)
    monkeypatch.setenv("HARNESS_HOME", str(workspace / "unbroken"))
    unbroken = cli(*command)
    connection = sqlite3.connect(workspace / "unbroken" / "workspace.db")
    assert broken == connection.execute(table).fetchall()
    connection.close()
    assert only_run(resumed)["scores"] == only_run(unbroken)["scores"]
    assert only_run(resumed)["run"] == only_run(unbroken)["run"]


def test_a_truncated_picture_is_a_failure_of_its_questions_alone(cli: Command, trivia: Path) -> None:
    picture = trivia / "2.jpg"
    picture.write_bytes(picture.read_bytes()[:300])
    result = cli(*EVAL, "--json")
    assert result.returncode == 3
    run = only_run(result)
    assert run["failures"] == {"unreadable_image": 10}
    assert run["coverage"] == 0.75
    assert run["scores"]["exact"]["n"] == 30
    assert "2.jpg" in result.stderr


def test_a_missing_picture_is_a_failure_and_can_be_asked_about_again(cli: Command, trivia: Path) -> None:
    picture = trivia / "1.jpg"
    held = picture.read_bytes()
    picture.unlink()
    assert only_run(cli(*EVAL, "--json"))["failures"] == {"unreadable_image": 10}
    picture.write_bytes(held)
    mended = cli(*EVAL, "--json")
    assert mended.returncode == 0, "other pictures are another run"
    assert only_run(mended)["coverage"] == 1.0


def test_failures_are_retried_on_request_only(cli: Command, trivia: Path) -> None:
    command = ("eval", "--model", "acme-parrot:last,fail=word3", "--bench", "acme-trivia", "--json")
    first = cli(*command)
    assert first.returncode == 3
    assert only_run(first)["failures"] == {"speechless": 6}
    assert only_run(first)["scores"]["exact"]["n"] == 34
    assert "going on" not in cli(*command).stderr
    assert "going on after 34 of 40" in cli(*command, "--retry-failures").stderr


def test_a_batch_that_raises_costs_only_the_samples_that_do(cli: Command, trivia: Path) -> None:
    result = cli("eval", "--model", "acme-parrot:last,crash=word3", "--bench", "acme-trivia", "--json")
    assert result.returncode == 3
    assert only_run(result)["failures"] == {"generate": 6}
    assert "RuntimeError: the parrot choked on word3" in result.stderr


def test_a_model_that_always_fails_is_given_up(cli: Command, trivia: Path) -> None:
    result = cli("eval", "--model", "acme-parrot:last,crash=is", "--bench", "acme-trivia", "--batch", "2")
    assert result.returncode == 3
    assert "the model gave no output in 5 batches" in result.stderr


def test_limited_runs_say_so_and_are_runs_of_their_own(cli: Command, trivia: Path) -> None:
    write_settings(trivia.parent, ("exact", "exact_words"))
    whole = only_run(cli(*EVAL, "--json"))
    limited = cli(*EVAL, "--limit", "12", "--json")
    run = only_run(limited)
    assert (run["n"], run["limit"]) == (12, 12)
    assert run["run"] != whole["run"]
    assert run["benchmark"]["data_digest"] == whole["benchmark"]["data_digest"]
    assert "note" not in run["scores"]["exact"]
    assert "only the first 12 samples" in run["scores"]["exact_words"]["note"]
    assert only_run(cli(*EVAL, "--limit", "999", "--json"))["run"] == whole["run"], "a limit beyond the end is none"


@pytest.mark.parametrize("change", ["--profile=polite", "--seed=1", "--batch=3"])
def test_what_changes_predictions_changes_the_run(cli: Command, trivia: Path, change: str) -> None:
    assert only_run(cli(*EVAL, "--json"))["run"] != only_run(cli(*EVAL, change, "--json"))["run"]


def test_a_protocol_changes_scores_and_not_predictions(cli: Command, trivia: Path) -> None:
    strict = only_run(cli(*EVAL, "--json"))
    lower = only_run(cli(*EVAL, "--protocol", "lower", "--json"))
    assert strict["run"] == lower["run"]
    assert lower["benchmark"]["protocol"] == "lower"


def test_image_modes_are_the_hosts(cli: Command, trivia: Path) -> None:
    write_trivia(trivia, pictures=4)
    result = cli("eval", *(f"--model=acme-parrot:last,image={mode}" for mode in ("none", "shuffled", "real")),
                     "--bench", "acme-trivia", "--json")  # fmt: skip
    none, shuffled, real = json.loads(result.stdout)["runs"]
    assert none["usage"]["full_visual_tokens_mean"] == 0
    table = "SELECT position, full_visual_tokens FROM predictions JOIN runs ON run = key WHERE id = '{}' ORDER BY 1"
    own = rows(trivia.parent, table.format(real["run"]))
    dealt = rows(trivia.parent, table.format(shuffled["run"]))
    assert all(width != other for (_, width), (_, other) in zip(own, dealt, strict=True)), "none keeps its picture"
    assert sorted(width for _, width in own) == sorted(width for _, width in dealt)


def test_scoring_again_needs_neither_model_nor_data(cli: Command, trivia: Path) -> None:
    run = only_run(cli(*EVAL, "--json"))
    for file in trivia.iterdir():
        file.unlink()
    first = cli("score", run["run"][:6], "--json")
    second = cli("score", run["run"], "--json")
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert only_run(first)["scores"] == run["scores"]


def test_a_metric_that_fails_leaves_the_others_alone(cli: Command, trivia: Path) -> None:
    write_settings(trivia.parent, ("exact", "acme-nan", "acme-raises", "acme-needy"))
    result = cli(*EVAL, "--json")
    assert result.returncode == 3
    run = only_run(result)
    assert set(run["scores"]) == {"exact"}
    assert run["unscored"]["acme-nan"] == "the metric gave nan"
    assert run["unscored"]["acme-raises"] == "ZeroDivisionError: nothing to divide by"
    assert "acme-absent" in run["unscored"]["acme-needy"]
    said = result.stderr.index("will go without acme-needy")
    assert said < result.stderr.index("no acme-nan"), "what is known beforehand is said beforehand"


def test_a_metric_with_nothing_to_measure_is_no_fault(cli: Command, trivia: Path) -> None:
    write_settings(trivia.parent, ("exact", "acme-nothing"))
    result = cli(*EVAL, "--json")
    assert result.returncode == 0
    run = only_run(result)
    assert run["inapplicable"] == ["acme-nothing"]
    assert run["unscored"] == {}


def test_results_bear_the_names_of_this_call(cli: Command, trivia: Path) -> None:
    cli("eval", "--model", "acme-parrot:last", "--bench", "acme-trivia")
    again = only_run(cli("eval", "--model", "acme-parrot:last,sleep=0", "--bench", "acme-trivia", "--json"))
    assert again["model"]["ref"] == "acme-parrot:last,sleep=0"


def test_other_metric_options_make_other_scores(cli: Command, trivia: Path) -> None:
    whole = only_run(cli(*EVAL, "--json"))["scores"]["exact"]["value"]
    write_settings(trivia.parent, ("{exact: {weight: 0.5}}",))
    assert only_run(cli(*EVAL, "--json"))["scores"]["exact"]["value"] == pytest.approx(whole / 2)


def test_a_reader_that_goes_away_is_no_failed_gate(harness: Command, trivia: Path, third_party: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(third_party)}
    for arguments in (["list"], ["list", "--json"], ["describe", "acme-exact"]):
        command = [sys.executable, "-P", "-m", "harness", *arguments]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            assert b"Traceback" not in process.stderr.read()
            assert process.wait(60) == 2, arguments


def test_describe_tells_of_entries_and_runs(cli: Command, trivia: Path) -> None:
    assert "exact (fraction, higher is better)" in cli("describe", "acme-exact").stdout
    run = only_run(cli(*EVAL, "--json"))
    described = json.loads(cli("describe", run["run"], "--json").stdout)
    assert described["runs"][0]["scores"] == run["scores"]
    assert described["facts"]["plugins"]["acme"] == "acme-vlm 1.2.3"
    assert "described" not in described["facts"]
