"""A stage that has ended is finished once: by whom does not matter, and what its process did is not done again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command

from harness import StoreError, open_session
from harness.checkpoints import EmbeddedStore
from training.jobs.targets import TARGETS, local
from training.pipelines.deciding import Choice
from training.pipelines.reading import read_pipeline
from training.pipelines.running import Driver
from training.pipelines.starting import Starter

Run = Callable[..., Any]
Write = Callable[..., Path]

TWO = """
a:
  job: {command: [sh, -c, "echo + >> ran; date +%N > $0/x; echo 2 > $1/y", "{outputs.one}", "{outputs.two}"]}
  outputs: {one: {name: one, type: dataset}, two: {name: two, type: dataset}}
"""
KILLED = """
import os, signal, sys
from harness.cli import run
import training.pipelines.finishing as finishing, harness.checkpoints as checkpoints, training.pipelines.state as state

place, attribute, call, when = sys.argv[1:]
home = {"finishing": finishing, "store": checkpoints.EmbeddedStore, "state": state.State,
        "finisher": finishing.Finisher}[place]
real, calls = getattr(home, attribute), []

def until(*given, **named):
    calls.append(given)
    if len(calls) == int(call) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    made = real(*given, **named)
    if len(calls) == int(call):
        os.kill(os.getpid(), signal.SIGKILL)
    return made

setattr(home, attribute, until)
run(["pipeline", "p.yaml"])
"""
PLACES = (
    "finishing collect 1 before", "store publish 1 before", "store publish 1 after", "store publish 2 after",
    "state done 1 before", "finisher tidy 1 before",
)  # fmt: skip


def versions() -> dict[str, int]:
    with open_session() as session:
        return {name: len(session.checkpoints.versions(name)) for name in session.checkpoints.names()}


def test_whoever_is_killed_between_a_stage_s_end_and_its_record(workspace: Path, write: Write, run: Run) -> None:
    write(TWO)
    for place in PLACES:
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, *place.split()], capture_output=True, text=True, check=False
        )
        assert killed.returncode == -9, (place, killed.stderr)
        assert Path("ran").read_text() == "+\n"
    assert versions() == {"one": 1, "two": 1}
    assert list(workspace.glob("home/pipelines/p/*/outputs"))
    ran = run(None)
    assert (ran.code, ran.states, ran.stages["a"]["tries"]) == (0, {"a": "reused"}, 1)
    assert (versions(), Path("ran").read_text()) == ({"one": 1, "two": 1}, "+\n")
    assert not list(workspace.glob("home/pipelines/p/*/outputs"))
    with open_session() as session:
        store = session.work
        times = [(item.status, item.reason) for item in store.items(store.get("pipeline", "p"))]
    assert times == [("failed", "killed")] * len(PLACES) + [("done", None)]


def test_a_registry_that_fails_loses_no_work(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = EmbeddedStore.publish

    def fail(store: EmbeddedStore, folder: Path, name: str, *given: Any, **named: Any) -> Any:
        if name == "two":
            raise StoreError("the disk is full")
        return publish(store, folder, name, *given, **named)

    with monkeypatch.context() as context:
        context.setattr(EmbeddedStore, "publish", fail)
        failed = run(TWO)
    assert (failed.code, failed.states, versions()) == (3, {"a": "incomplete"}, {"one": 1})
    assert "the disk is full; what it made is kept, and the same command publishes it" in failed.said
    again = run(None)
    assert (again.code, again.states, again.stages["a"]["tries"]) == (0, {"a": "done"}, 1)
    assert (versions(), Path("ran").read_text()) == ({"one": 1, "two": 1}, "+\n")


@pytest.mark.parametrize(
    "said", ['{"outputs": ["x"]}', '{"runs": 3}', '{"outputs": {"m": 3}}', '{"outputs": {"m": "m"}}']
)
def test_whatever_a_program_says_only_its_stage_fails(run: Run, said: str) -> None:
    Path("said").write_text(said)
    ran = run(
        "a:\n  job: {command: [cat, said]}\n  outputs: {m: {name: m, type: model}}\n"
        "b:\n  job: {command: [sh, -c, 'cat said; echo 1 > $0/x', '{outputs.n}']}\n"
        "  outputs: {n: {name: n, type: model}}"
    )
    assert (ran.code, ran.states) == (2, {"a": "failed", "b": "done"}), ran.said


@pytest.mark.usefixtures("book")
def test_only_a_verdict_ends_with_1(run: Run, cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python ends with 1, too, if it cannot begin."""
    run(
        "m:\n  job: {command: [cp, 70.json, '{outputs.m}/answers.json']}\n"
        "  outputs: {m: {name: acme-book, type: model}}"
    )
    assert cli("eval", "--model", "acme-book:v0", "--bench", "acme-trivia").returncode == 0
    stages = {
        "gate": "{policy: severe, model: 'acme-book:v0'}",
        "promote": "{policy: severe, model: 'acme-book:v0', to: best}",
        "deploy": "{policy: severe, model: 'acme-book:v0', out: out}",
    }
    text = "\n".join(f"{kind}:\n  {kind}: {given}" for kind, given in stages.items())
    assert cli("gate", "acme-book:v0", "--policy", "severe").returncode == 1
    failed = run(text)
    assert (failed.code, failed.states) == (1, dict.fromkeys(stages, "gate failed")), failed.said
    Path("site").mkdir()
    Path("site/sitecustomize.py").write_text("import os; print('no module named torch', flush=True); os._exit(1)")
    monkeypatch.setenv("PYTHONPATH", f"site:{os.environ['PYTHONPATH']}")
    broken = run(text)
    assert (broken.code, broken.states) == (2, dict.fromkeys(stages, "failed"))
    assert broken.stages["gate"]["why"] == "exit code 1: no module named torch"


