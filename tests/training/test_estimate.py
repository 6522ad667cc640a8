"""`harness estimate` and `harness train --dry-run`, held against what real steps allocate."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from tiny_models import make_tiny_arr_coc, make_tiny_idefics3, make_tiny_llava
from torch.profiler import ProfilerActivity, profile

from harness import ConfigError, DataError, HarnessError, UsageError, open_session
from training import microworld
from training.callbacks.evaluating import bare, prepare_evaluation, resting
from training.commands.estimate import command as estimate_command
from training.commands.train import command as train_command
from training.dry_run import plan
from training.estimate import room
from training.estimate.assembling import Assembly, StandIns, assemble
from training.estimate.devices import GPUS, Here
from training.estimate.estimating import Memory, Shards, answer, heaviest, train
from training.estimate.imagining import Imagining
from training.estimate.ledger import Ledger
from training.estimate.quiet import quiet
from training.estimate.report import duration, fewest
from training.estimate.steps import models_of, shorten, widest
from training.estimate.timing import Throughput
from training.recipe import carry_out, read_stage
from training.settings import Evaluating

CLOSE = 0.15


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a small world, its settings, and tiny models."""
    folder = tmp_path_factory.mktemp("estimates")
    world = microworld.build(folder / "data", images=12, evaluation_images=5).path
    benchmarks = {name: {"data": str(world / name)} for name in ("gqa", "vqav2", "coco_captions")}
    (folder / "benchmarks.yaml").write_text(yaml.safe_dump({"benchmarks": benchmarks}))
    for make in (make_tiny_llava, make_tiny_idefics3, make_tiny_arr_coc):
        make(folder / make.__name__.removeprefix("make_tiny_"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, as the current folder, with a new workspace."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    return made


def config(place: Path, **settings: Any) -> Path:
    """A config file with these settings."""
    common = {"stage": "sft", "name": "tiny", "steps": 10, "batch": 4}
    if settings.get("stage") != "align":
        common["shares"] = {"gqa": 1, "vqav2": 1}  # type: ignore[assignment]
    (place / "config.yaml").write_text(yaml.safe_dump({**common, **settings}))
    return place / "config.yaml"


def stand_ins(place: Path) -> StandIns:
    return StandIns(place / "planned", offline=True)


def allocated(work: Callable[[], object]) -> int:
    """Bytes that the CPU's allocator had given out at the moment of most, beyond those before."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def held(assembly: Assembly) -> int:
    """Bytes of the models before anything is done with them."""
    storages = [
        tensor.untyped_storage()
        for model in models_of(assembly.trainer)
        for tensor in (*model.parameters(), *model.buffers())
    ]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def measured_training(place: Path, settings: Any, run: Any) -> int:
    with open_session() as session:
        real = assemble(settings, run, session, stand_ins(place), real=True)
        trainer, collate = real.trainer, real.trainer.data_collator

        def copied(rows: Any) -> Any:
            # NumPy's memory, in which pictures are made, is not the allocator's.
            batch = collate(rows)
            return {name: value.clone() for name, value in batch.items()} if isinstance(batch, dict) else batch

        widest(trainer)
        trainer.data_collator = copied
        shorten(trainer, heaviest(settings))
        with quiet():
            return held(real) + allocated(trainer.train)


def measured_answering(place: Path, settings: Any, run: Any) -> int:
    with open_session() as session:
        real = assemble(settings, run, session, stand_ins(place), real=True)
        asked = Evaluating(benchmarks=("gqa",), split="train", limit=16)
        live = prepare_evaluation(asked, session, real.trainer.model)
        with resting(real.trainer.model):
            return held(real) + allocated(lambda: live.scores(bare(real.trainer.model), real.processor))


def estimated(place: Path, file: Path) -> tuple[Any, Any, Memory, Memory | None]:
    settings, run = read_stage(file)
    with open_session() as session:
        assembly = assemble(settings, run, session, stand_ins(place))
        return settings, run, train(assembly), answer(assembly)


LLAVA, ARR_COC, IDEFICS = {"start": "./llava"}, {"start": "./arr_coc"}, {"start": "./idefics3"}
LORA: dict[str, Any] = {"lora": {"r": 4, "whole": ["projector"]}}
TWICE: dict[str, Any] = {"scale": {"gradient_checkpointing": True}}


def check_training(place: Path, changes: Mapping[str, Any]) -> None:
    settings, run, memory, _ = estimated(place, config(place, **changes))
    assert memory.total == pytest.approx(measured_training(place, settings, run), rel=CLOSE)


def test_the_memory_of_a_llava_is_that_of_real_steps_and_real_answers(place: Path) -> None:
    settings, run, memory, answering = estimated(place, config(place, **LLAVA, **LORA))
    assert memory.total == pytest.approx(measured_training(place, settings, run), rel=CLOSE)
    assert answering is not None
    assert answering.total == pytest.approx(measured_answering(place, settings, run), rel=CLOSE)
    # By hand: 51,232 weights of four bytes, and the adapters and a second projector beside them.
    with open_session() as session:
        model = assemble(settings, run, session, stand_ins(place), real=True).trainer.model
    assert memory.parts["weights"] >= 4 * sum(weight.numel() for weight in model.parameters()) > 4 * 51_232
    # Keys and values: 2 layers x 2 heads x 8 numbers each, for 16 rows.
    assert answering.parts["kv_cache"] % (2 * 2 * 2 * 8 * 4) == 0
    assert answering.parts["optimizer"] == answering.parts["gradients"] == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize("adapters", [{}, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("twice", [{}, TWICE], ids=["kept", "twice"])
@pytest.mark.parametrize("start", [LLAVA, IDEFICS, ARR_COC], ids=["llava", "idefics3", "arr_coc"])
def test_the_memory_of_training_is_that_of_real_steps(
    place: Path, start: dict[str, Any], twice: dict[str, Any], adapters: dict[str, Any], batch: int
) -> None:
    check_training(place, {**start, **twice, **adapters, "batch": batch})


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "changes",
    [
        {**LLAVA, "scale": {"precision": "bfloat16"}},
        {**LLAVA, "scale": {"precision": "bfloat16", "gradient_checkpointing": True}},
        {**LLAVA, "accumulate": 3},
        {**LLAVA, "train": {"vision": False}},
        {**LLAVA, "train": {"language": {"from": 0.5}}},
        {**LLAVA, "image_size": 64},
        {"stage": "arr_coc", "router": {"start": 1}},
        {"stage": "arr_coc", "router": {"start": 0.5, "every": 2, "pictures": 2, "floor": 0}, "steps": 8},
        {"stage": "align", **LLAVA, "preferences": "data/preferences/train.jsonl"},
        {"stage": "align", **LLAVA, **LORA, "preferences": "data/preferences/train.jsonl"},
        {"stage": "align", **LLAVA, "alignment_method": "reward", "preferences": "data/preferences/train.jsonl"},
        {"stage": "align", **LLAVA, "alignment_method": "rlhf", "reward": "gqa.accuracy", "num_generations": 4},
    ],
    ids=[
        "halves",
        "halves-twice",
        "accumulate",
        "frozen",
        "late",
        "larger",
        "arr_coc",
        "soft",
        "dpo",
        "dpo-lora",
        "reward",
        "rlhf",
    ],
)
def test_the_memory_of_other_trainings_is_that_of_real_steps(place: Path, changes: dict[str, Any]) -> None:
    check_training(place, changes)


@pytest.mark.slow
def test_soft_steps_need_at_most_what_is_estimated(place: Path) -> None:
    """How many regions a gate leaves out depends on what was learnt: all of them are counted."""
    router = {"start": 0.5, "every": 2, "pictures": 2, "floor": 0.02}
    settings, run, memory, _ = estimated(place, config(place, stage="arr_coc", steps=8, router=router))
    assert memory.total >= measured_training(place, settings, run)


@pytest.mark.slow
@pytest.mark.parametrize("start", [LLAVA, IDEFICS, ARR_COC], ids=["llava", "idefics3", "arr_coc"])
def test_the_memory_of_answering_is_that_of_real_answers(place: Path, start: dict[str, Any]) -> None:
    settings, run, _, memory = estimated(place, config(place, **start))
    assert memory is not None
    assert memory.total == pytest.approx(measured_answering(place, settings, run), rel=CLOSE)


SIZES = {
    "0.3 B": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 16, "num_attention_heads": 16},
    "2 B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 16},
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA, whose allocator tells what it gave out")
@pytest.mark.parametrize("twice", [{}, TWICE], ids=["kept", "twice"])
@pytest.mark.parametrize("size", SIZES)
def test_the_memory_on_a_gpu_is_that_of_real_steps(place: Path, size: str, twice: dict[str, Any]) -> None:
    vision = {"model_type": "clip_vision_model", "hidden_size": 768, "intermediate_size": 3072, "image_size": 224}
    vision |= {"num_hidden_layers": 12, "num_attention_heads": 12, "patch_size": 14}
    language = {"model_type": "llama", "vocab_size": 32000, "max_position_embeddings": 4096, **SIZES[size]}
    parts = {"vision": {"config": vision}, "language": {"config": language}}
    train_all = {"train": {"vision": True, "language": True}}
    settings, run, memory, _ = estimated(place, config(place, stage="pretrain", model=parts, **train_all, **twice))
    with open_session() as session:
        real = assemble(settings, run, session, stand_ins(place), real=True)
        widest(real.trainer)
        shorten(real.trainer, heaviest(settings))
        torch.cuda.reset_peak_memory_stats()
        real.trainer.train()
        assert memory.total == pytest.approx(torch.cuda.max_memory_allocated(), rel=CLOSE)


def test_what_is_imagined_computes_shapes_and_makes_up_decisions() -> None:
    imagining, ledger = Imagining(), Ledger()
    with imagining.building():
        layer = torch.nn.Linear(3, 5)
    mask = torch.tensor([True, False, True, True])
    with imagining, ledger:
        scores = layer(torch.ones(4, 3))
        order = scores.argsort(dim=-1, descending=True)
        chosen = scores[mask]
        best = scores.argmax(-1)
        table = torch.zeros(4, 5).index_copy_(0, torch.tensor([1]), scores[:1])
        assert bool((scores > 0).all())
        assert not bool(scores.isnan().any())
    assert order.tolist() == [[0, 1, 2, 3, 4]] * 4
    assert best.tolist() == [2] * 4
    assert chosen.shape == (3, 5)
    assert table.shape == (4, 5)
    before = ledger.live.total()
    del chosen
    assert before - ledger.live.total() == 3 * 5 * 4


def test_under_fsdp_states_are_spread_and_layers_gathered() -> None:
    memory = Memory({"weights": 400, "gradients": 400, "optimizer": 800, "activations": 70}, Shards(20, 5, 40))
    assert memory.on_each(1) == memory.parts
    assert memory.on_each(4) == {
        "weights": 100,
        "gradients": 100,
        "optimizer": 200,
        "activations": 70,
        "gathered": 5 + 3 * 20 + 40,
    }


def test_the_fewest_gpus_are_named() -> None:
    card = GPUS[0]
    shards = Shards(0, 0, 0)
    assert fewest(card, Memory({"weights": card.usable}, shards), "full") == 1
    assert fewest(card, Memory({"weights": 3 * card.usable}, shards), "full") == 4
    assert fewest(card, Memory({"weights": 3 * card.usable}, shards), "inference") is None
    assert fewest(card, Memory({"activations": card.usable + 1}, shards), "full") is None


def test_throughput_is_read_and_times_are_told() -> None:
    assert Throughput.parse("12 samples/s").seconds(600, 100) == 50
    assert Throughput.parse("3e3 tokens/s").seconds(600, 100) == 20
    for wrong in ("12", "fast", "0 samples/s", "12 pictures/s"):
        with pytest.raises(UsageError, match="write a number and its unit"):
            Throughput.parse(wrong)
    assert [duration(seconds) for seconds in (9, 80, 7300, 200_000)] == ["9 s", "1 min", "2 h 2 min", "2 d 8 h"]


def test_the_command_says_what_is_needed_and_what_fits(place: Path, tmp_path: Path) -> None:
    arguments = [str(config(place, **LLAVA)), "--set", "batch=2", "--throughput", "4 samples/s", "--json"]
    told = json.loads(CliRunner().invoke(estimate_command, arguments, catch_exceptions=False).stdout)
    assert told["batch"]["rows"] == 2
    assert set(told["memory"]) == {"full", "lora", "inference"}
    assert told["parameters"]["projector"] == {"all": 2112, "trained": 2112}
    assert told["time"] == {"samples": 20, "seconds": 5.0, "from": "4 samples/s, as stated"}
    assert [gpu["fewest"]["full"] for gpu in told["gpus"]] == [1] * 7
    assert not (tmp_path / "home" / "training").exists()


def test_a_dry_run_says_what_would_be_done_and_does_nothing(place: Path, tmp_path: Path) -> None:
    evaluate = {"benchmarks": ["gqa"], "limit": 4, "every": 5, "best": "gqa.accuracy"}
    save = {"every": 4, "keep": 1}
    file = config(place, **LLAVA, accumulate=2, warmup=2, evaluate=evaluate, save=save)
    before = sorted(place.rglob("*"))
    result = CliRunner().invoke(train_command, [str(file), "--dry-run"], catch_exceptions=False)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    said = " ".join(result.stdout.split())
    for part in (
        "sft -> tiny",
        "split train: 12 pictures,",
        "10 of 4 x 2 x 1 = 8 samples (batch x accumulate x processes), 6.667 epochs",
        "cosine: 0 at 1,",
        "0.0001 at 3",
        "language: 25,184 of 25,184 trained",
        "3, every 4 steps, 1 kept, each published",
        "3 of gqa, 4 samples each, best by gqa.accuracy",
    ):
        assert part in said
    assert sorted(place.rglob("*")) == before
    # But for what the workspace remembers of pictures that it has read.
    assert {file.name.partition("-")[0] for file in (tmp_path / "home").rglob("*")} <= {"workspace.db", ".gitignore"}
    with open_session() as session:
        assert not session.trainings.all()
        assert not list(session.checkpoints.names())
    document = CliRunner().invoke(train_command, [str(file), "--dry-run", "--json"], catch_exceptions=False)
    (told,) = json.loads(document.stdout)["stages"]
    assert told["steps"]["samples"] == 80
    assert told["fits"] is True


def test_a_stage_may_start_from_what_the_one_before_it_would_make(place: Path) -> None:
    names = stand_ins(place)
    with open_session() as session:
        first, _ = plan(*read_stage(config(place, name="first", **LLAVA)), session, names)
        second, _ = plan(*read_stage(config(place, name="second", start="first:latest")), session, names)
    assert second["starts_from"] == {"first:planned": "planned first"}
    assert second["parameters"] == first["parameters"]


def test_a_stage_may_learn_from_what_the_one_before_it_would_prepare(place: Path) -> None:
    prepare = place / "prepare.yaml"
    prepare.write_text("stage: data\nname: set\nbenchmarks: [gqa, vqav2]\n")
    names = stand_ins(place)
    with open_session() as session:
        plan(*read_stage(prepare), session, names)
        told, _ = plan(*read_stage(config(place, **LLAVA, dataset="set:latest")), session, names)
        assert told["data"]["pictures"] == 12
        assert any("yet to be prepared" in note for note in told["notes"])
        with pytest.raises(HarnessError, match="unknown checkpoint 'set'"):
            plan(*read_stage(config(place, **LLAVA, dataset="set:latest")), session, stand_ins(place))


def test_what_would_end_the_training_is_said_at_once(place: Path) -> None:
    for changes, said in (
        ({**LLAVA, "shares": {"gpa": 1}}, "did you mean 'gqa'"),
        ({**LLAVA, "split": "tain"}, "tain"),
        ({"start": "./nothing"}, "no config.json"),
        ({"start": "nobody:latest"}, "nobody"),
        ({"start": "org/unheard", "revision": "0" * 40}, "its architecture is not among those known"),
    ):
        with open_session() as session, pytest.raises(Exception, match=said) as raised:
            plan(*read_stage(config(place, **changes)), session, stand_ins(place))
        assert getattr(raised.value, "exit_code", 0) == 2


def test_what_cannot_fit_is_refused_before_it_loads(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    little = Here("a small machine", "cpu", 400_000)
    monkeypatch.setattr(room, "here", lambda device: little)
    monkeypatch.setattr("transformers.modeling_utils.safe_open", lambda *args: pytest.fail("weights were read"))
    settings, run = read_stage(config(place, **LLAVA))
    with open_session() as session:
        with pytest.raises(
            ConfigError, match=r"needs at least 0\.82 MB .*small machine has 0\.40 MB free; train adapters"
        ):
            carry_out(settings, lambda job: pytest.fail("it was trained"), session)
        with pytest.raises(DataError, match="trained by force"):
            carry_out(settings, _refuse, session, force=True)
        monkeypatch.setattr("training.dry_run.here", lambda device: little)
        told, error = plan(settings, run, session, stand_ins(place))
    assert told["fits"] is False
    assert "take smaller batches" in str(error)


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        # 51,232 weights of four bytes, with gradients and moments sixteen.
        (LLAVA, 51_232 * 16),
        ({**LLAVA, "train": {"vision": False}}, 51_232 * 4 + (2_112 + 25_184) * 12),
        ({**LLAVA, "train": {"vision": {"from": 0.5}}}, 51_232 * 16),
    ],
    ids=["full", "frozen", "late"],
)
def test_the_least_that_is_needed_is_that_of_the_weights(
    place: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], needed: int
) -> None:
    settings, _ = read_stage(config(place, **changes))
    with open_session() as session:
        monkeypatch.setattr(room, "here", lambda device: Here("a machine", "cpu", needed))
        room.ensure_room(settings, session)
        monkeypatch.setattr(room, "here", lambda device: Here("a machine", "cpu", needed - 1))
        with pytest.raises(ConfigError, match="does not fit"):
            room.ensure_room(settings, session)


def test_a_new_model_that_cannot_fit_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Llama with 70 B weights would take 1.1 TB to train; nothing of it is made."""
    language = {"model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80}
    language |= {"num_attention_heads": 64, "num_key_value_heads": 8}
    vision = {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 8}
    parts = {"vision": {"config": vision}, "language": {"config": language}}
    changes = {"stage": "pretrain", "model": parts, "train": {"language": True}}
    settings, run = read_stage(config(place, **changes))
    monkeypatch.setattr(room, "here", lambda device: Here("a machine", "cpu", 10**12))
    with open_session() as session, pytest.raises(ConfigError, match=r"needs at least 1,\d+\.\d GB"):
        carry_out(settings, run, session)


def _refuse(job: Any) -> Any:
    raise DataError("trained by force")
