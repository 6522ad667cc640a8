"""Train, evaluate, gate, promote; a worse one is refused; roll back: as docs/how-to/gate-a-promotion.md has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests_support import Command

from training.microworld import build

SETTINGS = """
benchmarks:
  gqa: {data: "${HARNESS_DATA}/gqa", profile: llava, protocol: lmms, metrics: [accuracy]}
  okvqa: {data: "${HARNESS_DATA}/okvqa"}
gates:
  production:
    baseline: majority:production
    require:
      - {score: gqa.accuracy, min: 0.05}
      - {score: gqa.accuracy, against: baseline, margin: 0.02}
      - {score: "*.coverage", min: 0.999}
"""


@pytest.fixture(scope="session")
def larger_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("data") / "larger", images=60, evaluation_images=60).path


def train(cli: Command, words: int, learnt_from: str = "gqa") -> str:
    Path("majority.yaml").write_text(f"stage: majority\nbenchmarks: [{learnt_from}]\nwords: {words}\n")
    made = cli("train", "majority.yaml", "--json")
    assert made.returncode == 0, made.stderr
    return str(json.loads(made.stdout)["stages"][0]["checkpoint"])


def test_the_way_of_a_checkpoint(
    cli: Command, workspace: Path, larger_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(larger_world))
    (workspace / "benchmarks.yaml").write_text(SETTINGS)

    assert train(cli, 1) == "majority:v0"
    first = cli("eval", "--model", "majority:v0", "--bench", "gqa", "--gate", "production")
    assert first.returncode == 0, first.stderr
    assert "first use: majority:production does not exist yet" in first.stderr
    assert cli("promote", "majority:v0", "--to", "production").returncode == 0

    assert train(cli, 8) == "majority:v1"
    better = cli("eval", "--model", "majority:latest", "--bench", "gqa", "--gate", "production", "--json")
    assert better.returncode == 0, better.stderr
    (verdict,) = json.loads(better.stdout)["verdicts"]
    assert [item["status"] for item in verdict["findings"]] == ["pass", "pass", "pass"]
    assert verdict["findings"][1]["measured"] > 0.05
    assert cli("promote", "majority:v1", "--to", "production").returncode == 0

    assert train(cli, 1, learnt_from="okvqa") == "majority:v2"
    assert cli("eval", "--model", "majority:v2", "--bench", "gqa").returncode == 0
    worse = cli("gate", "majority:v2", "--policy", "production", "--junit", "gate.xml", "--markdown", "gate.md")
    assert worse.returncode == 1
    assert "❌ fail" in (workspace / "gate.md").read_text()
    assert '<failure type="fail"' in (workspace / "gate.xml").read_text()
    assert cli("promote", "majority:v2", "--to", "production").returncode == 1

    assert "majority:v1 → majority:v0" in cli("rollback", "majority", "--alias", "production").stdout
    assert '"production"' in cli("checkpoints", "log", "majority", "--json").stdout
