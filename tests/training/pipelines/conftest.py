"""What tests of pipelines share."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command, write_trivia

Run = Callable[..., "Ran"]

POLICIES = """
benchmarks:
  acme-trivia: {data: ./trivia, profile: plain, protocol: strict, metrics: [exact]}
gates:
  production:
    require: [{score: acme-trivia.exact, min: 0.5}, {score: "*.coverage", min: 1}]
  severe:
    require: [{score: acme-trivia.exact, min: 0.9}]
  rising:
    baseline: acme-book:production
    require: [{score: acme-trivia.exact, min: 0.5}, {score: acme-trivia.exact, against: baseline, margin: 0.01}]
"""


class Ran:
    """A `harness pipeline --json` that has ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.said = done.stderr
        self.stages: dict[str, dict[str, Any]] = (
            {stage["stage"]: stage for stage in json.loads(done.stdout)["stages"]} if done.stdout else {}
        )

    @property
    def states(self) -> dict[str, str]:
        return {name: stage["state"] for name, stage in self.stages.items()}


@pytest.fixture
def run(cli: Command, write: Callable[..., Path]) -> Run:
    """Write a pipeline file's stages, unless None, and carry it out."""

    def call(stages: str | None, *arguments: str, parameters: str = "{}") -> Ran:
        if stages is not None:
            write(stages, parameters)
        return Ran(cli("pipeline", "p.yaml", "--json", *arguments))

    return call


@pytest.fixture
def write(workspace: Path) -> Callable[..., Path]:
    """Write a pipeline file, `p.yaml`, with these stages."""

    def call(stages: str, parameters: str = "{}") -> Path:
        indented = "".join(f"  {line}\n" for line in stages.strip("\n").splitlines())
        path = workspace / "p.yaml"
        path.write_text(f"name: p\nparameters: {parameters}\nstages:\n{indented}")
        return path

    return call


@pytest.fixture
def book(workspace: Path, third_party: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Questions, policies on them, and a file of answers that are right to the share that it names."""
    monkeypatch.setenv("PYTHONPATH", str(third_party))
    write_trivia(workspace / "trivia", n=200, pictures=0)
    (workspace / "benchmarks.yaml").write_text(POLICIES)
    rows = [json.loads(line) for line in (workspace / "trivia" / "trivia.jsonl").read_text().splitlines()]
    for right in (40, 70, 80):
        answers = {row["question"]: row["answers"][0] if n % 100 < right else "no" for n, row in enumerate(rows)}
        (workspace / f"{right}.json").write_text(json.dumps(answers))
    return workspace
