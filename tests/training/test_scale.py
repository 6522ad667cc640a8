"""Trainings on two processes against the same on one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from tiny_models import make_tiny_arr_coc, make_tiny_llava
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from harness import CheckpointError, ConfigError
from tests.training.trainings import workspace
from training.lessons import LearningSettings
from training.microworld import build
from training.scale import blocks, scale_arguments
from training.settings import Scale

sys.path.append(str(Path(__file__).parent))

import scale_runs
from scale_runs import ROWS, train

TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def on_two(arguments: Sequence[str], **given: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-P", *TWO, *arguments],
        capture_output=True, text=True, timeout=240, check=False, env=environment, **given,
    )  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """The same training in one process and in two; each folder holds `finished` and the trainer's checkpoints."""

    folder: Path
    model: Path

    def seen(self, name: str) -> dict[str, Any]:
        seen: dict[str, Any] = torch.load(self.folder / name / "seen.pt")
        return seen

    def weights(self, name: str) -> dict[str, Tensor]:
        return load_file(self.folder / name / "finished" / "model.safetensors")


FSDP: Mapping[str, Any] = {"strategy": "fsdp"}
ALONE: Mapping[str, Mapping[str, Any]] = {
    "alone": {},
    "alone-accumulated": {"batch": 1, "accumulate": ROWS},
    "alone-late": {"late": True},
}
TOGETHER: Mapping[str, Mapping[str, Any]] = {
    "ddp": {"strategy": "ddp"},
    "fsdp": FSDP,
    "fsdp-accumulated": {**FSDP, "batch": 1, "accumulate": 2},
    "fsdp-resumed": {**FSDP, "resume": "fsdp/trainer/checkpoint-2"},
    "fsdp-looked-at": {**FSDP, "look": True},
    "fsdp-late": {**FSDP, "late": True},
}
MORE: Mapping[str, Mapping[str, Any]] = {
    "ddp-accumulated": {"strategy": "auto", "batch": 1, "accumulate": 2},
    "ddp-late": {"strategy": "ddp", "late": True},
    "ddp-resumed": {"strategy": "ddp", "resume": "fsdp/trainer/checkpoint-2"},
    "fsdp-from-one": {**FSDP, "resume": "alone/trainer/checkpoint-2"},
    "fsdp-checkpointing": {**FSDP, "gradient_checkpointing": True},
    "fsdp-bfloat16": {**FSDP, "precision": "bfloat16"},
    "fsdp-lora": {**FSDP, "lora": True},
    "fsdp-lora-resumed": {**FSDP, "lora": True, "resume": "fsdp-lora/trainer/checkpoint-2"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("scale")
    model = make_tiny_llava(folder / "model")
    for name, run in ALONE.items():
        torch.save(train(model, folder / name, **{"batch": ROWS, **run}), folder / name / "seen.pt")
    return carry_out(Runs(folder, model), TOGETHER)


@pytest.fixture(scope="module")
def more(runs: Runs) -> Runs:
    return carry_out(runs, MORE)


def carry_out(runs: Runs, described: Mapping[str, Mapping[str, Any]]) -> Runs:
    """Those runs on two processes, one after another, which start as torchrun has them but import nothing anew."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(one_of_two, (runs, described, port), nprocs=2, start_method="fork")
    return runs


def one_of_two(rank: int, runs: Runs, described: Mapping[str, Mapping[str, Any]], port: int) -> None:
    """What a process of two does."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()}, MASTER_ADDR="127.0.0.1")
    os.chdir(runs.folder)
    # The parent is a process by itself, and has noted so.
    for module in [module for name, module in sys.modules.items() if name.startswith("training.")]:
        if hasattr(module, "WORLD"):
            module.WORLD = 2
    AcceleratorState._reset_state(reset_partial_state=True)
    scale_runs.carry_out(runs.model, Path(), [{"name": name, **run} for name, run in described.items()])
    torch.distributed.destroy_process_group()


def far(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_fsdp_keeps_a_share_of_every_weight(runs: Runs) -> None:
    seen = runs.seen("fsdp")
    assert all(seen["spread"])
    assert seen["layers"] == 5  # two of each tower and the pictures' embeddings
    assert seen["shares"] == pytest.approx(seen["all"] / 2, rel=0.01)
    assert not any(runs.seen("ddp")["spread"])


@pytest.mark.parametrize("name", ["ddp", "fsdp", "fsdp-accumulated", "alone-accumulated"])
def test_gradients_and_weights_are_those_of_one_process(runs: Runs, name: str) -> None:
    alone, other = runs.seen("alone"), runs.seen(name)
    assert len(alone["gradients"]) == len(other["gradients"]) == 4
    for one, two in zip(alone["gradients"], other["gradients"], strict=True):
        assert float(torch.cat([value.flatten() for value in one.values()]).norm()) == pytest.approx(1, abs=1e-3)
        assert far(one, two) < 1e-5
    assert other["losses"] == pytest.approx(alone["losses"], abs=1e-5)
    assert far(runs.weights("alone"), runs.weights(name)) < 1e-5
    assert far(runs.weights("alone"), load_file(runs.model / "model.safetensors")) > 1e-3


def test_a_checkpoint_of_fsdp_is_what_one_process_loads(runs: Runs) -> None:
    saved = runs.folder / "fsdp" / "trainer" / "checkpoint-4"
    model = AutoModelForImageTextToText.from_pretrained(saved)
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    assert model.config.architectures == ["LlavaForConditionalGeneration"]
    gathered = runs.seen("fsdp")["gathered"]
    assert far(model.state_dict(), gathered) == 0
    finished = AutoModelForImageTextToText.from_pretrained(runs.folder / "fsdp" / "finished")
    assert far(finished.state_dict(), gathered) == 0
    optimizer = torch.load(saved / "optimizer.pt", weights_only=True)["state"]
    alone = torch.load(runs.folder / "alone" / "trainer" / "checkpoint-4" / "optimizer.pt", weights_only=True)["state"]
    assert optimizer.keys() == alone.keys()
    for place, values in optimizer.items():
        assert far(values, alone[place]) < 1e-5


def test_a_resumed_training_ends_as_an_unbroken_one(runs: Runs) -> None:
    assert far(runs.weights("fsdp"), runs.weights("fsdp-resumed")) == 0
    assert len(runs.seen("fsdp-resumed")["gradients"]) == 2


def test_one_process_goes_on_from_what_two_left(runs: Runs, tmp_path: Path) -> None:
    train(runs.model, tmp_path, batch=ROWS, resume=str(runs.folder / "fsdp" / "trainer" / "checkpoint-2"))
    assert far(load_file(tmp_path / "finished" / "model.safetensors"), runs.weights("alone")) < 1e-5


def test_a_checkpoint_that_lacks_weights_is_not_gone_on_from(runs: Runs, tmp_path: Path) -> None:
    torn = tmp_path / "checkpoint-2"
    shutil.copytree(runs.folder / "alone" / "trainer" / "checkpoint-2", torn)
    tensors = load_file(torn / "model.safetensors")
    tensors.pop(next(name for name in tensors if "multi_modal_projector" in name))
    save_file(tensors, torn / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"checkpoint-2: 1 of the model's tensors .* such as .*projector"):
        train(runs.model, tmp_path, batch=ROWS, resume=str(torn))


def test_an_evaluation_leaves_a_spread_model_as_it_was(runs: Runs) -> None:
    assert len(runs.seen("fsdp-looked-at")["looks"]) == 4
    assert far(runs.weights("fsdp-looked-at"), runs.weights("fsdp")) == 0


def test_activations_computed_twice_give_the_same_gradients(runs: Runs, tmp_path: Path) -> None:
    seen = train(runs.model, tmp_path, batch=ROWS, gradient_checkpointing=True)
    assert far(seen["gradients"][-1], runs.seen("alone")["gradients"][-1]) < 1e-5


def test_bfloat16_is_near_and_keeps_weights_in_float32(runs: Runs, tmp_path: Path) -> None:
    train(runs.model, tmp_path, batch=ROWS, precision="bfloat16")
    near_in_float32(load_file(tmp_path / "finished" / "model.safetensors"), runs.weights("alone"))


def near_in_float32(weights: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> None:
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert 1e-5 < far(weights, exact) < 4e-3


def test_a_part_that_is_trained_late_is_when_spread_too(runs: Runs) -> None:
    for one, two in zip(runs.seen("alone-late")["gradients"], runs.seen("fsdp-late")["gradients"], strict=True):
        assert far(one, two) < 1e-5
    parts = [{name.split(".")[1] for name in step} for step in runs.seen("fsdp-late")["gradients"]]
    assert ["language_model" in step for step in parts] == [False, False, True, True]
    assert all("multi_modal_projector" in step and "vision_tower" not in step for step in parts)
    assert far(runs.weights("alone-late"), runs.weights("fsdp-late")) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("ddp-accumulated", "alone"),
        ("ddp-resumed", "ddp"),
        ("ddp-late", "alone-late"),
        ("fsdp-from-one", "alone"),
        ("fsdp-checkpointing", "fsdp"),
        ("fsdp-lora-resumed", "fsdp-lora"),
    ],
)
def test_other_ways_on_two_processes_end_alike(more: Runs, name: str, same: str) -> None:
    assert far(more.weights(name), more.weights(same)) < 1e-5


@pytest.mark.slow
def test_bfloat16_is_near_with_spread_weights(more: Runs) -> None:
    near_in_float32(more.weights("fsdp-bfloat16"), more.weights("alone"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch warns of itself while it compiles
def test_compiled_layers_give_the_same_gradients(runs: Runs, tmp_path: Path) -> None:
    seen = train(runs.model, tmp_path, batch=ROWS, compile=True, look=True)
    for one, two in zip(seen["gradients"], runs.seen("alone")["gradients"], strict=True):
        assert far(one, two) < 1e-5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("[]", "no configuration of DeepSpeed's"),
        ('{"zero_optimization": {"stage": 3}}', "`strategy: fsdp` is for"),
    ],
)
def test_a_configuration_of_deepspeed_is_read_before_it_is_used(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "ds.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        scale_arguments(Scale(deepspeed=file))


def test_batches_are_prepared_beside_a_gpu_only() -> None:
    assert scale_arguments(Scale(), "cpu")["dataloader_num_workers"] == 0
    assert scale_arguments(Scale(workers=3), "cpu")["dataloader_num_workers"] == 3
    assert scale_arguments(Scale(), "cuda")["dataloader_num_workers"] >= 1
    assert not scale_arguments(Scale(), "cuda")["use_cpu"]


@pytest.mark.parametrize("group", [0, 2])
def test_each_batch_of_a_device_has_a_picture_where_weights_are_spread(group: int) -> None:
    settings = LearningSettings.model_validate(
        {
            "stage": "any", "name": "a", "shares": {"made": 1}, "steps": 6, "batch": 2, "image_drop": 0.9,
            "group_by_length": group, "scale": FSDP,
        }
    )  # fmt: skip
    pictures = [draw.picture for draw in scale_runs.draws(5)]
    spread = settings.draws(pictures)
    whole = settings.model_copy(update={"scale": Scale()}).draws(pictures)
    assert len(spread) == 12
    seen = [spread[place].seen for place in range(12)]
    assert seen[::2] == [(True,)] * 6
    assert seen[1::2] == [whole[place].seen for place in range(1, 12, 2)]
    assert not all(whole[place].seen[0] for place in range(0, 12, 2))
    assert [spread[place].prompts for place in range(12)] == [whole[place].prompts for place in range(12)]


def test_layers_are_found_inner_ones_first(tmp_path: Path) -> None:
    model: nn.Module = AutoModelForImageTextToText.from_pretrained(make_tiny_arr_coc(tmp_path))
    assert [type(part).__name__ for part in blocks(model)] == [
        *["LlamaDecoderLayer"] * 2, "ConvNextLayer", "ConvNextStage",
    ]  # fmt: skip


CONFIG = """\
stage: sft
name: tuned
start: ./model
shares: {vqav2: 1, gqa: 1}
steps: 40
batch: 2
scale: {strategy: fsdp}
save: {every: 2, keep: 3}
evaluate: {benchmarks: [gqa], split: testdev, every: 20, limit: 8}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a microworld, a model and a config for two processes."""
    build(tmp_path / "data" / "microworld", images=30, evaluation_images=12)
    shutil.copy(Path("benchmarks.yaml"), tmp_path)
    make_tiny_llava(tmp_path / "model")
    (tmp_path / "a.yaml").write_text(CONFIG)
    return tmp_path


def harness(folder: Path, *arguments: str) -> Any:
    command = [sys.executable, "-P", "-m", "harness", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_command_on_two_processes_publishes_once_and_goes_on_after_sigterm(folder: Path) -> None:
    command = [sys.executable, "-P", *TWO, "-m", "harness", "train", "a.yaml", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 120
        while not list(folder.glob(".harness/training/*/trainer/checkpoint-*/trainer_state.json")):
            assert time.monotonic() < until
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert said.count("is saved; the same command goes on from there") == 1
    assert not list(folder.glob(".harness/training/*/checkpoint"))

    made = trained(folder)
    assert made["checkpoint"] == "tuned:v0"
    assert made["new"]
    assert not trained(folder)["new"]
    harness(folder, "checkpoints", "pull", "tuned:v0", "--out", "one")
    (run,) = harness(folder, "eval", "--model", "hf:./one", "--bench", "gqa", "--limit", "8")["runs"]
    asked = {name: score["value"] for name, score in run["scores"].items()}
    told = {name.removeprefix("gqa."): score["value"] for name, score in made["scores"].items()}
    assert asked == {name: told[name] for name in asked}

    shutil.rmtree(folder / ".harness")
    assert trained(folder)["new"]
    harness(folder, "checkpoints", "pull", "tuned:v0", "--out", "two")
    assert far(*(load_file(folder / name / "model.safetensors") for name in ("one", "two"))) == 0


def trained(folder: Path) -> Any:
    done = on_two(["-m", "harness", "train", "a.yaml", "--json"], cwd=folder)
    assert done.returncode == 0, done.stderr
    (made,) = json.loads(done.stdout)["stages"]
    return made


ALIGNED = """\
stage: align
name: aligned
start: ./{start}
preferences: data/microworld/preferences/train.jsonl
steps: 2
batch: 2
lora: {{r: 2}}
scale: {{strategy: fsdp}}
evaluate: {{benchmarks: [gqa], split: testdev, every: 1, limit: 4}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("start", ["model", "ours"])
def test_an_aligned_model_that_is_spread_is_evaluated(start: str, folder: Path) -> None:
    make_tiny_arr_coc(folder / "ours")
    (folder / "a.yaml").write_text(ALIGNED.format(start=start))
    made = trained(folder)
    assert made["scores"]["gqa.coverage"]["value"] == 1
    with workspace(folder / ".harness", folder) as session:
        curves = session.trainings.curves(session.trainings.all()[0])
    assert [(step, value) for step, value in curves["eval_gqa.coverage"]] == [(0, 1.0), (1, 1.0), (2, 1.0)]


BREAKING = """\
import os
import sys
from harness import DataError
from harness.__main__ import main
from training.conversations import ConversationCollator

collate = ConversationCollator.__call__
batches = 0

def breaking(self, draws):
    global batches
    batches += 1
    if os.environ["RANK"] == "1" and batches == 3:
        raise DataError("1.jpg: no picture")
    return collate(self, draws)

ConversationCollator.__call__ = breaking
sys.argv = ["harness", "train", "a.yaml"]
main()
"""


@pytest.mark.slow
def test_an_error_in_one_process_ends_all(folder: Path) -> None:
    (folder / "breaking.py").write_text(BREAKING)
    done = on_two(["breaking.py"], cwd=folder)
    assert done.returncode != 0
    assert "error: 1.jpg: no picture" in done.stderr
    assert "exitcode  : 2" in done.stderr
