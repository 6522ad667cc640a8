"""The genuine SDK against the loopback server, end to end: what the other tests of W&B stand on."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_server import API_KEY, REGISTRY, Server, serve

BIN = Path(sys.executable).parent

# the SDK leaves temporary folders and files of its cache to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as running:
        yield running


@pytest.fixture(scope="module")
def connected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the SDK in this process talks to; in the end it met nothing that it does not model."""
    with serve() as running, running.connected(tmp_path_factory.mktemp("wandb")):
        yield running
    assert not running.unknown


@pytest.fixture(scope="module")
def run(connected: Server) -> Iterator[Any]:
    """One run for all tests here that publish."""
    import wandb

    with wandb.init(name="publisher", job_type="train", config={"lr": 0.1, "net": {"depth": 2}}, tags=["a"]) as running:
        yield running


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was downloaded yet."""
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))


Publish = Callable[..., str]


@pytest.fixture
def publish(run: Any, tmp_path: Path) -> Publish:
    """Log a folder of one file; the version that it became."""
    import wandb

    count = itertools.count()

    def log(name: str, content: str, *aliases: str) -> str:
        folder = tmp_path / f"published-{next(count)}"
        folder.mkdir()
        (folder / "weights.bin").write_text(content)
        artifact = wandb.Artifact(name, "model", metadata={"length": len(content)})
        artifact.add_dir(str(folder))
        return str(run.log_artifact(artifact, aliases=list(aliases)).wait().version)

    return log


def api() -> Any:
    import wandb

    return wandb.Api()


# Artifacts


def test_versions_count_up_and_an_equal_one_only_moves_its_aliases(connected: Server, publish: Publish) -> None:
    assert [publish("counted", text, "best") for text in ("one", "two")] == ["v0", "v1"]
    assert connected.versions("counted") == {"v0": [], "v1": ["best", "latest"]}
    assert publish("counted", "one", "best") == "v0"
    assert connected.versions("counted")["v0"] == ["best", "latest"]
    assert set(connected.versions("counted")) == {"v0", "v1"}
    assert connected.files("counted:best") == {"weights.bin": b"one"}
    assert json.loads(connected.artifact("counted:v1").metadata) == {"length": 3}


def test_aliases_are_added_taken_away_and_belong_to_one_version(connected: Server, publish: Publish) -> None:
    for text in ("one", "two"):
        publish("aliased", text)
    first, second = (api().artifact(f"project/aliased:v{index}") for index in range(2))
    first.aliases.append("production")
    first.save()
    second.aliases.append("production")
    second.save()
    assert connected.versions("aliased") == {"v0": [], "v1": ["latest", "production"]}
    second.aliases.remove("latest")
    second.save()
    assert connected.versions("aliased")["v1"] == ["production"]


def test_a_deleted_version_is_gone_and_its_number_never_given_again(connected: Server, publish: Publish) -> None:
    import wandb

    publish("deleted", "one")
    with pytest.raises(wandb.errors.CommError, match="artifact has aliases"):
        api().artifact("project/deleted:v0").delete()
    api().artifact("project/deleted:v0").delete(delete_aliases=True)
    assert connected.versions("deleted") == {}
    assert not api().artifact_exists("project/deleted:v0")
    assert publish("deleted", "two") == "v1"


def test_a_linked_version_is_in_the_registry(connected: Server, publish: Publish) -> None:
    publish("linked", "one")
    linked = api().artifact("project/linked:v0").link(f"{REGISTRY}/arr-coc", aliases=["candidate"])
    assert connected.versions("arr-coc", REGISTRY) == {"v0": ["candidate", "latest"]}
    assert (linked.qualified_name, linked.source_qualified_name) == (f"{REGISTRY}/arr-coc:v0", "team/project/linked:v0")
    assert connected.versions("linked") == {"v0": ["latest"]}
    linked.unlink()
    assert connected.versions("arr-coc", REGISTRY) == {}


@pytest.mark.usefixtures("fresh_cache")
def test_a_changed_byte_passes_a_download_and_is_seen_by_verify(
    connected: Server, publish: Publish, tmp_path: Path
) -> None:
    for name in ("whole", "changed"):
        publish(name, name * 1000)
    connected.corrupt("changed:v0", "weights.bin")
    whole, changed = (api().artifact(f"project/{name}:latest") for name in ("whole", "changed"))
    whole.verify(whole.download(root=str(tmp_path / "whole")))
    assert (tmp_path / "whole" / "weights.bin").read_text() == "whole" * 1000
    changed.download(root=str(tmp_path / "changed"))
    assert (tmp_path / "changed" / "weights.bin").stat().st_size == 7000
    with pytest.raises(ValueError, match=r"Digest mismatch for file: weights\.bin"):
        changed.verify(str(tmp_path / "changed"))


# Faults


def test_an_error_that_passes_costs_no_version(connected: Server, publish: Publish) -> None:
    fault = connected.faults.status(500, "CommitArtifact", times=1)
    assert publish("retried", "one") == "v0"
    assert fault.met == 1
    assert connected.versions("retried") == {"v0": ["latest"]}


def test_a_lost_answer_is_an_error_although_the_version_is_there(connected: Server, publish: Publish) -> None:
    fault = connected.faults.cut("CommitArtifact")
    with pytest.raises(ValueError, match="unexpected EOF"):
        publish("lost", "one")
    assert fault.met == 1
    assert publish("lost", "one") == "v0", "published again, it is found"


def test_a_lost_upload_is_sent_again(connected: Server, publish: Publish) -> None:
    fault = connected.faults.cut("PUT /storage/content", after=0.3)
    assert publish("upload", "x" * 5000) == "v0"
    assert fault.met == 1
    assert connected.files("upload:v0") == {"weights.bin": b"x" * 5000}


@pytest.mark.usefixtures("fresh_cache")
def test_a_cut_download_is_an_error_and_leaves_no_file(connected: Server, publish: Publish, tmp_path: Path) -> None:
    import requests

    publish("cut", "one" * 1000)
    fault = connected.faults.cut("GET /storage/content")
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="1500 bytes read, 1500 more expected"):
        api().artifact("project/cut:v0").download(root=str(tmp_path / "there"))
    assert fault.met == 1
    assert not [path for path in (tmp_path / "there").rglob("*") if path.is_file()]


def test_a_server_that_is_down_is_waited_for(connected: Server, publish: Publish) -> None:
    connected.down()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(connected.url)
    again = threading.Timer(0.3, connected.up)
    again.start()
    assert publish("waited", "one") == "v0"
    again.join()


def test_a_slow_answer_is_waited_for(connected: Server, publish: Publish) -> None:
    fault = connected.faults.slow(0.5, "CommitArtifact", times=1)
    start = time.perf_counter()
    assert publish("slow", "one") == "v0"
    assert (fault.met, time.perf_counter() - start > 0.5) == (1, True)


# Runs


def test_a_run_arrives_with_all_that_it_told(connected: Server, publish: Publish, tmp_path: Path) -> None:
    import wandb

    publish("input", "one")
    with wandb.init(name="told", job_type="eval", config={"lr": 0.1}, reinit="create_new") as run:
        run.use_artifact("input:v0")
        for step in range(3):
            run.log({"loss": 1.0 - 0.25 * step})
        run.log({"samples": wandb.Table(columns=["answer"], data=[["yes"]])})
    told = connected.run(run.id)
    assert [row["loss"] for row in told.history_rows() if "loss" in row] == [1.0, 0.75, 0.5]
    assert (told.display_name, told.job_type, told.state) == ("told", "eval", "finished")
    assert told.plain_config() == {"lr": 0.1}
    assert json.loads(told.summary_metrics)["loss"] == 0.5
    assert connected.used(run.id) == ["input:v0"]
    assert any(name.startswith("media/table/samples") for name in told.stored_files())
    filters = {"jobType": "eval", "config.lr": {"$lt": 1}}
    (found,) = api().runs("team/project", filters=filters, order="-summary_metrics.loss")
    assert [row["loss"] for row in found.scan_history(keys=["loss"])] == [1.0, 0.75, 0.5]
    assert [a.name for a in found.used_artifacts()] == ["input:v0"]
    assert [r.name for r in api().artifact("project/input:v0").used_by()] == ["told"]
    assert api().artifact("project/input:v0").logged_by().name == "publisher"
    assert API_KEY.encode() not in connected.received()


# Long by nature


def script(server: Server, folder: Path, code: str, *arguments: str, **more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, **server.environment(folder), "PYTHONWARNINGS": "", **more}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-P", "-c", code, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=environment, cwd=folder, text=True, **pipes)


def finish(*children: subprocess.Popen[str], timeout: float = 120) -> None:
    for child in children:
        output, _ = child.communicate(timeout=timeout)
        assert child.returncode == 0, output


PUBLISH_THREE = """
import sys, pathlib, wandb
with wandb.init() as run:
    for index in range(3):
        file = pathlib.Path(f"{sys.argv[1]}-{index}.txt")
        file.write_text(file.name)
        artifact = wandb.Artifact("shared", "model")
        artifact.add_file(str(file), "name.txt")
        run.log_artifact(artifact, aliases=[file.stem]).wait()
