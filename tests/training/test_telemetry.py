"""What is kept of a training while it runs: curves in the workspace, and what Weights & Biases is told."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments
from wandb_server import Server, serve

from harness import MissingExtra, Session, StoreError
from harness import cli as command_line
from training import tracking
from training.callbacks import telemetry
from training.callbacks.progress import Progress
from training.callbacks.telemetry import Meter, memory, numbers
from training.job import Job
from training.loop import fit, trainer_arguments
from training.recipe import Result, carry_out
from training.settings import Tracking, TrainerSettings

EXACT = ("loss", "learning_rate", "grad_norm")
"""Curves that must not depend on how often a training was interrupted."""


class ToyStage(TrainerSettings):
    stage: Literal["toy"] = "toy"
    name: str = "toy"
    steps: int = 12
    batch: int = 4

    def data_digests(self, session: Session) -> dict[str, str]:
        return {"numbers": "d" * 32}

    def parents(self, session: Session) -> dict[str, str]:
        return {"/somebody/s/folder": "e" * 32}


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": nn.functional.cross_entropy(self.layer(x), labels[:, 0])}


class Numbers(Dataset[dict[str, Tensor]]):
    """Rows of one or two answer tokens; the row `breaks` cannot be read."""

    def __init__(self, breaks: int | None = None, error: BaseException | None = None) -> None:
        self.breaks = breaks
        self.error = error or OSError("the disk has gone")

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        if row == self.breaks:
            raise self.error
        random = torch.Generator().manual_seed(row)
        labels = torch.tensor([row % 3, 1 if row % 2 else -100, -100])
        return {"x": torch.randn(4, generator=random), "labels": labels}


def run_on(numbers: Numbers) -> Callable[[Job], Result]:
    def finish(trainer: Trainer, folder: Path) -> None:
        folder.mkdir(parents=True)
        assert trainer.model is not None
        torch.save(trainer.model.state_dict(), folder / "weights.bin")

    def run(job: Job) -> Result:
        args = trainer_arguments(job.settings, job.folder / "trainer")
        arguments = TrainingArguments(**{**args, "train_sampling_strategy": "sequential", "use_cpu": True})
        return fit(Trainer(model=Toy(), args=arguments, train_dataset=numbers), None, job, finish)

    return run


def settings(**changes: Any) -> ToyStage:
    return ToyStage.model_validate({"save": {"every": 4, "publish": False}, "track": {"every": 2}, **changes})


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    found = Session(tmp_path / "home")
    yield found
    found.database.close()


def curves(session: Session) -> dict[str, list[tuple[int, float]]]:
    (training,) = session.trainings.all()
    return session.trainings.curves(training)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, float]]]:
    """The curves of a training that nothing interrupted."""
    session = Session(tmp_path_factory.mktemp("unbroken"))
    carry_out(settings(), run_on(Numbers()), session)
    found = curves(session)
    session.database.close()
    return found


def test_the_workspace_has_all_curves(unbroken: Mapping[str, list[tuple[int, float]]]) -> None:
    steps = [2, 4, 6, 8, 10, 12]
    logged = (*EXACT, "steps_per_second", "samples_per_second", "answer_tokens_per_second", "peak_rss_bytes")
    assert {name: [step for step, _ in points] for name, points in unbroken.items()} == dict.fromkeys(logged, steps)
    for (_, pace), (_, samples), (_, tokens) in zip(
        *(unbroken[f"{name}_per_second"] for name in ("steps", "samples", "answer_tokens")), strict=True
    ):
        assert samples == pytest.approx(4 * pace)
        assert tokens == pytest.approx(6 * pace)  # of four rows, two have one token and two have two


def test_going_on_gives_the_curves_of_an_unbroken_training(
    session: Session, unbroken: Mapping[str, list[tuple[int, float]]]
) -> None:
    with pytest.raises(OSError, match="the disk has gone"):
        carry_out(settings(), run_on(Numbers(breaks=30)), session)  # in the eighth step, saved after the fourth
    (failed,) = session.trainings.all()
    assert (failed.status, failed.reason, failed.step) == ("failed", "OSError: the disk has gone", 6)
    # As a worse attempt would have left it: everything after the checkpoint is to be forgotten.
    session.trainings.log(failed, 7, {"loss": 99.0, "of_another_attempt": 1.0})
    made = carry_out(settings(), run_on(Numbers()), session)
    found = curves(session)
    assert {name: found[name] for name in EXACT} == {name: unbroken[name] for name in EXACT}
    assert "of_another_attempt" not in found
    (complete,) = session.trainings.all()
    assert (complete.status, complete.step, complete.version, complete.reason) == ("complete", 12, "toy:v0", None)
    assert session.trainings.of_digest(made.version.digest) == (complete, None)


def test_an_interrupted_attempt_says_so(session: Session) -> None:
    with pytest.raises(KeyboardInterrupt):
        carry_out(settings(), run_on(Numbers(30, KeyboardInterrupt())), session)
    (stopped,) = session.trainings.all()
    assert (stopped.status, stopped.reason) == ("interrupted", "SIGINT")


def test_curves_go_with_a_training_that_goes_on_in_another_workspace(
    session: Session, tmp_path: Path, unbroken: Mapping[str, list[tuple[int, float]]]
) -> None:
    with pytest.raises(OSError, match="the disk has gone"):
        carry_out(settings(), run_on(Numbers(breaks=30)), session)
    shutil.copytree(session.home / "training", tmp_path / "elsewhere" / "training")
    elsewhere = Session(tmp_path / "elsewhere")
    carry_out(settings(), run_on(Numbers()), elsewhere)
    found = curves(elsewhere)
    elsewhere.database.close()
    assert {name: found[name] for name in EXACT} == {name: unbroken[name] for name in EXACT}


def test_every_number_passes_whatever_holds_it() -> None:
    logged = {
        "loss": 1, "token_budget": np.float32(28), "temperature": torch.tensor(0.5), "rewards/margins": np.array(2.0),
        "mean": torch.ones(1, requires_grad=True), "said": "words", "number_as_text": "3", "nothing": None,
        "several": [1.0, 2.0], "map": torch.ones(2, 2), "epoch": 0.1, "train_runtime": 3.0, "total_flos": 1e9,
    }  # fmt: skip
    assert numbers(logged) == {
        "loss": 1.0, "token_budget": 28.0, "temperature": 0.5, "rewards/margins": 2.0, "mean": 1.0,
    }  # fmt: skip


class Clocked:
    """As much of a trainer as a meter reads; each batch takes three seconds, and the clock is ours."""

    def __init__(self, batches: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.left = iter(batches)
        self.args = type("Args", (), {"train_batch_size": 5, "world_size": 2})
        monkeypatch.setattr(telemetry.time, "perf_counter", lambda: self.now)

    def get_batch_samples(self, batches: Iterator[Any], number: int, device: Any) -> tuple[list[Any], None]:
        self.now += 3
        return [next(self.left) for _ in range(number)], None


def test_throughput_leaves_out_what_is_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    labelled = [{"labels": torch.tensor([[1, 2, -100]] * rows)} for rows in (3, 4, 2, 1)]
    trainer = Clocked([*labelled, {"chosen": 1}], monkeypatch)
    meter = Meter(trainer)  # type: ignore[arg-type]
    assert meter.read() == {}
    meter.pause(50)  # an evaluation before the first step
    trainer.now += 50
    take: Any = trainer.get_batch_samples
    take(None, 2, None)
    trainer.now += 10
    meter.pause(10)  # an evaluation between two steps
    take(None, 1, None)
    trainer.now += 4  # computing
    assert meter.read() == {  # in 3 + 3 + 4 seconds, by two processes
        "steps_per_second": 0.2, "samples_per_second": 2 * 9 / 10, "answer_tokens_per_second": 2 * 18 / 10,
    }  # fmt: skip
    trainer.now += 1000  # saving
    take(None, 2, None)  # one of them has no labels
    assert meter.read() == {"steps_per_second": 1 / 3, "samples_per_second": 2 * (1 + 5) / 3}


def test_memory_says_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    held = np.ones(40_000_000 // 8)
    assert memory()["peak_rss_bytes"] > held.nbytes + 20e6
    assert ("cuda_peak_bytes" in memory()) == torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 123)
    assert memory()["cuda_peak_bytes"] == 123


def show_progress(monkeypatch: pytest.MonkeyPatch, stream: Any) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("training.callbacks.progress.EVERY", 0.0)
    progress = Progress("a name that is much longer than what fits into a line of a terminal")
    state = TrainerState(global_step=987_654, max_steps=1_000_000, is_world_process_zero=True)
    given: Any = (TrainingArguments(use_cpu=True), state, TrainerControl())
    progress.on_train_begin(*given)
    for _ in range(3):
        progress.on_step_begin(*given)
        state.global_step += 1
        progress.on_log(*given, logs={"loss": 1234.5678})
        progress.on_step_end(*given)
    progress.on_train_end(*given)
    stream.flush()


def test_progress_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    show_progress(monkeypatch, stream := io.StringIO())
    first, *others = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue()
    assert first.endswith("going on after step 987,654 of 1,000,000")
    assert len(others) == 3
    assert "step 987,657 of 1,000,000, loss 1234.568, " in others[-1]
    assert max(map(len, (first, *others))) <= 80


def test_progress_is_a_bar_of_one_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(writing, "w", encoding="utf-8") as terminal:
        show_progress(monkeypatch, terminal)
        shown = os.read(reading, 100_000).decode()
    os.close(reading)
    lines = [line for line in re.split("[\r\n]+", shown) if line]
    assert max(map(len, lines)) <= 80
    assert "987657/1000000" in lines[-1]
    assert "loss 1234.568" in lines[-1]


@pytest.mark.parametrize("name", ["{nam}", "{0}", "{name", "{name.x.y}", "", "{name}{stage}"])
def test_a_run_name_that_cannot_be_filled_in_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Tracking(run_name=name)


def test_without_the_sdk_nothing_is_trained(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'vlm-harness\[wandb\]'"):
        carry_out(settings(track={"report_to": ["wandb"]}), run_on(Numbers(breaks=0)), session)
    assert session.trainings.all() == []


def records(folder: Path) -> list[Any]:
    """What the SDK wrote of a run: a log of LevelDB's kind, whose records are protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("*.wandb")
    content, found, parts = file.read_bytes(), [], b""
    block, place = 32_768, 7  # after the file's own mark
    while place + 7 <= len(content):
        if block - place % block < 7:
            place += block - place % block
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # the whole of a record, or its last part
            found.append(Record.FromString(parts))
            parts = b""
    return found


