"""Who is told of runs, and what they see of them: by a tracker of somebody else's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command

from harness import Listener, open_session

EVALUATE = ("eval", "--model", "acme-parrot:last,look=4", "--bench", "acme-trivia")
POLICY = "gates:\n  ship:\n    require:\n      - {score: acme-trivia.exact, min: 0.3}\n"


@pytest.fixture
def settings(workspace: Path, trivia: Path) -> Path:
    with (workspace / "benchmarks.yaml").open("a") as file:
        file.write(POLICY)
    return workspace / "harness.toml"


def diary(workspace: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workspace / "home" / "diary.jsonl").read_text().splitlines()]


def test_a_tracker_is_told_of_runs_and_verdicts(settings: Path, cli: Command, workspace: Path) -> None:
    settings.write_text('trackers = ["acme-diary"]\n')
    (run,) = json.loads(cli(*EVALUATE, "--json").stdout)["runs"]
    verdict = json.loads(cli("gate", run["run"], "--policy", "ship", "--json").stdout)
    assert cli(*EVALUATE).returncode == 0
    finished, judged, again = diary(workspace)
    assert finished == again
    assert finished["run"] == {**run, "benchmark": {**run["benchmark"], "data": ""}}
    assert finished["facts"].keys() == {"python", "platform", "distributions", "plugins", "git"}
    assert judged == {"verdict": verdict, "runs": [run["run"]]}
    first, last = finished["samples"]
    assert (first["sample_id"], last["sample_id"]) == ("q0", "q39")
    assert first["answer"] == first["question"].split()[-1]
    assert first["pictures"] == [[6, 5]]  # 10 × 8 pixels, no side longer than 6
    assert first["heatmaps"] == {"budget": "0 … 9"}
    assert str(workspace) not in (workspace / "home" / "diary.jsonl").read_text()


def test_without_its_data_a_run_is_told_without_pictures(settings: Path, cli: Command, workspace: Path) -> None:
    (run,) = json.loads(cli(*EVALUATE, "--json").stdout)["runs"]
    shutil.rmtree(workspace / "trivia")
    settings.write_text('trackers = ["acme-diary"]\n')
    with open_session() as session:
        reported = session.rescore(run["run"])
        stored = session.store.get(run["run"])
        session._track(stored, reported, Listener())
    (finished,) = diary(workspace)
    assert finished["samples"][0]["answer"]
    assert finished["samples"][0]["pictures"] == []


def test_a_tracker_costs_no_result(settings: Path, cli: Command, workspace: Path) -> None:
    settings.write_text('[trackers.acme-diary]\nmood = "angry"\n')
    result = cli(*EVALUATE)
    assert result.returncode == 0
    assert "tracker 'acme-diary': RuntimeError: not today" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trackers.acme-diary]\nsample = 3\n", "trackers.acme-diary: unknown key 'sample' (did you mean 'samples'?)"),
        ("[trackers.acme-diary]\nzzz = 3\n", "trackers.acme-diary: unknown key 'zzz' (known: mood, samples)"),
        ('trackers = ["acme-dairy"]\n', "unknown tracker 'acme-dairy' (did you mean 'acme-diary'?)"),
        ("[trackers.wandb]\nsamples = -1\n", "trackers.wandb: Expected `int` >= 0 - at `$.samples`"),
        ("[trackers.wandb]\nentiti = 'team'\n", "trackers.wandb: unknown key 'entiti' (did you mean 'entity'?)"),
    ],
)
def test_wrong_options_are_told_and_the_result_is_there(
    settings: Path, cli: Command, workspace: Path, text: str, message: str
) -> None:
    settings.write_text(text)
    result = cli(*EVALUATE, "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout)["runs"]
    assert message in result.stderr
    synced = cli("track", "sync")
    assert synced.returncode == 2
    assert message in synced.stderr


def test_where_nothing_was_told_nothing_is_left(settings: Path, cli: Command) -> None:
    settings.write_text('trackers = ["acme-diary"]\n')
    assert cli("track", "sync").returncode == 0
    assert json.loads(cli("track", "list", "--json").stdout) == {"told": []}