"""


@pytest.mark.slow
def test_four_publishers_at_once_leave_no_gap(server: Server, tmp_path: Path) -> None:
    finish(*[script(server, tmp_path, PUBLISH_THREE, f"publisher{index}") for index in range(4)])
    versions = server.versions("shared")
    assert list(versions) == [f"v{index}" for index in range(12)]
    aliases = [alias for names in versions.values() for alias in names]
    assert sorted(aliases) == sorted(["latest", *(f"publisher{p}-{i}" for p in range(4) for i in range(3))])
    for version, names in versions.items():
        (own,) = [alias for alias in names if alias != "latest"]
        assert server.files(f"shared:{version}") == {"name.txt": f"{own}.txt".encode()}
    assert versions["v11"][0] == "latest"
    assert not server.unknown


@pytest.mark.slow
def test_an_offline_run_is_brought_later(server: Server, tmp_path: Path) -> None:
    code = "import wandb\nwith wandb.init(id='abc', config={'lr': 1}) as run:\n    run.log({'loss': 0.5})"
    finish(script(server, tmp_path, code + PUBLISH_THREE.replace(".wait()", ""), "offline", WANDB_MODE="offline"))
    assert server.requests == []
    runs = [str(path) for path in (tmp_path / "dir" / "wandb").glob("offline-run-*")]
    assert len(runs) == 2
    environment = {**os.environ, **server.environment(tmp_path)}
    subprocess.run([BIN / "wandb", "sync", *runs], env=environment, cwd=tmp_path, check=True, capture_output=True)
    assert [row["loss"] for row in server.run("abc").history_rows()] == [0.5]
    assert server.run("abc").state == "finished"
    assert list(server.versions("shared")) == ["v0", "v1", "v2"]
    assert not server.unknown


SWEEP = """
import wandb
from wandb.agents import pyagent
pyagent.Agent.HEARTBEAT_SLEEP_SECONDS = 0.1
def train():
    with wandb.init() as run:
        run.log({"loss": (run.config.x - 2) ** 2})
