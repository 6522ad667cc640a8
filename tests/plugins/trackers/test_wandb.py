"""The W&B tracker, with the genuine SDK, against a server on the loopback."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from logging_proxy import refuse_all_other_hosts
from PIL import Image
from tests_support import Command
from wandb_server import Server

from harness import open_session

PROJECT = "tries"
GATES = """
gates:
  ship:
    require:
      - {score: acme-trivia.exact, min: 0.3}
  dream:
    require:
      - {score: acme-trivia.exact, min: 0.99}
"""
EVALUATE = ("eval", "--model", "acme-parrot:last,look=4", "--bench", "acme-trivia")


@pytest.fixture
def tracked(server: Server, trivia: Path, workspace: Path) -> Server:
    """The server, told of what this workspace evaluates."""
    (workspace / "harness.toml").write_text(
        f'[trackers.wandb]\nproject = "{PROJECT}"\nsamples = 4\ntags = ["nightly"]\n'
    )
    with (workspace / "benchmarks.yaml").open("a") as file:
        file.write(GATES)
    return server


def document_of(cli: Command, *arguments: str) -> dict[str, Any]:
    result = cli(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def told(cli: Command) -> dict[str, Any]:
    (found,) = document_of(cli, "track", "list")["told"]
    return dict(found)


def table(server: Server, run: str, name: str) -> dict[str, Any]:
    files = server.files(f"run-{run}-{name}:latest", PROJECT)
    return {**json.loads(files[f"{name}.table.json"]), "files": files}


def config(server: Server, run: str) -> dict[str, Any]:
    return {key: value["value"] for key, value in json.loads(server.run(run, PROJECT).config).items() if key[0] != "_"}


def summary(server: Server, run: str) -> dict[str, Any]:
    return dict(json.loads(server.run(run, PROJECT).summary_metrics))


def processes(workspace: Path) -> list[str]:
    """Those that were started with a folder of this workspace in their environment; ended ones have none."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(place.name) != os.getpid() and str(workspace).encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_bytes().decode())
    return found


