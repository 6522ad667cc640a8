"""Jobs on a real Ray cluster of this machine: what they are given, how they end, and who finds them again."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command

from harness import HarnessError
from training.jobs.targets.ray import RayTarget
from training.jobs.task import Resources, Task, result_of

pytestmark = [
    pytest.mark.slow,
    # Of what Ray and its dependencies do in this process, not of ours.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.05)


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_job_is_given_what_it_needs_and_its_output_comes_back(ray_cluster: str, tmp_path: Path) -> None:
    target = RayTarget(ray_cluster)
    script = (
        "import json, os, sys; print('é' * 3); sys.stderr.write('err\\n');"
        "print(json.dumps([os.getcwd(), os.environ['ADDED'], sys.executable]));"
        "print(json.dumps({'threads': os.environ['OMP_NUM_THREADS']}))"
    )
    task = Task(
        "a", [sys.executable, "-c", script], tmp_path, tmp_path / "logs" / "a.log",
        {"ADDED": "yes", "OMP_NUM_THREADS": "2"}, Resources(cpus=2, memory=10**7), key=f"a-{time.time_ns()}",
    )  # fmt: skip
    task.log.parent.mkdir()
    task.log.write_text("before\n")
    job = target.start(task)
    assert job.wait(60) == 0
    said = task.log.read_text()
    assert said.startswith("before\n")
    assert "ééé" in said
    assert "err\n" in said
    assert json.dumps([str(tmp_path), "yes", sys.executable]) in said
    assert result_of(task.log) == {"threads": "2"}
    info = target.client.get_job_info(task.key)
    assert info.driver_exit_code == 0
    found = target.find(task, job.note)
    assert found is not None
    assert found.wait(10) == 0
    assert task.log.read_text() == said, "its log is the same, and not twice there"
    assert target.find(Task("a", ["x"], tmp_path, task.log, key="never-began"), {}) is None
    with pytest.raises(HarnessError, match="already exists"):
        target.start(task)


def test_a_submission_whose_answer_is_lost_is_followed(
    ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = RayTarget(ray_cluster)
    submit = target.client.submit_job

    def lose_answer(**wanted: Any) -> None:
        submit(**wanted)
        raise ConnectionError("the network went away")

    task = Task("a", ["sh", "-c", "exit 7"], tmp_path, tmp_path / "a.log", key=f"a-{time.time_ns()}")
    monkeypatch.setattr(target.client, "submit_job", lose_answer)
    assert target.start(task).wait(60) == 7

    def never_arrive(**wanted: Any) -> None:
        raise ConnectionError("the network went away")

    monkeypatch.setattr(target.client, "submit_job", never_arrive)
    with pytest.raises(HarnessError, match=r"Ray does not take the job \(the network went away\)"):
        target.start(Task("a", ["true"], tmp_path, tmp_path / "a.log", key=f"a-{time.time_ns()}"))


def test_no_cluster_is_said(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"no Ray cluster answers at http://127.0.0.1:1 .*`ray start --head`"):
        RayTarget("http://127.0.0.1:1")


def test_a_folder_is_sent_along(cli: Command, workspace: Path, ray_cluster: str) -> None:
    (workspace / "code").mkdir()
    (workspace / "code" / "train.py").write_text("import json, os, sys\nprint(json.dumps({'at': os.getcwd()}))\n")
    (workspace / "code" / "wandb").mkdir()
    (workspace / "job.yaml").write_text("entry_point: python train.py\nuri: code\nresource: ray\n")
    told = cli("launch", "job.yaml", "--address", ray_cluster, "--json")
    assert told.returncode == 0, told.stderr
    at = Path(json.loads(told.stdout)["result"]["at"])
    assert at != workspace / "code"
    assert not (at / "wandb").exists(), "what nobody needs elsewhere is left behind"


@pytest.mark.parametrize(("code", "ours"), [(1, 2), (3, 3)])
def test_an_error_of_its_own_is_not_retried(
    cli: Command, workspace: Path, ray_cluster: str, code: int, ours: int
) -> None:
    (workspace / "job.yaml").write_text(f"entry_point: [sh, -c, 'echo x >> runs; exit {code}']\n")
    told = cli("launch", "job.yaml", "--on", "ray", "--address", ray_cluster, "--json")
    assert (told.returncode, json.loads(told.stdout)["code"], text(workspace / "runs")) == (ours, code, "x\n")


def test_a_killed_job_is_retried(cli: Command, workspace: Path, ray_cluster: str) -> None:
    script = "echo x >> runs; [ $(wc -l < runs) -gt 1 ] || kill -9 $$"
    (workspace / "job.yaml").write_text(f"entry_point: [sh, -c, '{script}']\nmax_retries: 1\n")
    told = cli("launch", "job.yaml", "--on", "ray", "--address", ray_cluster, "--json")
    assert (told.returncode, json.loads(told.stdout)["starts"], text(workspace / "runs")) == (0, 2, "x\nx\n")


def test_a_job_whose_machine_is_gone_is_retried(cli: Command, workspace: Path, ray_cluster: str) -> None:
    # With the process that supervises a job Ray loses it, as with the machine that both are on.
    script = "echo x >> runs; [ $(wc -l < runs) -gt 1 ] || { kill -9 $PPID; sleep 60; }"
    (workspace / "job.yaml").write_text(f"entry_point: [sh, -c, '{script}']\nmax_retries: 1\n")
    told = cli("launch", "job.yaml", "--on", "ray", "--address", ray_cluster, "--json")
    assert (told.returncode, json.loads(told.stdout)["starts"], text(workspace / "runs")) == (0, 2, "x\nx\n")


def start(ray_cluster: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "harness", "launch", "job.yaml", "--on", "ray", "--address", ray_cluster]
    return subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_driver_that_is_killed_finds_its_job_again(cli: Command, workspace: Path, ray_cluster: str) -> None:
    script = 'echo x >> runs; while [ ! -e go ]; do sleep 0.1; done; echo "{\\"y\\": 1}"'
    (workspace / "job.yaml").write_text(f"entry_point: [sh, -c, '{script}']\n")
    driver = start(ray_cluster)
    wait_until(lambda: text(workspace / "runs"))
    driver.kill()
    driver.communicate()
    again = start(ray_cluster)
    time.sleep(2)
    (workspace / "go").touch()
    out, err = again.communicate(timeout=60)
    told = json.loads(out)
    assert (again.returncode, told["starts"], told["result"]) == (0, 1, {"y": 1}), err
    assert "goes on from where its driver was" in err
    assert text(workspace / "runs") == "x\n", "it ran once"


def test_a_stopped_driver_stops_its_job_when_it_has_saved(cli: Command, workspace: Path, ray_cluster: str) -> None:
    # Ray by itself would wait three seconds.
    script = 'trap "sleep 4; echo saved > state; exit 143" TERM; touch up; while [ ! -e state ]; do sleep 0.1; done'
    (workspace / "job.yaml").write_text(f"entry_point: [sh, -c, '{script}']\n")
    driver = start(ray_cluster)
    wait_until((workspace / "up").exists)
    driver.send_signal(signal.SIGTERM)
    driver.communicate(timeout=60)
    assert driver.returncode == 143
    assert text(workspace / "state") == "saved\n"
    again = start(ray_cluster)
    out, _ = again.communicate(timeout=60)
    assert (again.returncode, json.loads(out)["starts"]) == (0, 2)


def test_a_job_waits_for_resources_that_are_taken(ray_cluster: str, tmp_path: Path) -> None:
    target = RayTarget(ray_cluster)
    tasks = [
        Task(name, ["sh", "-c", f"mkdir {tmp_path}/busy && sleep 1 && rmdir {tmp_path}/busy"], tmp_path,
             tmp_path / f"{name}.log", resources=Resources(cpus=3), key=f"{name}-{time.time_ns()}")
        for name in ("first", "second")
    ]  # fmt: skip
    jobs = [target.start(task) for task in tasks]
    assert [job.wait(60) for job in jobs] == [0, 0]


def test_a_training_of_ours_runs_there(
    cli: Command, workspace: Path, ray_cluster: str, small_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_world, workspace / "data")
    monkeypatch.setenv("HARNESS_DATA", str(workspace / "data"))
    config = Path(__file__).parents[3] / "training" / "configs" / "majority.yaml"
    (workspace / "job.yaml").write_text(f"entry_point: harness train {config} --json\nresource: ray\n")
    told = cli("launch", "job.yaml", "--address", ray_cluster, "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["result"]["stages"][0]["checkpoint"] == "majority:v0"
    assert cli("list", "checkpoints", "--json").stdout.count("majority") == 1, "it is in this workspace"
