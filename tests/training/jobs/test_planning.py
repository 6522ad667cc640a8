"""What becomes of each key on each target: it is kept, or named as lost."""

from __future__ import annotations

import json
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command

from harness import HarnessError, Session, UnknownVersion, UsageError, open_session
from training.jobs import launching
from training.jobs.order import Order
from training.jobs.planning import losses, pinned, resume_from, target_of, words
from training.jobs.settings import JobSettings
from training.jobs.source import fetch
from training.jobs.targets import ray

HERE = ".".join(platform.python_version_tuple()[:2])
EVERYTHING: dict[str, Any] = {
    "name": "a", "entry_point": ["python", "train.py"], "parameters": {"lr": 0.1}, "runtime": "3.99",
    "build": {"base_image": "python:3.11"}, "resource": "kubernetes", "resource_args": {"namespace": "x"},
    "resources": {"cpus": 2, "gpus": 1, "memory": "16GB", "accelerator": "A100", "custom": {"fast_disk": 1}},
    "environment": {"MODE": "quick"}, "secrets": ["HF_TOKEN"], "spot_instance": True, "max_retries": 1,
    "distributed_strategy": "fsdp",
}  # fmt: skip


def job(**given: Any) -> JobSettings:
    return JobSettings.model_validate_json(json.dumps({"name": "a", "entry_point": "python train.py", **given}))


@pytest.fixture
def session(workspace: Path) -> Iterator[Session]:
    with open_session() as opened:
        yield opened


def publish(session: Session, name: str, text: str) -> str:
    folder = session.home / "made"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text(text)
    return str(session.checkpoints.publish(folder, name, type="model"))


@pytest.mark.parametrize(
    ("on", "resource", "lost"),
    [
        ("local", "kubernetes", {"runtime!", "build!", "resource", "resource_args", "spot_instance", "resources.gpus",
                                 "resources.memory", "resources.accelerator", "resources.custom",
                                 "distributed_strategy!"}),
        ("ray", "ray", {"runtime!", "build!", "resource_args", "spot_instance", "secrets", "distributed_strategy!"}),
        ("wandb", "kubernetes", {"spot_instance", "secrets", "resources.accelerator", "resources.custom",
                                 "distributed_strategy!"}),
        ("wandb", "local-process", {"runtime!", "build!", "spot_instance", "secrets", "resources.cpus",
                                    "resources.gpus", "resources.memory", "resources.accelerator",
                                    "resources.custom", "distributed_strategy!"}),
    ],
)  # fmt: skip
def test_what_a_target_cannot_express_is_named(on: str, resource: str, lost: set[str]) -> None:
    found = losses(job(**{**EVERYTHING, "resource": resource}), on)
    assert {f"{loss.key}{'!' * loss.matters}" for loss in found} == lost, "the ! marks what changes the result"


@pytest.mark.parametrize("on", ["local", "ray", "wandb"])
def test_nothing_is_lost_of_a_plain_job(on: str) -> None:
    assert losses(job(runtime=HERE, distributed_strategy=None, parameters={"lr": 1}), on) == []


def test_where_a_job_runs_is_said_by_its_resource() -> None:
    told = {kind: target_of(job(resource=kind)) for kind in (None, "local-process", "ray", "kubernetes", "sagemaker")}
    assert told == {None: "local", "local-process": "local", "ray": "ray", "kubernetes": "wandb", "sagemaker": "wandb"}
    with pytest.raises(UsageError, match="a container image runs through W&B Launch"):
        losses(job(job_type="image", uri="a/b:1"), "ray")


