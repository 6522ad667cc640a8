"""Exit code 1 counts as a failed gate's where the command said so, and only there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command

from training.jobs.task import gate_failed, is_harness, result_of

SETTINGS = """
benchmarks:
  gqa: {data: "${HARNESS_DATA}/gqa", profile: llava, protocol: lmms, metrics: [accuracy]}
gates:
  dream:
    require:
      - {score: gqa.accuracy, min: 0.999}
"""
PIPELINE = "name: p\nstages:\n  decide:\n    gate: {model: 'majority:v0', policy: dream}\n"
EVAL = ("eval", "--model", "majority:v0", "--bench", "gqa", "--gate", "dream")
COMMANDS = (
    EVAL,
    ("gate", "majority:v0", "--policy", "dream"),
    ("promote", "majority:v0", "--to", "production", "--policy", "dream"),
    ("deploy", "majority:v0", "--out", "deployed", "--policy", "dream"),
    ("pipeline", "p.yaml"),
)


def test_whatever_tells_of_a_failed_gate_is_believed(
    cli: Command, workspace: Path, small_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(small_world))
    Path("benchmarks.yaml").write_text(SETTINGS)
    Path("majority.yaml").write_text("stage: majority\nbenchmarks: [gqa]\nwords: 1\n")
    Path("p.yaml").write_text(PIPELINE)
    assert cli("train", "majority.yaml").returncode == 0
    for command in COMMANDS:
        for options in ((), ("--json",)):
            ended = cli(*command, *options)
            assert ended.returncode == 1, ended.stderr
            log = workspace / "log"
            log.write_text(ended.stderr + ended.stdout)
            assert gate_failed(ended.returncode, result_of(log)), (command, options, log.read_text())


@pytest.mark.parametrize(
    ("said", "believed"),
    [
        ("/bin/python: No module named harness\n", False),
        ("sh: 1: cd: can't cd to /nonexistent\n", False),
        ('{"verdict": "pass"}\n', False),
        ('{"runs": [], "verdicts": [{"verdict": "pass"}, {"verdict": "fail"}]}\n', True),
        ('{"job": "a-1", "exit_code": 1, "result": {"verdict": "fail"}}\n', True),
        ('{"job": "a-1", "exit_code": 2, "result": null}\n', False),
        ("we fail (verdict x) here\n", False),
    ],
)
def test_what_python_or_a_shell_says_is_no_verdict(tmp_path: Path, said: str, believed: bool) -> None:
    (tmp_path / "log").write_text(said)
    found = result_of(tmp_path / "log")
    assert [gate_failed(code, found) for code in (0, 1, 2, 3)] == [False, believed, False, False]


def test_what_another_attempt_said_before_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"x": 1}\nkilled\n')
    assert result_of(tmp_path / "log", len('{"x": 1}\n')) is None
    with (tmp_path / "log").open("a") as log:
        log.write('{"x": 2}\n')
    assert result_of(tmp_path / "log", len('{"x": 1}\n')) == {"x": 2}


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        (("harness", "gate"), True),
        (("python", "-P", "-m", "harness", "gate"), True),
        (("sh", "harness"), False),
        (("python", "-m", "harnesses"), False),
        ((), False),
    ],
)
def test_a_command_of_ours_is_known_by_its_words(words: Sequence[str], ours: Any) -> None:
    assert is_harness(words) is ours
