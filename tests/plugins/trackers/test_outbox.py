"""Several processes at one outbox, and processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests_support import Command
from wandb_server import Server

PROJECT = "crowd"


@pytest.fixture
def queued(server: Server, trivia: Path, workspace: Path, cli: Command, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that wait in the workspace."""
    (workspace / "harness.toml").write_text(f'[trackers.wandb]\nproject = "{PROJECT}"\nsamples = 2\n')
    monkeypatch.setenv("WANDB_MODE", "offline")
    models = ("--model", "acme-parrot:first", "--model", "acme-parrot:last")
    result = cli("eval", *models, "--bench", "acme-trivia", "--json")
    assert result.returncode == 0, result.stderr
    return [run["run"] for run in json.loads(result.stdout)["runs"]]


def start(third_party: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "harness", "track", "sync", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(third_party), "PYTHONWARNINGS": ""}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def running(workspace: Path) -> list[str]:
    """Processes that were started with a folder of this workspace in their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if int(place.name) != os.getpid() and str(workspace).encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_two_who_send_at_once_send_everything_once(
    queued: list[str], server: Server, third_party: Path, cli: Command
) -> None:
    children = [start(third_party) for _ in range(2)]
    answers = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], answers
    assert sorted(run.name for run in server.runs(PROJECT)) == sorted(queued)
    for run in queued:
        assert len(server.run(run, PROJECT).history_rows()) == 1
        assert server.versions(f"run-{run}-samples", PROJECT) == {"v0": ["latest"]}
    assert json.loads(cli("track", "sync", "--json").stdout) == {"sent": [], "left": []}


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_behind_and_loses_nothing(
    queued: list[str], server: Server, third_party: Path, cli: Command, workspace: Path
) -> None:
    fault = server.faults.slow(20.0, "CommitArtifact")
    child = start(third_party)
    deadline = time.monotonic() + 60
    while not fault.met:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    ends = time.monotonic() + 2
    while running(workspace):
        assert time.monotonic() < ends, running(workspace)
        time.sleep(0.05)
    server.faults.clear()
    assert len([item for item in json.loads(cli("track", "list", "--json").stdout)["told"] if not item["sent"]]) == 2
    result = cli("track", "sync", "--json")
    assert result.returncode == 0, result.stderr
    assert sorted(run.name for run in server.runs(PROJECT)) == sorted(queued)
    for run in queued:
        assert server.versions(f"run-{run}-samples", PROJECT) == {"v0": ["latest"]}


@pytest.mark.slow
def test_an_interrupt_ends_what_is_being_sent(
    queued: list[str], server: Server, third_party: Path, workspace: Path
) -> None:
    fault = server.faults.slow(20.0, "file_stream")
    child = start(third_party)
    deadline = time.monotonic() + 60
    while not fault.met:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=10)
    assert child.returncode == 130
    assert running(workspace) == []
