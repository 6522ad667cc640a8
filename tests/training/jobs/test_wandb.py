"""Jobs through W&B Launch: the genuine SDK and its agent, against the server on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from wandb_server import Server, serve

from harness.checkpoints import EmbeddedStore
from harness.database import Database
from training.jobs.targets.wandb import WandbJob, WandbTarget
from training.jobs.task import PREEMPTED, Task, result_of
from training.wandb_sdk import UNSAID_VARIABLES

pytestmark = pytest.mark.slow

TRACKED = """
import json, sys, wandb
with wandb.init() as run:
    run.log({"loss": 0.25})
print(json.dumps({"arguments": sys.argv[1:], "run": run.id}))
"""
JOBS = {
    # A program with code of its own, which opens a run of its own.
    "tracked": {"entry_point": "python train.py ${args}", "uri": "code", "parameters": {"lr": 0.1, "fast": True}},
    "ours": {"entry_point": "harness train majority.yaml --json"},
    "plain": {"entry_point": ["sh", "-c", "echo '{\"mode\": \"'$MODE'\"}'"], "environment": {"MODE": "quick"}},
    "bad": {"entry_point": ["sh", "-c", "exit 3"]},
    "flaky": {"entry_point": ["sh", "-c", "[ -e again ] || { touch again; kill -9 $$; }"], "max_retries": 1},
    "stopped": {"entry_point": ["sh", "-c", "trap 'touch saved; exit 143' TERM; touch up; while sleep .2; do :; done"]},
    "killed": {"entry_point": ["sh", "-c", "echo x >> runs; until [ -e go ]; do sleep 0.2; done; echo '{\"y\": 1}'"]},
}  # fmt: skip


@dataclass
class Place:
    """A folder with jobs, the server, and the environment that leads to it."""

    folder: Path
    server: Server
    environment: dict[str, str]

    def launch(self, name: str, queue: str = "q") -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "harness", "launch", f"{name}.yaml", "--on", "wandb", "--queue", queue]
        return subprocess.Popen(
            [*command, "--json"], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_world: Path) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("launch")
    shutil.copytree(small_world, folder / "data")
    shutil.copy(Path(__file__).parents[3] / "training" / "configs" / "majority.yaml", folder)
    (folder / "code" / "wandb").mkdir(parents=True)
    (folder / "code" / "train.py").write_text(TRACKED)
    (folder / "code" / "wandb" / "old").write_text("of another run")
    for name, job in JOBS.items():
        (folder / f"{name}.yaml").write_text(json.dumps(job))
    with serve() as server:
        programs = Path(sys.executable).parent
        yield Place(folder, server, {
            **os.environ, **server.environment(folder / "sdk"), "PATH": f"{programs}:{os.environ['PATH']}",
            "HARNESS_HOME": str(folder / "home"), "HARNESS_DATA": str(folder / "data"), "PYTHONWARNINGS": "",
        })  # fmt: skip
        assert not server.unknown


@pytest.fixture(scope="module")
def agent(place: Place) -> Iterator[Path]:
    """W&B's own agent, which runs jobs as processes; its log."""
    log = place.folder / "agent.log"
    environment = {
        **place.environment,
        **UNSAID_VARIABLES,
        "HARNESS_FOLDER": str(place.folder),
        "WANDB_SILENT": "false",
    }
    # It ends where there is no queue yet, which the first launch makes.
    script = "until wandb launch-agent -q q -e team -j 8; do sleep 0.5; done"
    with log.open("w") as file:
        process = subprocess.Popen(
            ["sh", "-c", script], cwd=place.folder, env=environment, stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    yield log
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def told(place: Place, agent: Path) -> dict[str, Any]:
    """What `harness launch --json` said of each job, and its exit code, all launched at once."""
    drivers = {name: place.launch(name) for name in JOBS}
    try:
        wait_until((place.folder / "runs").exists, "the job of the driver that is to be killed")
        drivers["killed"].kill()
        drivers["killed"].communicate()
        drivers["killed"] = place.launch("killed")
        time.sleep(3)
        (place.folder / "go").touch()
        wait_until((place.folder / "up").exists, "the job that is to be stopped")
        drivers["stopped"].send_signal(signal.SIGTERM)
        found = {}
        for name, driver in drivers.items():
            out, err = driver.communicate(timeout=200)
            assert out or name == "stopped", err
            found[name] = json.loads(out or "{}") | {"returned": driver.returncode, "said": err}
        return found
    finally:
        for driver in drivers.values():
            driver.kill()
            driver.communicate()


def wait_until(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until, f"it did not come to pass: {what}"
        time.sleep(0.1)


def test_a_program_with_its_own_code_and_run(told: dict[str, Any], place: Place) -> None:
    one = told["tracked"]
    assert (one["returned"], one["status"], one["starts"]) == (0, "done", 1), one["said"]
    assert one["result"]["arguments"] == ["--lr=0.1", "--fast=True"]
    run = place.server.run(one["result"]["run"])
    assert run.state == "finished"
    assert run.history_rows()[0]["loss"] == 0.25
    launched = place.server.run(run.group)
    assert (launched.state, launched.name.startswith(one["job"])) == ("finished", True)
    code = place.server.files("code-tracked:latest")
    assert code["train.py"].decode() == TRACKED
    assert not any(path.startswith("wandb") for path in code)
    assert place.server.used(launched.name) == ["tracked:v0"], "which job it was"


def test_a_training_of_ours_publishes_into_the_workspace_of_the_agent(told: dict[str, Any], place: Place) -> None:
    one = told["ours"]
    assert (one["returned"], one["status"]) == (0, "done"), one["said"]
    assert one["result"]["stages"][0]["checkpoint"] == "majority:v0"
    database = Database(place.folder / "home")
    assert EmbeddedStore(database, place.folder / "home").names() == ["majority"]
    database.close()


def test_variables_reach_the_job_and_its_result_comes_back(told: dict[str, Any]) -> None:
    assert told["plain"]["result"] == {"mode": "quick"}


def test_an_exit_code_comes_back_and_an_error_is_not_retried(told: dict[str, Any]) -> None:
    assert [told["bad"][key] for key in ("returned", "code", "starts")] == [3, 3, 1]


def test_an_interruption_is_retried(told: dict[str, Any]) -> None:
    assert [told["flaky"][key] for key in ("returned", "starts")] == [0, 2], told["flaky"]["said"]


def test_a_killed_driver_finds_its_run_again(told: dict[str, Any], place: Place) -> None:
    assert [told["killed"][key] for key in ("returned", "starts", "result")] == [0, 1, {"y": 1}], told["killed"]["said"]
    assert (place.folder / "runs").read_text() == "x\n", "it ran once"


def test_a_stopped_driver_stops_its_run_when_it_has_saved(told: dict[str, Any], place: Place) -> None:
    assert told["stopped"]["returned"] == 143, told["stopped"]["said"]
    assert (place.folder / "saved").exists()


def test_all_items_were_taken_and_none_failed(told: dict[str, Any], place: Place) -> None:
    items = place.server.items("q")
    assert len(items) == len(JOBS) + 1
    assert {(item.state, *item.messages) for item in items} == {("CLAIMED",)}


def test_what_is_sent_names_no_secret_and_no_place(told: dict[str, Any], place: Place) -> None:
    received = place.server.received()
    for secret in (place.environment["WANDB_API_KEY"], str(place.folder), sys.prefix, str(Path.cwd())):
        assert secret.encode() not in received, received[max(0, received.find(secret.encode()) - 300) :][:400]


def test_a_stopped_driver_takes_its_job_out_of_the_queue(place: Place) -> None:
    driver = place.launch("plain", queue="idle")
    wait_until(lambda: any(queue.name == "idle" and queue.items for queue in place.server.state.queues.values()), "")
    time.sleep(2)
    driver.send_signal(signal.SIGTERM)
    driver.communicate(timeout=60)
    assert driver.returncode == 143
    assert place.server.items("idle") == []


@pytest.fixture
def pods(place: Place, tmp_path: Path) -> Iterator[tuple[Task, WandbJob]]:
    """A job in a queue of Kubernetes', which no agent takes."""
    with place.server.connected(tmp_path / "sdk"):
        task = Task("pod", ["harness", "doctor"], tmp_path, tmp_path / "log", key=f"pod-{time.time_ns()}")
        yield task, WandbTarget("pods", resource="kubernetes").start(task)


def pod(task: Task, script: str) -> subprocess.Popen[bytes]:
    """What a pod does with such a job."""
    command = [sys.executable, "-P", "-m", "training.jobs.inside", "--sent", "--", "sh", "-c", script]
    return subprocess.Popen(
        command, cwd=task.folder, env={**os.environ, "WANDB_RUN_ID": task.key}, stdout=subprocess.DEVNULL
    )  # fmt: skip


def test_what_kubernetes_preempts_is_started_again_by_wandb_alone(
    pods: tuple[Task, WandbJob], place: Place
) -> None:  # fmt: skip
    task, running = pods
    place.server.items("pods")[-1].state = "CLAIMED"
    assert pod(task, "kill -15 $$").wait(60) == 143
    run = place.server.run(task.key)
    assert run.state == "preempted"
    assert running.wait(3) is None
    again = pod(task, "touch up; until [ -e go ]; do sleep 0.1; done; echo '{\"y\": 1}'")
    wait_until((task.folder / "up").exists, "the second attempt")
    assert running.wait(3) is None, "what the first one said is no end"
    (task.folder / "go").touch()
    assert again.wait(60) == 0
    assert running.wait(30) == 0
    assert result_of(task.log) == {"y": 1}


def test_what_a_person_stops_is_not_queued_again(pods: tuple[Task, WandbJob], place: Place) -> None:
    task, running = pods
    place.server.items("pods")[-1].state = "CLAIMED"
    one = pod(task, "touch up; while :; do sleep 0.1; done")
    wait_until((task.folder / "up").exists, "the job")
    one.send_signal(signal.SIGINT)
    assert one.wait(60) == 143
    assert place.server.run(task.key).state == "failed"
    assert running.wait(30) == 143


def test_what_somebody_takes_out_of_the_queue_is_not_put_there_again(
    pods: tuple[Task, WandbJob], place: Place
) -> None:  # fmt: skip
    task, running = pods
    assert running.wait(0) is None
    for queue in place.server.state.queues.values():
        if queue.name == "pods":
            queue.items = []
    code = running.wait(30)
    assert code == 130
    assert code not in PREEMPTED
    assert "took the run out of W&B's queue" in task.log.read_text()
