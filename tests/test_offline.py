"""Everything works with no account and no network, and nothing tries to reach one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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