def test_a_run_is_told_with_its_verdict_and_is_one_run(
    tracked: Server, cli: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = workspace / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    result = cli(*EVALUATE, "--json")
    assert result.returncode == 0
    assert "tracker" not in result.stderr, result.stderr
    (run,) = json.loads(result.stdout)["runs"]
    gated = cli("gate", run["run"], "--policy", "ship", "--json")
    assert gated.returncode == 0, gated.stderr
    assert cli(*EVALUATE).returncode == 0  # told again: there is nothing new to tell

    (only,) = tracked.runs(PROJECT)
    assert (only.name, only.display_name) == (run["run"], "acme-parrot:last,look=4 on acme-trivia")
    assert len(only.history_rows()) == 1
    assert (only.job_type, only.group, only.state) == ("evaluation", "acme-parrot:last,look=4", "finished")
    assert set(only.tags) == {"acme-trivia", "plain", "strict", "nightly"}
    score = run["scores"]["exact"]
    figures = summary(tracked, run["run"])
    assert figures["acme-trivia.exact"] == pytest.approx(score["value"])
    assert figures["acme-trivia.exact/low"] == pytest.approx(score["low"])
    assert figures["acme-trivia.exact/high"] == pytest.approx(score["high"])
    for key, part in score["by"]["topic"].items():
        assert figures[f"acme-trivia.exact.topic.{key}"] == pytest.approx(part["value"])
    assert figures["acme-trivia.coverage"] == 1
    assert figures["verdict/ship"] == "pass"
    kinds = {name: value["_type"] for name, value in figures.items() if isinstance(value, dict) and "_type" in value}
    assert kinds == {
        **dict.fromkeys(("evaluation_summary", "breakdowns", "samples", "verdict/ship/findings"), "table-file"),
        "maps/budget": "image-file",
    }
    said = config(tracked, run["run"])
    assert said["harness_run"] == run["run"]
    assert said["benchmark"] == {**run["benchmark"], "data": ""}
    assert said["model"] == run["model"]
    assert said["verdicts"]["ship"]["id"] == json.loads(gated.stdout)["id"]
    assert said["plugins"]["acme"] == "acme-vlm 1.2.3"

    scores = table(tracked, run["run"], "evaluation_summary")
    (row,) = [dict(zip(scores["columns"], row, strict=True)) for row in scores["data"]]
    assert (row["benchmark"], row["metric"], row["unit"]) == ("acme-trivia", "exact", "fraction")
    assert (row["value"], row["low"], row["high"]) == pytest.approx((score["value"], score["low"], score["high"]))
    samples = table(tracked, run["run"], "samples")
    rows = [dict(zip(samples["columns"], row, strict=True)) for row in samples["data"]]
    assert [row["sample_id"] for row in rows] == ["q0", "q13", "q26", "q39"]  # evenly spaced
    for row in rows:
        assert row["answer"] == row["question"].split()[-1]
        assert row["score_exact"] == float(row["references"] == [row["answer"]])
        for column in ("picture", "heatmap_budget"):
            image = Image.open(io.BytesIO(samples["files"][row[column]["path"]]))
            assert image.size == (10 + int(row["sample_id"][1:]) % 4, 8)
            kept = workspace / "home" / "trackers" / "wandb" / "runs" / run["run"] / "pictures"
            assert samples["files"][row[column]["path"]] in [path.read_bytes() for path in kept.iterdir()]
    findings = [name for name in tracked.state.projects[tracked.entity, PROJECT].collections if "findings" in name]
    assert len(findings) == 1

    private = [str(Path.home()), str(workspace), os.environ["WANDB_API_KEY"], "trivia/"]
    for word in private:
        assert word.encode() not in tracked.received(), word
    assert processes(workspace) == []
    assert [*temporary.iterdir()] == []
    assert told(cli)["sent"]
    left = {path.name for path in (workspace / "home" / "trackers" / "wandb" / "runs" / run["run"]).iterdir()}
    assert left == {"content.json", "pictures", "state.json", "lock"}
    assert cli("track", "sync").returncode == 0


@pytest.mark.slow
def test_offline_runs_wait_until_they_are_sent(
    tracked: Server, cli: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = os.environ["WANDB_API_KEY"]
    monkeypatch.delenv("WANDB_API_KEY")
    (run,) = document_of(cli, *EVALUATE)["runs"]
    document_of(cli, "gate", run["run"], "--policy", "ship")
    assert cli("gate", run["run"], "--policy", "dream").returncode == 1
    assert tracked.requests == []
    assert not told(cli)["sent"]
    refused = cli("track", "sync")
    assert refused.returncode == 3
    assert "nobody is logged in" in refused.stderr
    assert tracked.requests == []

    monkeypatch.setenv("WANDB_API_KEY", key)
    sent = document_of(cli, "track", "sync")
    assert (len(sent["sent"]), sent["left"]) == (1, [])
    assert told(cli)["detail"].startswith(tracked.url)
    figures = summary(tracked, run["run"])
    assert figures["acme-trivia.exact"] == pytest.approx(run["scores"]["exact"]["value"])
    assert (figures["verdict/ship"], figures["verdict/dream"]) == ("pass", "fail")
    seen = len(tracked.requests)
    assert document_of(cli, "track", "sync") == {"sent": [], "left": []}
    assert len(tracked.requests) == seen
    assert len(tracked.runs(PROJECT)) == 1
    assert [request.label for request in tracked.requests if str(workspace).encode() in request.body] == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["down", "refuses", "cut", "stuck", "forbids"])
def test_a_server_that_fails_costs_a_moment_and_nothing_is_lost(
    tracked: Server, cli: Command, workspace: Path, fault: str
) -> None:
    (workspace / "harness.toml").write_text(f'[trackers.wandb]\nproject = "{PROJECT}"\nsamples = 2\npatience = 6\n')
    {
        "down": tracked.down,
        "refuses": lambda: tracked.faults.status(500, "PUT|POST"),
        "cut": lambda: tracked.faults.cut("PUT", times=None),
        "stuck": lambda: tracked.faults.slow(60, "file_stream"),
        "forbids": lambda: tracked.faults.status(403, "POST /graphql"),
    }[fault]()
    begun = time.monotonic()
    result = cli(*EVALUATE, "--json")
    assert time.monotonic() - begun < 25
    assert result.returncode == 0  # the result is there
    assert "waits in the workspace, and `harness track sync` sends it" in result.stderr
    assert processes(workspace) == []
    (run,) = json.loads(result.stdout)["runs"]
    gated = cli("gate", run["run"], "--policy", "ship")
    assert gated.returncode == 0
    left = cli("track", "sync", "--json")
    assert left.returncode == 3
    assert [item["id"] for item in json.loads(left.stdout)["left"]] == [run["run"]]
    assert json.loads(left.stdout)["left"][0]["detail"]

    tracked.faults.clear()
    if fault == "down":
        tracked.up()
    (workspace / "harness.toml").write_text(f'[trackers.wandb]\nproject = "{PROJECT}"\nsamples = 2\npatience = 60\n')
    synced = cli("track", "sync", "--json")
    assert synced.returncode == 0, synced.stderr
    figures = summary(tracked, run["run"])
    assert figures["acme-trivia.exact"] == pytest.approx(run["scores"]["exact"]["value"])
    assert figures["verdict/ship"] == "pass"
    assert len(table(tracked, run["run"], "samples")["data"]) == 2
    assert [item.name for item in tracked.runs(PROJECT)] == [run["run"]]
    assert processes(workspace) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["hangs", "errs"])