def offline_runs(session: Session) -> list[Path]:
    return sorted((session.home / "wandb").glob("offline-run-*"), key=lambda folder: folder.stat().st_mtime)


def rows(folder: Path) -> dict[int, dict[str, float]]:
    """A run's history: step -> what was logged there."""
    found = {}
    for record in records(folder):
        if record.WhichOneof("record_type") == "history":
            items = {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
            found[int(record.history.step.num)] = {
                name: value for name, value in items.items() if not name.startswith("_")
            }
    return found


def said(folder: Path, kind: str) -> Any:
    (found,) = [
        getattr(record, kind) for record in records(folder) if record.WhichOneof("record_type") == kind
    ]  # fmt: skip
    return found


def children() -> list[str]:
    found = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    return [line for line in found.stdout.splitlines() if "wandb" in line]


TRACKED = {"every": 2, "report_to": ["wandb"], "project": "tries", "run_name": "{stage}-{name}-{timestamp}"}


def test_weights_and_biases_is_told_and_a_run_goes_on(
    session: Session, unbroken: Mapping[str, list[tuple[int, float]]], capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb", reason="the SDK is not installed: pip install 'vlm-harness[wandb]'")
    with pytest.raises(OSError, match="the disk has gone"):
        carry_out(settings(track=TRACKED), run_on(Numbers(breaks=30)), session)
    assert children() == []
    (first,) = offline_runs(session)
    time.sleep(1.1)  # the names of its folders are seconds
    (kept,) = (session.home / "training").glob("toy-*/wandb.json")
    kept.unlink()  # as on another machine, which has the checkpoint alone
    carry_out(settings(track=TRACKED), run_on(Numbers()), session)
    assert children() == []
    assert "offline; `harness track sync` sends it" in capfd.readouterr().err

    second = offline_runs(session)[1]
    begun, again = said(first, "run"), said(second, "run")
    assert (begun.run_id, begun.display_name) == (again.run_id, again.display_name)
    assert begun.display_name.startswith("toy-toy-2")
    assert (begun.project, again.job_type, again.run_group) == ("tries", "toy", "toy")
    losses = {step: {"train/loss": value} for step, value in unbroken["loss"]}
    for folder, steps in ((first, (2, 4, 6)), (second, (2, 4, 6, 8, 10, 12))):  # the newest is whole
        history = rows(folder)
        assert {step: {"train/loss": row["train/loss"]} for step, row in history.items()} == {
            step: losses[step] for step in steps
        }
        for step, row in history.items():
            assert row["train/global_step"] == step
            assert {"train/learning_rate", "train/grad_norm"} <= row.keys()
    assert (said(first, "exit").exit_code, said(second, "exit").exit_code) == (1, 0)
    for folder in (first, second):
        content = b"".join(
            path.read_bytes() for path in folder.rglob("*") if path.is_file() and "logs" not in path.parts
        )
        assert said(folder, "run").host == ""
        for private in (str(session.home), "/somebody/s/folder", sys.executable):
            assert private.encode() not in content, private
        assert list((folder / "files").iterdir()) == []


def test_what_the_tracker_is_told_of_a_training(session: Session) -> None:
    job = Job.of(settings(track=TRACKED), session)
    assert tracking.sent(job) == {
        "training": job.id, "stage": "toy", "settings": job.settings.model_dump(mode="json"),
        "config_digest": job.metadata()["config_digest"], "data": ["d" * 32], "parents": ["e" * 32],
    }  # fmt: skip


def test_a_dead_server_costs_a_moment(
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    unbroken: Mapping[str, list[tuple[int, float]]],
) -> None:
    pytest.importorskip("wandb", reason="the SDK is not installed: pip install 'vlm-harness[wandb]'")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking, "PATIENCE", 1.0)
    carry_out(settings(track=TRACKED), run_on(Numbers()), session)
    assert curves(session)["loss"] == unbroken["loss"]
    (folder,) = offline_runs(session)
    assert list(rows(folder)) == [2, 4, 6, 8, 10, 12]
    assert capfd.readouterr().err.count("goes on offline") == 1
    assert children() == []


def test_an_sdk_that_fails_costs_nothing_and_is_said_once(
    session: Session, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wandb = pytest.importorskip("wandb", reason="the SDK is not installed: pip install 'vlm-harness[wandb]'")

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("no\nway")

    monkeypatch.setattr(wandb, "init", lambda **given: Broken())
    carry_out(settings(track=TRACKED), run_on(Numbers()), session)
    assert capfd.readouterr().err.count("wandb: RuntimeError: no; the workspace has all curves") == 1
    assert session.trainings.all()[0].status == "complete"


def test_a_workspace_that_cannot_be_written_hides_no_error(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> None:
        raise StoreError("full")

    monkeypatch.setattr("harness.trainings.TrainingStore.stop", full)
    with pytest.raises(OSError, match="the disk has gone"):
        carry_out(settings(), run_on(Numbers(breaks=30)), session)


@pytest.fixture
def server(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("wandb", reason="the SDK is not installed: pip install 'vlm-harness[wandb]'")
    with serve() as server:
        for name, value in server.environment(tmp_path / "wandb").items():
            monkeypatch.setenv(name, value)
        for name in ("WANDB_MODE", "WANDB_DIR"):
            monkeypatch.delenv(name)
        yield server
        assert not server.unknown


def sent_rows(server: Server, run: str) -> list[dict[str, float]]:
    """What a run's history has at the server, by the training's own step."""
    return [
        {name: value for name, value in row.items() if name.startswith("train/")}
        for row in server.run(run, "tries").history_rows()
        if "train/loss" in row
    ]


@pytest.mark.slow
def test_a_server_is_told_and_a_run_goes_on_there(
    session: Session, server: Server, unbroken: Mapping[str, list[tuple[int, float]]]
) -> None:
    with pytest.raises(OSError, match="the disk has gone"):
        carry_out(settings(track=TRACKED), run_on(Numbers(breaks=30)), session)
    assert children() == []
    (broken,) = server.runs("tries")
    assert broken.state == "failed"
    carry_out(settings(track=TRACKED), run_on(Numbers()), session)
    assert children() == []
    (run,) = server.runs("tries")
    assert (run.name, run.state, run.job_type, run.group) == (broken.name, "finished", "toy", "toy")
    assert [(int(row["train/global_step"]), row["train/loss"]) for row in sent_rows(server, run.name)] == [
        (step, pytest.approx(value)) for step, value in unbroken["loss"]
    ]
    for private in (str(session.home), "/somebody/s/folder", sys.executable, os.environ["WANDB_API_KEY"]):
        assert private.encode() not in server.received(), private


@pytest.mark.slow
def test_offline_trainings_are_sent_with_what_else_is_left(
    session: Session,
    server: Server,
    unbroken: Mapping[str, list[tuple[int, float]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HARNESS_HOME", str(session.home))
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(OSError, match="the disk has gone"):
        carry_out(settings(track=TRACKED), run_on(Numbers(breaks=30)), session)
    time.sleep(1.1)  # the names of its folders are seconds
    carry_out(settings(track=TRACKED), run_on(Numbers()), session)
    assert server.requests == []
    monkeypatch.delenv("WANDB_MODE")

    server.faults.status(500, "file_stream")
    monkeypatch.setenv("WANDB__FILE_STREAM_RETRY_MAX", "2")
    capsys.readouterr()
    assert command_line.run(["track", "sync", "--json"]) == 3
    (left,) = json.loads(capsys.readouterr().out)["left"]
    assert (left["kind"], left["sent"]) == ("training", False)
    server.faults.clear()
    assert command_line.run(["track", "sync", "--json"]) == 0
    (sent,) = json.loads(capsys.readouterr().out)["sent"]
    assert (sent["kind"], sent["detail"]) == ("training", f"{server.url}/team/tries/runs/{sent['id']}")
    (run,) = server.runs("tries")
    assert run.name == sent["id"]
    assert [row["train/loss"] for row in sent_rows(server, run.name)] == [
        pytest.approx(value) for _, value in unbroken["loss"]
    ]
    seen = len(server.requests)
    assert command_line.run(["track", "sync"]) == 0
    assert len(server.requests) == seen
    assert children() == []