metric = {"name": "loss", "goal": "minimize"}
sweep = wandb.sweep({"method": "grid", "metric": metric, "parameters": {"x": {"values": [1, 2, 3]}}})
wandb.agent(sweep, train)
assert wandb.Api().sweep(sweep).best_run().config == {"x": 2}
"""


@pytest.mark.slow
def test_a_sweep_is_carried_out_by_an_agent(server: Server, tmp_path: Path) -> None:
    finish(script(server, tmp_path, SWEEP))
    (sweep,) = server.state.sweeps.values()
    assert (sweep.state, sweep.best_loss()) == ("FINISHED", 0)
    assert sorted(run.plain_config()["x"] for run in sweep.own_runs()) == [1, 2, 3]
    assert {run.state for run in sweep.own_runs()} == {"finished"}
    assert not server.unknown


@pytest.mark.slow
def test_a_launched_job_runs_to_its_end(server: Server, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "requirements.txt").write_text("wandb\n")
    (code / "main.py").write_text("import wandb\nwith wandb.init() as run:\n    run.log({'loss': run.config['lr']})\n")
    overrides = {"run_config": {"lr": 0.5}, "entry_point": ["python", "main.py"]}
    (tmp_path / "launch.json").write_text(json.dumps({"overrides": overrides}))
    make = "import wandb; wandb.Api().create_run_queue('gpus', 'local-process')"
    finish(script(server, tmp_path, make))
    call = "import sys; from wandb.cli.cli import cli; cli(sys.argv[1:])"
    create = ("job", "create", "-p", "project", "-n", "trainer", "-E", "python main.py", "code", str(code))
    finish(script(server, tmp_path, call, *create))
    submit = ("launch", "-j", "team/project/trainer:latest", "-q", "gpus", "-p", "project", "-c", "launch.json")
    finish(script(server, tmp_path, call, *submit))
    assert [item.state for item in server.items("gpus")] == ["PENDING"]
    agent = script(server, tmp_path, call, "launch-agent", "-q", "gpus", "-e", "team")
    try:
        limit = time.monotonic() + 60
        while not server.runs() or server.runs()[0].state != "finished":
            assert time.monotonic() < limit, server.items("gpus")[0].messages
            time.sleep(0.2)
    finally:
        agent.terminate()
        agent.communicate(timeout=60)
    assert [row["loss"] for row in server.runs()[0].history_rows()] == [0.5]
    assert [item.associated_run_id for item in server.items("gpus")] == [server.runs()[0].name]
    assert not server.unknown