class Away(local.LocalTarget):
    """A place whose answers are lost, and that cannot be reached while there is a file `away`."""

    def __init__(self) -> None:
        if Path("away").exists():
            raise StoreError("nobody answers at http://127.0.0.1:1")

    def start(self, task: Any) -> Any:
        super().start(task)
        Path("away").touch()
        raise StoreError("the connection was lost")


def drive(engine: str, forced: tuple[str, ...] = ()) -> tuple[str, str]:
    """Carry out the pipeline at a place; how it stands with its stage, and why."""
    TARGETS["away"] = f"{__name__}:Away"
    with open_session() as session:
        pipeline = read_pipeline(Path("p.yaml"))
        driver = Driver(pipeline, session, Starter(session, engine), Choice.of(pipeline, forced=forced), parallel=2)
        driver.run()
        return driver.stages["a"].state, driver.stages["a"].why


def drive_apart(engine: str) -> str:
    """The same in a process of its own, which ends."""
    path = [str(Path(__file__).parent), *sys.path]
    program = f"import sys; sys.path[:] = {path}; import test_finishing as t; print(*t.drive({engine!r}))"
    return subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True).stdout


def test_what_may_be_at_work_elsewhere_is_not_started_again(
    workspace: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "away", f"{__name__}:Away")
    write("a:\n  job: {command: [sh, -c, 'echo + >> ran']}")
    assert drive_apart("away") == "incomplete the connection was lost\n"
    until = time.monotonic() + 20
    while not Path("ran").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    assert drive_apart("local").startswith(
        "incomplete a was started with --engine away and may be at work there, but: nobody answers at http://127.0.0.1"
    )
    Path("away").unlink()
    assert drive_apart("local") == "done goes on\n"
    assert Path("ran").read_text() == "+\n"


def test_a_place_that_is_gone_is_given_up_by_force(workspace: Path, write: Write) -> None:
    write("a:\n  job: {command: [sh, -c, 'echo + >> ran']}")
    drive_apart("away")
    assert drive("local", ("a",)) == ("done", "forced")
    assert "+" in Path("ran").read_text()
