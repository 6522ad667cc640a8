"""Stages through W&B Launch: the genuine SDK and its agent, against the server on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests_support import ROOT
from wandb_server import serve

from training.wandb_sdk import UNSAID_VARIABLES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STAGES = """
name: p
stages:
  floor:
    train: {config: majority.yaml}
    outputs: {model: {name: majority, type: model}}
  words:
    job: {command: [sh, -c, "until [ -e go ]; do sleep 0.2; done; echo + >> made; cp made {outputs.data}/x"]}
    outputs: {data: {name: words, type: dataset}}
  evaluate:
    depends_on: floor
    evaluate: {model: "{depends_on_artifact}", benchmarks: gqa, limit: 4}
    outputs: {scores: {name: scores, type: evaluation}}
  bad:
    inputs: {words: words}
    job: {command: [sh, -c, "echo {inputs.words}; exit 3"]}
  after:
    depends_on: bad
    job: {command: ["true"]}
"""


@pytest.fixture
def environment(workspace: Path, small_world: Path) -> Iterator[dict[str, str]]:
    """The environment that leads to the server; W&B's own agent is at work there."""
    shutil.copytree(small_world, workspace / "data" / "microworld")
    shutil.copy(ROOT / "training" / "configs" / "majority.yaml", workspace)
    shutil.copy(ROOT / "benchmarks.yaml", workspace)
    (workspace / "p.yaml").write_text(STAGES)
    with serve() as server:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        variables = {**os.environ, **server.environment(workspace / "sdk"), "PATH": path, "PYTHONWARNINGS": ""}
        agent = subprocess.Popen(
            ["sh", "-c", "until wandb launch-agent -q q -e team -j 4; do sleep 0.5; done"],
            env={**variables, **UNSAID_VARIABLES, "HARNESS_FOLDER": str(workspace)}, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield variables
        finally:
            os.killpg(agent.pid, signal.SIGKILL)
            agent.wait()
        assert not server.unknown


def test_stages_are_jobs_of_a_queue(workspace: Path, environment: dict[str, str]) -> None:
    def start() -> subprocess.Popen[str]:
        where = ("--engine", "wandb", "--queue", "q")
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "harness", "pipeline", "p.yaml", *where, "--json"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    driver = start()
    logs = workspace / "home" / "pipelines" / "p"
    until = time.monotonic() + 100
    while not list(logs.glob("words-*/1.log")):
        assert driver.poll() is None, driver.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.1)
    driver.kill()
    driver.communicate()
    (workspace / "go").touch()
    driver = start()
    out, err = driver.communicate(timeout=250)
    assert driver.returncode == 3, err
    stages: dict[str, Any] = {stage["stage"]: stage for stage in json.loads(out)["stages"]}
    states = {name: stage["state"] for name, stage in stages.items()}
    assert states == {
        "floor": "done", "words": "done", "evaluate": "done", "bad": "incomplete", "after": "stopped",
    }, err  # fmt: skip
    assert (workspace / "made").read_text() == "+\n"
    assert stages["evaluate"]["outputs"]["scores"]["reference"] == "scores:v0"
    assert stages["floor"]["outputs"]["model"]["reference"] == "majority:v0"