def test_a_server_that_fails_is_waited_for_once(tracked: Server, cli: Command, workspace: Path, fault: str) -> None:
    (workspace / "harness.toml").write_text(f'[trackers.wandb]\nproject = "{PROJECT}"\nsamples = 0\npatience = 6\n')
    if fault == "hangs":
        tracked.faults.slow(60, "POST /graphql")
    else:
        tracked.faults.status(500, "POST /graphql")
    models = [f"--model=acme-parrot:last,look={look}" for look in range(4)]
    result = cli("eval", *models, "--bench", "acme-trivia")
    assert result.returncode == 0
    assert result.stderr.count("waits in the workspace") == 4
    assert [request.label for request in tracked.requests].count("GET /") == 1
    left = cli("track", "sync", "--json")
    assert (left.returncode, len(json.loads(left.stdout)["left"])) == (3, 4)
    assert [request.label for request in tracked.requests].count("GET /") == 2


@pytest.mark.slow
def test_what_is_lost_on_the_way_is_noticed(
    tracked: Server, cli: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    (run,) = document_of(cli, *EVALUATE)["runs"]
    folder = workspace / "home" / "trackers" / "wandb" / "runs" / run["run"]
    staging = folder / "sdk" / "data" / "artifacts" / "staging"
    lost = max(staging.iterdir(), key=lambda path: path.stat().st_size)
    lost.unlink()
    assert document_of(cli, "track", "sync")["left"] == []  # it was made anew
    assert len(table(tracked, run["run"], "samples")["data"]) == 4

    folder.joinpath("state.json").unlink()  # as if it were not known that it arrived
    tracked.corrupt(f"run-{run['run']}-samples:v0", "samples.table.json", PROJECT)
    damaged = cli("track", "sync", "--json")
    assert damaged.returncode == 3
    artifact = f"artifact run-{run['run']}-samples: samples.table.json (damaged)"
    assert json.loads(damaged.stdout)["left"][0]["detail"] == f"did not arrive: {artifact}"
    shutil.rmtree(folder)

    (other,) = document_of(cli, "eval", "--model", "acme-parrot:first", "--bench", "acme-trivia")["runs"]
    folder = workspace / "home" / "trackers" / "wandb" / "runs" / other["run"]
    shutil.rmtree(folder / "sdk")
    for picture in (folder / "pictures").iterdir():
        picture.unlink()
    left = cli("track", "sync", "--json")
    assert left.returncode == 3
    assert "FileNotFoundError" in json.loads(left.stdout)["left"][0]["detail"]
    document_of(cli, "eval", "--model", "acme-parrot:first", "--bench", "acme-trivia")  # has the pictures still
    assert document_of(cli, "track", "sync")["left"] == []


@pytest.mark.slow
def test_the_checkpoint_that_was_evaluated_is_the_runs_input(tracked: Server, cli: Command, workspace: Path) -> None:
    (workspace / "harness.toml").write_text(
        f'[trackers.wandb]\nproject = "{PROJECT}"\nsamples = 0\n'
        f'[checkpoints]\nstore = "wandb"\nentity = "{tracked.entity}"\nproject = "models"\n'
    )
    (workspace / "book").mkdir()
    (workspace / "book" / "answers.json").write_text(
        json.dumps({f"What{n} is word{n % 7}": "other" for n in range(40)})
    )
    with open_session() as session:
        version = session.checkpoints.publish(workspace / "book", "acme-book")
    tracked.requests.clear()
    (run,) = document_of(cli, "eval", "--model", "acme-book:latest", "--bench", "acme-trivia")["runs"]
    assert told(cli)["sent"], told(cli)
    told_of = config(tracked, run["run"])["checkpoint"]
    assert (told_of["name"], told_of["version"], told_of["digest"]) == ("acme-book", "v0", version.digest)
    assert tracked.used(run["run"], PROJECT) == ["acme-book:v0"]
    assert [request.label for request in tracked.requests if str(workspace).encode() in request.body] == []


@pytest.mark.slow
def test_without_a_login_nobody_is_asked(
    tracked: Server, cli: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_") and not name.endswith("_DIR")]:
        monkeypatch.delenv(name)
    with refuse_all_other_hosts() as proxy:
        for name, value in proxy.environment.items():
            monkeypatch.setenv(name, value)
        (run,) = document_of(cli, *EVALUATE)["runs"]
        assert cli("gate", run["run"], "--policy", "ship").returncode == 0
        assert cli("track", "sync").returncode == 3
        assert proxy.asked == []
    assert tracked.requests == []
    assert not told(cli)["sent"]