def test_resources_are_asked_of_ray_in_its_words(session: Session) -> None:
    given = {**EVERYTHING, "resources": {**EVERYTHING["resources"], "processes": 2}}
    order = Order.new(job(**given), "ray", {})
    sent = ray.request(order.task(session, "key-1", session.home / "log", again=False))
    assert {name: value for name, value in sent.items() if name.startswith("entrypoint_")} == {
        "entrypoint_num_cpus": 2, "entrypoint_num_gpus": 1, "entrypoint_memory": 16 * 10**9,
        "entrypoint_resources": {"fast_disk": 1, "accelerator_type:A100": 0.001},
    }  # fmt: skip
    assert sent["submission_id"] == "key-1"
    assert sent["runtime_env"]["env_vars"]["MODE"] == "quick"
    assert sent["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "1", "two cores for two processes"
    assert "training.jobs.several 2" in sent["entrypoint"]
    assert "working_dir" not in sent["runtime_env"]


def test_a_folder_is_sent_along_and_secrets_never(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyz")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    order = Order.new(job(uri="code", secrets=["HF_TOKEN"]), "ray", {})
    sent = ray.request(order.task(session, "key-1", session.home / "log", again=False))
    assert sent["runtime_env"]["working_dir"] == str(tmp_path / "code")
    assert "cd " not in sent["entrypoint"]
    assert "hf_abc" not in str(sent)
    assert "0" * 40 not in str(sent)


def test_ray_is_told_of_no_variable_that_holds_a_secret(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"HARNESS_DATA": "data", "HARNESS_JUDGE_API_KEY": "abc", "HARNESS_PROXY": "http://me:hunter2@host"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    sent = ray.request(Order.new(job(), "ray", {}).task(session, "key-1", session.home / "log", again=False))
    assert sent["runtime_env"]["env_vars"].keys() & told.keys() == {"HARNESS_DATA"}


def test_kubernetes_is_asked_for_resources_in_its_words(session: Session) -> None:
    order = Order.new(job(**EVERYTHING), "wandb", {"queue": "q"})
    sent = launching.request(order.task(session, "key-1", session.home / "log", again=False), **order.target_options)
    config = sent["config"]
    assert config["run_id"] == "key-1"
    assert config["overrides"]["entry_point"] == [
        "env",
        "MODE=quick",
        "OMP_NUM_THREADS=2",
        "python",
        "train.py",
        "--lr=0.1",
    ]
    (container,) = config["resource_args"]["kubernetes"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": 2, "memory": 16 * 10**9, "nvidia.com/gpu": 1}
    assert config["resource_args"]["kubernetes"]["namespace"] == "x"
    assert sent["create"][sent["create"].index("-r") :] == ["-r", "3.99", "-B", "python:3.11", "code", "."]


def test_what_is_sent_to_wandb_names_no_place_of_this_machine(session: Session, workspace: Path) -> None:
    (workspace / "sft.yaml").touch()
    order = Order.new(job(entry_point=["harness", "train", str(workspace / "sft.yaml")]), "wandb", {"queue": "q"})
    task = order.task(session, "key-1", session.home / "log", again=False)
    sent = launching.request(task, **order.target_options)
    assert sent["config"]["overrides"]["entry_point"] == [
        *launching.WRAPPER, "--", "python", "-P", "-m", "harness", "train", "sft.yaml"
    ]  # fmt: skip
    assert str(workspace) not in str(sent)
    order = Order.new(job(entry_point=["python", "train.py", f"--data={sys.executable}"]), "wandb", {"queue": "q"})
    with pytest.raises(Exception, match="names a place on this machine, which others do not have"):
        launching.request(order.task(session, "key-1", session.home / "log", again=False), queue="q")


def sent(session: Session, **given: Any) -> dict[str, Any]:
    order = Order.new(job(**given), "wandb", {"queue": "q"})
    return launching.request(
        order.task(session, "key-1", session.home / "log", again=False), **order.target_options
    )  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        *({"entry_point": ["python", "train.py", word]} for word in (
            "--out=/srv/private/out", '--data=["/etc/passwd"]', "--cfg=a:/etc/passwd", "-I/srv/me/inc",
            "file:///srv/me/x", "~/data/x", "x=hf_abcdefghijklmnopqrstuvwxyz",
        )),
        {"environment": {"DATA_DIR": "/etc/ssl"}},
        {"environment": {"OUTPUT": "/srv/private/out2"}},
        {"parameters": {"data": ["/etc/passwd"]}},
        {"job_type": "git", "uri": "file:///srv/me/repository#main"},
        {"resource": "kubernetes", "resource_args": {"env": {"A": str(Path.home() / "x")}}},
        {"job_type": "image", "uri": "a/b:1", "resource": "kubernetes", "entry_point": ["x", str(Path.home() / "y")]},
    ],
)  # fmt: skip
def test_what_names_a_place_or_a_secret_is_not_sent_to_wandb(session: Session, given: dict[str, Any]) -> None:
    with pytest.raises(HarnessError, match=r"names a place on this machine|holds a secret") as caught:
        sent(session, **given)
    assert "hf_abc" not in str(caught.value)


def test_what_every_machine_or_an_image_has_may_be_named(session: Session, workspace: Path) -> None:
    (workspace / "data").mkdir()
    told = sent(session, entry_point=["/bin/sh", "-c", "x 2>/dev/null a/b"], environment={"DATA": f"{workspace}/data"})
    assert told["config"]["overrides"]["entry_point"][-5:] == ["env", "DATA=data", "/bin/sh", "-c", "x 2>/dev/null a/b"]
    command = ["python", "/app/train.py", "--max_tokens=8", "--data=/mnt/data/gqa"]
    told = sent(session, job_type="image", uri="a/b:1", resource="kubernetes", entry_point=command)
    assert told["config"]["overrides"]["entry_point"] == command
    told = sent(session, entry_point="python train.py --max_tokens=8", resources={"processes": 2})
    assert sys.executable not in str(told)


def test_a_training_gets_its_parameters_and_strategy_as_settings() -> None:
    asked = job(
        entry_point="harness train sft.yaml", parameters={"steps": 5, "save.every": 2}, distributed_strategy="fsdp"
    )  # fmt: skip
    assert words(asked, None) == [
        "harness", "train", "sft.yaml", "--set", "steps=5", "--set", "save.every=2", "--set", "scale.strategy=fsdp"
    ]  # fmt: skip
    assert losses(asked, "local") == []


def test_what_it_starts_from_is_looked_up_before_anything_starts(session: Session) -> None:
    first, second = publish(session, "base", "1"), publish(session, "base", "2")
    asked = job(checkpoint_artifact="base:latest", parameters={"from": "{checkpoint_artifact}"})
    kept = pinned(asked, session)
    assert words(kept, None)[-1] == f"--from={second}"
    publish(session, "base", "3")
    assert words(kept, None)[-1] == f"--from={second}", "what waits in a queue starts from what was meant"
    assert first != second
    with pytest.raises(UnknownVersion):
        pinned(job(checkpoint_artifact="base:v9", parameters={"from": "{checkpoint_artifact}"}), session)


def test_it_goes_on_from_the_newest_version_after_an_interruption(session: Session) -> None:
    asked = job(resume_from_artifact="mine", parameters={"lr": 1, "resume": "{resume_from_artifact}"})
    assert resume_from(asked, session, again=True) is None
    assert words(asked, None) == ["python", "train.py", "--lr=1"], "there is nothing to go on from yet"
    first = publish(session, "mine", "1")
    pinned_first = job(**{**asked.model_dump(), "resume_from_artifact": "mine:v0"})
    second = publish(session, "mine", "2")
    assert [resume_from(pinned_first, session, again=again) for again in (False, True)] == [first, second]
    assert words(asked, second)[-1] == f"--resume={second}"


def test_a_repository_is_copied_at_its_revision(tmp_path: Path) -> None:
    made = tmp_path / "repository"
    made.mkdir()
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", str(made)], check=True)
    for text in ("one", "two"):
        (made / "x").write_text(text)
        subprocess.run(["git", "-C", str(made), "add", "x"], check=True)
        subprocess.run(["git", "-C", str(made), *identity, "commit", "-qm", text], check=True)
    place = tmp_path / "copies" / "source"
    fetch(job(job_type="git", uri=f"{made}#HEAD~1"), place)
    assert (place / "x").read_text() == "one"
    with pytest.raises(Exception, match=r"git clone: .*does not exist"):
        fetch(job(job_type="git", uri=f"{made}-gone"), tmp_path / "other" / "source")


def test_a_place_that_does_not_answer_or_asks_for_a_password_is_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.jobs.source.GIT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"git://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(HarnessError, match=r"git clone: gave no answer for 0 s"):
            fetch(job(job_type="git", uri=url), tmp_path / "source")
    monkeypatch.setattr("training.jobs.source.GIT_SECONDS", 20)
    with ThreadingHTTPServer(("127.0.0.1", 0), AsksForPassword) as asking:
        threading.Thread(target=asking.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{asking.server_port}/x.git"
        with pytest.raises(HarnessError, match="terminal prompts disabled"):
            fetch(job(job_type="git", uri=url), tmp_path / "source")
        asking.shutdown()


class AsksForPassword(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


def test_a_command_is_not_waited_for_by_what_it_leaves_behind(tmp_path: Path) -> None:
    """Of what W&B's agent starts: a process that a job leaves behind holds its output open."""
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from training.jobs import inside\nfrom training.jobs.task import result_of\n"
        "inside.LATE_SECONDS = 0.5\n"
        "print(inside._run(['sh', '-c', sys.argv[1]], None, Path('said'), os.environ), result_of(Path('said')))\n"
    )
    command = "sleep 20 & echo '{\"x\": 1}'; exit 3"
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-P", "-c", script, command], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True
    )  # fmt: skip
    assert ended.stdout.splitlines() == ['{"x": 1}', "(3, False) {'x': 1}"]
    assert time.monotonic() - began < 15


def test_a_loss_that_changes_the_result_needs_consent(cli: Command, workspace: Path) -> None:
    (workspace / "job.yaml").write_text("entry_point: 'true'\nruntime: '3.99'\nspot_instance: true\n")
    told = cli("launch", "job.yaml", "--dry-run", "--json")
    assert told.returncode == 2
    assert [(loss["key"], loss["matters"]) for loss in json.loads(told.stdout)["lost"]] == [
        ("runtime", True), ("spot_instance", False)
    ]  # fmt: skip
    assert "`--allow-loss runtime` does without" in told.stderr
    refused = cli("launch", "job.yaml")
    assert refused.returncode == 2
    assert not (workspace / "home" / "jobs").exists(), "nothing was started"
    assert cli("launch", "job.yaml", "--allow-loss", "runtime").returncode == 0
    assert "nothing of the kind is lost" in cli(
        "launch", "job.yaml", "--allow-loss", "runtime", "--allow-loss", "build"
    ).stderr  # fmt: skip
