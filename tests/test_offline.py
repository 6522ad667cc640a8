"""Everything works with no account and no network, and nothing tries to reach one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from logging_proxy import LoggingProxy, refuse_all_other_hosts
from tests_support import ROOT

Harness = Callable[..., str]
CONFIGS = ROOT / "training" / "configs"


@pytest.fixture
def proxy() -> Iterator[LoggingProxy]:
    with refuse_all_other_hosts() as running:
        yield running


@pytest.fixture
def stranger(tmp_path: Path, proxy: LoggingProxy) -> dict[str, str]:
    """The environment of somebody new here: an empty home, no login, and every request to another host is seen."""
    ours = ("WANDB_", "HARNESS_", "HF_", "TRANSFORMERS_", "XDG_", "NETRC")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    home = tmp_path / "home"
    home.mkdir()
    own = {"HOME": str(home), "HARNESS_HOME": str(tmp_path / "workspace"), "HARNESS_DATA": str(tmp_path / "world")}
    return {**kept, **proxy.environment, **own, "COLUMNS": "120", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def harness(tmp_path: Path, stranger: dict[str, str]) -> Harness:
    """Run `harness ARGUMENTS` as such a person would; what it printed."""

    def run(*arguments: object) -> str:
        command = [sys.executable, "-P", "-m", "harness", *map(str, arguments)]
        result = subprocess.run(command, env=stranger, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{arguments}: {result.stderr}"
        return result.stdout

    return run


def test_the_proxy_sees_who_is_asked(proxy: LoggingProxy, stranger: dict[str, str]) -> None:
    script = "\n".join([
        "import sys, urllib.request",
        "for url in sys.argv[1:]:",
        "    try: urllib.request.urlopen(url)",
        "    except OSError as error: print(error)",
    ])  # fmt: skip
    urls = ["https://api.wandb.ai/graphql", "http://example.org/data.zip", "http://127.0.0.1:9/none"]
    result = subprocess.run(
        [sys.executable, "-P", "-c", script, *urls], env=stranger, check=True, capture_output=True, text=True
    )
    assert proxy.asked == ["CONNECT api.wandb.ai:443", "GET http://example.org/data.zip"]
    assert len(result.stdout.splitlines()) == len(urls), "nothing gets through"


def test_a_first_day_asks_nobody(harness: Harness, proxy: LoggingProxy) -> None:
    harness("data", "synth", "--out", "world", "--images", 8)
    assert "no login" in harness("doctor")
    harness("train", CONFIGS / "majority.yaml")
    assert "accuracy" in harness("eval", "--model", "majority:latest", "--bench", "gqa", "--limit", 5)
    assert "majority" in harness("list")
    assert "v0" in harness("checkpoints", "log", "majority")
    assert proxy.asked == []


SWEEP = """
method: bayes
run_cap: 3
metric: {name: loss}
parameters: {x: {min: 0.0, max: 1.0}}
command: [sh, -c, 'echo "{\\"loss\\": ${0#x=}}"', "${args_no_hyphens}"]
"""
JOB = "name: said\nentry_point: [sh, -c, 'echo done']\n"
PIPELINE = """
name: floor
stages:
  train:
    train: {config: majority.yaml}
    outputs: {model: {name: majority, type: model}}
  evaluate:
    depends_on: train
    evaluate: {model: "{depends_on_artifact}", benchmarks: gqa, limit: 5}
    outputs: {scores: {name: majority-scores, type: evaluation}}
"""


@pytest.fixture
def files(tmp_path: Path, harness: Harness) -> None:
    """A sweep, a job and a pipeline that are done in a moment, and data."""
    for name, text in {"sweep.yaml": SWEEP, "job.yaml": JOB, "pipeline.yaml": PIPELINE}.items():
        (tmp_path / name).write_text(text)
    shutil.copy(CONFIGS / "majority.yaml", tmp_path)
    harness("data", "synth", "--out", "world", "--images", 8)


@pytest.mark.slow
@pytest.mark.usefixtures("files")
def test_sweeps_jobs_and_pipelines_here_ask_nobody(harness: Harness, proxy: LoggingProxy) -> None:
    assert json.loads(harness("sweep", "sweep.yaml", "--workers", 1, "--json"))["counts"] == {"all": 3, "done": 3}
    harness("launch", "job.yaml")
    harness("queue", "create", "later")
    harness("launch", "job.yaml", "--queue", "later")
    harness("agent", "--queue", "later")
    harness("pipeline", "pipeline.yaml", "--dry-run", "--engine", "wandb", "--queue", "gpus")
    harness("launch", "job.yaml", "--dry-run", "--on", "wandb", "--queue", "gpus")
    harness("sweep", "sweep.yaml", "--dry-run", "--engine", "wandb")
    harness("pipeline", "pipeline.yaml", "--parallel", 1)
    assert proxy.asked == []


@pytest.mark.slow
@pytest.mark.usefixtures("files")
def test_a_cluster_of_ones_own_asks_only_whether_it_is_in_a_cloud(
    harness: Harness, proxy: LoggingProxy, stranger: dict[str, str]
) -> None:
    """Ray asks a cloud's own address for that, whatever is set; nobody outside hears of it."""
    stranger["RAY_ADDRESS"] = "local"
    told = harness("sweep", "sweep.yaml", "--engine", "ray", "--workers", 1, "--json")
    assert json.loads(told)["counts"] == {"all": 3, "done": 3}
    hosts = {urlsplit(asked.split()[1]).hostname for asked in proxy.asked}
    assert hosts <= {"169.254.169.254", "metadata.google.internal"}


@pytest.mark.slow
def test_the_proxy_sees_wandb_itself(tmp_path: Path, proxy: LoggingProxy, stranger: dict[str, str]) -> None:
    code = "import wandb; wandb.Api(timeout=3).viewer"
    online = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "https://wandb.example.org", "WANDB__GRAPHQL_RETRY_MAX": "1"}
    subprocess.run([sys.executable, "-P", "-c", code], env={**stranger, **online}, cwd=tmp_path, check=False)
    assert "CONNECT wandb.example.org:443" in proxy.asked
