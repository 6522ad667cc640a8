"""The stage that puts a model together and pretrains it."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from tiny_models import make_tiny_arr_coc, make_tiny_idefics3, make_tiny_llava
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from harness import CheckpointError, ConfigError, Session
from tests.training.trainings import equal, weights, workspace
from training import microworld
from training.contrastive import FILE, Contrast, PairCollator, clip_loss, pooled, siglip_loss
from training.conversations import ConversationCollator
from training.lessons import Draw, Lesson, Picture
from training.modelling.models import Start, load
from training.recipe import Made, carry_out
from training.stages.pretrain import PretrainStage, run

sys.path.append(str(Path(__file__).parent))

import contrastive_runs
from contrastive_runs import ROWS, learn
from scale_runs import Plain

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {"model_type": "clip_vision_model", **SMALL, "patch_size": 16}
LANGUAGE = {"model_type": "llama", **SMALL}
NEW = {
    "vision": {"config": VISION},
    "language": {"config": LANGUAGE},
    "tokenizer": {"rare": 1, "instruction": 4},
    "image_size": 64,
}
PRESET = {"architecture": "arr_coc", "preset": "micro", "tokenizer": {"rare": 1, "instruction": 4}}
ALL = {"vision": True, "projector": True, "language": True}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    microworld.build(folder / "data", images=6, evaluation_images=5)
    benchmarks = {name: {"data": str(folder / "data" / name)} for name in ("gqa", "coco_captions")}
    (folder / "benchmarks.yaml").write_text(yaml.safe_dump({"benchmarks": benchmarks}))
    return folder


@pytest.fixture
def session(world: Path, tmp_path: Path) -> Iterator[Session]:
    with workspace(tmp_path / "home", world) as opened:
        yield opened


def stage(model: dict[str, Any], **changes: Any) -> PretrainStage:
    common = {
        "name": "made", "shares": {"coco_captions": 1}, "steps": 4, "batch": 2, "learning_rate": 1e-2,
        "train": ALL, "save": {"every": 2},
    }  # fmt: skip
    return PretrainStage.model_validate({**common, "model": model, **changes})


def folder_of(made: Made, session: Session) -> Path:
    return Path(session.checkpoints.resolve(made.version.name, f"v{made.version.number}").checkout())


# What it makes


@pytest.mark.parametrize("model", [NEW, PRESET], ids=["llava", "arr_coc"])
def test_a_new_model_is_what_anyone_loads_and_asks(model: dict[str, Any], session: Session) -> None:
    made = carry_out(stage(model), run, session)
    folder = folder_of(made, session)
    loaded, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    assert loaded.config.model_type == ("llava" if model is NEW else "arr_coc")
    draw = Draw(Picture(Plain(7), (Lesson("made", "what", ("red",)),)), ("what is this",), ("red",), (True,))
    batch = ConversationCollator(processor)([draw])
    assert torch.isfinite(loaded(**batch).loss)
    said = loaded.generate(**{name: batch[name] for name in ("input_ids", "pixel_values")}, max_new_tokens=2)
    assert said.shape[0] == 1
    if model is NEW:
        assert (batch["input_ids"] == loaded.config.image_token_id).sum() == (64 // 16) ** 2
        assert batch["pixel_values"].shape[-2:] == (64, 64)
        # All of a new tower's layers are read.
        assert loaded.config.vision_feature_layer == -1
    assert carry_out(stage(model), run, session) == Made(made.version, False)


def test_the_tokenizer_knows_the_words_of_all_that_it_is_to_learn_from(session: Session) -> None:
    words = {"benchmarks": ["coco_captions", "gqa"], "rare": 1, "instruction": 9}
    made = carry_out(stage({**NEW, "tokenizer": words}), run, session)
    assert {"coco_captions", "gqa [words]"} <= set(made.version.metadata["data"])
    folder = folder_of(made, session)
    tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
    for name in words["benchmarks"]:  # type: ignore[attr-defined]
        task = session.benchmark(name, split="train")
        for sample in task.samples():
            for text in (task.request(sample).prompt, *sample.references):
                assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A vision tower and a language model as one finds them, with weights of their own."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(1)
    config = CLIPVisionConfig(**SMALL, patch_size=8, image_size=32, projection_dim=32)
    CLIPVisionModel(config).save_pretrained(folder / "vision")
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    images.save_pretrained(folder / "vision")
    tokenizer = AutoProcessor.from_pretrained(make_tiny_llava(folder / "llava")).tokenizer
    language = LlamaForCausalLM(LlamaConfig(**SMALL, vocab_size=len(tokenizer) + 5))
    language.save_pretrained(folder / "language")
    tokenizer.save_pretrained(folder / "language")
    return {name: folder / name for name in ("vision", "language")}


@pytest.mark.parametrize("architecture", ["llava", "arr_coc"])
@pytest.mark.parametrize("size", [None, 64])
def test_only_the_projection_of_a_model_from_parts_is_trained(
    architecture: str, size: int | None, parts: dict[str, Path], session: Session
) -> None:
    model = {
        "architecture": architecture,
        "vision": {"from": str(parts["vision"])},
        "language": {"from": str(parts["language"])},
        "image_size": size,
    }
    made = carry_out(stage(model, train={}), run, session)
    assert set(made.version.metadata["parents"]) == {str(parts["vision"]), str(parts["language"])}
    folder = folder_of(made, session)
    loaded = AutoModelForImageTextToText.from_pretrained(folder)
    ours = architecture == "arr_coc"
    tower, language = (loaded.vision_encoder, loaded.language_model) if ours else (loaded.model.vision_tower, loaded)
    before = CLIPVisionModel.from_pretrained(parts["vision"]).state_dict()
    positions = "embeddings.position_embedding.weight"
    if size is not None:
        assert tower.state_dict()[positions].shape[0] == (size // 8) ** 2 + 1
        before.pop(positions)
    after = tower.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    causal = LlamaForCausalLM.from_pretrained(parts["language"])
    assert torch.equal(causal.lm_head.weight, language.get_output_embeddings().weight)
    assert torch.equal(causal.get_input_embeddings().weight, loaded.get_input_embeddings().weight)
    decoder = language.get_decoder().state_dict() if not ours else language.model.state_dict()
    assert all(torch.equal(value, decoder[name]) for name, value in causal.model.state_dict().items())
    processor = AutoProcessor.from_pretrained(folder)
    pixels = processor.image_processor([Plain(3).read() and _picture()], return_tensors="pt")["pixel_values"]
    assert pixels.shape[-1] == (size or 32)
    if not ours:
        template = "USER: <image>\nwhat ASSISTANT:"
        content = [{"type": "image"}, {"type": "text", "text": "what"}]
        assert processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True) == (
            template
        )


def _picture() -> Any:
    from PIL import Image

    return Image.new("RGB", (40, 30), "red")


def test_the_projection_learns(parts: dict[str, Path], session: Session, world: Path, tmp_path: Path) -> None:
    model = {"vision": {"from": str(parts["vision"])}, "language": {"from": str(parts["language"])}}
    learnt = {}
    for steps in (1, 4):
        with workspace(tmp_path / str(steps), world) as other:
            learnt[steps] = weights(carry_out(stage(model, train={}, steps=steps), run, other), other)
    changed = {name for name, value in learnt[1].items() if not torch.equal(value, learnt[4][name])}
    assert changed == {name for name in learnt[1] if "multi_modal_projector" in name}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({**NEW, "vision": {"config": {"model_type": "resnet"}}}, "vision: a resnet gives .*; llava needs a square"),
        ({**NEW, "image_size": 16 * 3 + 5}, None),
        ({**NEW, "settings": {"vision_feature_layer": 9}}, "vision_feature_layer|index out of range"),
        ({**PRESET, "settings": {"token_budget": 1}}, "token_budget=1 is outside"),
    ],
    ids=["grid", "size", "layer", "budget"],
)
def test_parts_that_make_no_model_are_configuration_errors(
    model: dict[str, Any], message: str | None, session: Session
) -> None:
    if message is None:
        carry_out(stage(model, steps=1), run, session)
        return
    with pytest.raises(ConfigError, match=message):
        carry_out(stage(model), run, session)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "lama"}, "unknown model_type 'lama' .did you mean 'llama'"),
        ({"model_type": "llama", "hiden_size": 5}, "unknown key of llama 'hiden_size' .did you mean 'hidden_size'"),
    ],
)
def test_what_a_configuration_does_not_know_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        stage({**NEW, "language": {"config": config}})


def test_a_part_that_is_not_there_is_named(session: Session, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        carry_out(stage({**NEW, "vision": {"from": str(tmp_path / "absent")}}), run, session)


@pytest.mark.parametrize("size", [None, 64])
@pytest.mark.parametrize(
    ("part", "tensor"), [("vision", "encoder.layers.1.self_attn.q_proj.weight"), ("language", "layers.1.mlp.up_proj")]
)
def test_a_part_that_lacks_weights_is_named(
    part: str, tensor: str, size: int | None, parts: dict[str, Path], session: Session, tmp_path: Path
) -> None:
    shutil.copytree(parts[part], tmp_path / "torn")
    tensors = load_file(tmp_path / "torn" / "model.safetensors")
    tensors.pop(next(name for name in tensors if tensor in name))
    save_file(tensors, tmp_path / "torn" / "model.safetensors", {"format": "pt"})
    places = {name: {"from": str(place)} for name, place in {**parts, part: tmp_path / "torn"}.items()}
    with pytest.raises(CheckpointError, match=rf"torn: 1 of the model's tensors are not .* such as .*{tensor}"):
        carry_out(stage({**places, "image_size": size}, train={}), run, session)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {}},
        {"model": {**NEW, "start": "./dir"}},
        {"model": {**NEW, "vision": {}}},
        {"model": {**NEW, "vision": {"from": "./dir", "config": VISION}}},
        {"model": {**NEW, "vision": {"config": {"hidden_size": 3}}}},
        {"model": {**PRESET, "preset": "macro"}},
        {"model": {**PRESET, "architecture": "llava"}},
        {"model": {**PRESET, "image_size": 64}},
        {"objectives": {"captioning": 0}},
        {"objectives": {"contrastive": 1}, "prompts": 2},
        {"objectives": {"contrastive": 1}, "image_drop": 0.1},
        {"train": {}, "image_drop": 0.1},
        {"train": {"language": {"from": 0.5}}, "image_drop": 0.1},
        {"train": {"language": {"from": 1.0}}},
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        stage(**{"model": NEW, **change})


# The contrastive objective


def likeness(count: int) -> Tensor:
    return torch.randn(count, count, generator=torch.Generator().manual_seed(0)).double()


RIVALS = [[False, True, True, True], [True, False, False, True], [True, False, False, True], [True] * 3 + [False]]
"""The second and the third pair have the same text."""


def test_clip_is_the_mean_of_both_directions() -> None:
    scores, rivals = likeness(4), torch.tensor(RIVALS)
    expected = 0.0
    for own in range(4):
        others = [place for place in range(4) if place == own or RIVALS[own][place]]
        expected -= math.log(scores[own, own].exp() / sum(scores[own, place].exp() for place in others)) / 8
        expected -= math.log(scores[own, own].exp() / sum(scores[place, own].exp() for place in others)) / 8
    assert float(clip_loss(scores, rivals)) == pytest.approx(expected)


def test_siglip_judges_each_pair() -> None:
    scores, rivals = likeness(4), torch.tensor(RIVALS)
    expected = 0.0
    for row in range(4):
        for column in range(4):
            sign = 1 if row == column else -1
            if row == column or RIVALS[row][column]:
                expected += math.log(1 + math.exp(-sign * float(scores[row, column]))) / 4
    assert float(siglip_loss(scores, rivals)) == pytest.approx(expected)


def test_the_same_text_or_picture_is_no_rival() -> None:
    pictures, texts = torch.eye(3), torch.eye(3)
    contrast = Contrast("clip")
    with torch.no_grad():
        apart = contrast(pictures, texts, torch.tensor([[1, 1], [2, 2], [3, 3]]))
        together = contrast(pictures, texts, torch.tensor([[1, 1], [1, 2], [3, 2]]))
        alone = contrast(pictures, texts, torch.tensor([[1, 1], [1, 2], [1, 3]]))
    assert float(apart) > float(together) > float(alone) == 0


def draws() -> list[Draw]:
    answers = ("red", "a big dog on the street", "two people")
    return [
        Draw(Picture(Plain(60 * place), (Lesson("made", "what", (answer,)),)), ("what is this",), (answer,), (True,))
        for place, answer in enumerate(answers)
    ]


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@pytest.mark.parametrize("make", [make_tiny_llava, make_tiny_idefics3, make_tiny_arr_coc])
def test_pictures_and_texts_are_pooled_one_by_one(make: Any, kind: Any, tmp_path: Path) -> None:
    """In a batch, with padding, each has the state that it has alone."""
    folder = make(tmp_path / "model")
    model, processor = load(Start("", str(folder), None, ""))
    model.eval()
    collate = PairCollator(processor)
    seen: list[tuple[Tensor, Tensor]] = []
    contrast = Contrast(kind)
    contrast.forward = lambda pictures, texts, pairs: seen.append((pictures, texts)) or torch.zeros(1)  # type: ignore
    contrast.attach(model)
    with torch.no_grad():
        model(**collate(draws()))
        for draw in draws():
            model(**collate([draw]))
    whole, *alone = seen
    for place in (0, 1):
        torch.testing.assert_close(whole[place], torch.cat([one[place] for one in alone]), rtol=1e-4, atol=1e-4)
    if make is make_tiny_llava:
        pixels = collate(draws())["pixel_values"]
        patches = torch.stack(list(model.get_image_features(pixel_values=pixels).pooler_output))
        torch.testing.assert_close(whole[0], patches.mean(1))
    told = processor.tokenizer(draws()[0].answers[0] + processor.tokenizer.eos_token, add_special_tokens=False)
    language = model.language_model.model if make is make_tiny_arr_coc else model.get_decoder()
    states = language(input_ids=torch.tensor([told["input_ids"]])).last_hidden_state
    torch.testing.assert_close(whole[1][0], states[0].mean(0), rtol=1e-4, atol=1e-4)


def test_the_mean_is_of_what_the_mask_has() -> None:
    states = torch.tensor([[[1.0], [3.0], [9.0]]])
    assert pooled(states, torch.tensor([[1, 1, 0]])).tolist() == [[2.0]]


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_a_model_learns_by_contrast_and_leaves_nothing_of_it(loss: str, session: Session) -> None:
    settings = stage(NEW, objectives={"captioning": 0.5, "contrastive": 0.5, "loss": loss}, weight_decay=0.5)
    made = carry_out(settings, run, session)
    assert not any("contrast" in name for name in weights(made, session))
    saved = checkpoint(session, 4)
    learnt, begun = torch.load(saved / FILE, weights_only=True), Contrast(loss).state_dict()  # type: ignore[arg-type]
    assert set(learnt) == ({"scale"} if loss == "clip" else {"scale", "bias"})
    group = torch.load(saved / "optimizer.pt", weights_only=True)["param_groups"][-1]
    assert (len(group["params"]), group["weight_decay"]) == (len(learnt), 0.0)
    # AdamW makes steps of at most its rate, here falling from 0.01.
    assert all(0 < float((learnt[name] - begun[name]).abs()) < 4 * 0.0101 for name in learnt)


def checkpoint(session: Session, step: int) -> Path:
    (found,) = (session.home / "training").glob(f"*/trainer/checkpoint-{step}")
    return found


def spread(rank: int, count: int, folder: Path, kind: Any) -> None:
    """One process's rows: the mean of the processes' gradients is what data-parallel training takes."""
    torch.manual_seed(0)
    pictures, texts = torch.nn.Linear(5, 3), torch.nn.Linear(4, 3)
    inputs = torch.randn(6, 5).chunk(count)[rank], torch.randn(6, 4).chunk(count)[rank]
    pairs = torch.tensor([[0, 0], [1, 1], [2, 1], [3, 3], [4, 4], [4, 5]]).chunk(count)[rank]
    if count > 1:
        store = f"file://{folder / 'store'}"
        torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=count)
    contrast = Contrast(kind)
    loss = contrast(pictures(inputs[0]), texts(inputs[1]), pairs)
    loss.backward()
    layers = [*pictures.parameters(), *texts.parameters(), *contrast.parameters()]
    torch.save([loss.detach(), *(value.grad for value in layers)], folder / f"{rank}-of-{count}.pt")
    if count > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_pairs_that_are_spread_over_processes_have_the_loss_and_gradients_of_all(kind: str, tmp_path: Path) -> None:
    spread(0, 1, tmp_path, kind)
    torch.multiprocessing.start_processes(spread, (2, tmp_path, kind), nprocs=2, start_method="fork")
    alone, *both = (torch.load(tmp_path / name) for name in ("0-of-1.pt", "0-of-2.pt", "1-of-2.pt"))
    for one, *two in zip(alone, *both, strict=True):
        assert float(one.norm()) > 1e-4
        torch.testing.assert_close(one, torch.stack(two).mean(0), rtol=1e-5, atol=1e-6)
    # What is learnt of the loss itself has the same gradient in each.
    assert all(torch.equal(one, other) for one, other in zip(both[0][5:], both[1][5:], strict=True))


RUNS: dict[str, dict[str, Any]] = {
    f"{loss}-{strategy}": {"loss": loss, "captioning": captioning, "batch": ROWS // 2, "strategy": strategy}
    for loss, captioning, strategy in (("clip", 1.0, "ddp"), ("siglip", 0.0, "ddp"), ("clip", 1.0, "fsdp"))
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    model = make_tiny_llava(folder / "model")
    told = json.dumps([{"name": name, **given} for name, given in RUNS.items()])
    path = os.pathsep.join(map(str, Path(__file__).parents[:2]))
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", contrastive_runs.__file__]
    done = subprocess.run(
        [sys.executable, "-P", *two, str(model), str(folder), told], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_learn_by_contrast_what_one_does(name: str, runs: Path) -> None:
    """The same losses and gradients as one process with the whole batch, from pairs that are spread over both."""
    alone = learn(runs / "model", runs / f"{name}-alone", **{**RUNS[name], "batch": ROWS, "strategy": "auto"})
    both = torch.load(runs / f"{name}.pt", weights_only=True)
    assert both["losses"] == pytest.approx(alone["losses"], abs=1e-5)
    for one, two in zip(alone["gradients"], both["gradients"], strict=True):
        assert one.keys() == two.keys()
        norm = float(torch.cat([value.flatten() for value in one.values()]).norm())
        assert norm > 1e-2
        assert max(float((one[key] - two[key]).abs().max()) for key in one) < 1e-5 * max(norm, 1)
    for key, value in alone["learnt"].items():
        assert float(value - both["learnt"][key]) == pytest.approx(0, abs=1e-6)
        assert float(value) != float(Contrast(RUNS[name]["loss"]).state_dict()[key])


# Going on


class Interrupted(RuntimeError):
    pass


@pytest.mark.parametrize(
    "model", [pytest.param(NEW, id="llava"), pytest.param(PRESET, id="arr_coc", marks=pytest.mark.slow)]
)
def test_an_interrupted_training_ends_as_an_unbroken_one(
    model: dict[str, Any], world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With parts on a schedule, two objectives and dropout of none: bit by bit, the temperature included."""
    settings = stage(
        model, steps=5, train={**ALL, "vision": {"from": 0.7}}, objectives={"contrastive": 0.5}, weight_decay=0.1
    )
    with workspace(tmp_path / "whole", world) as session:
        whole = weights(carry_out(settings, run, session), session)
        optimizer = torch.load(checkpoint(session, 5) / "optimizer.pt", weights_only=True)["state"]
        learnt = torch.load(checkpoint(session, 5) / FILE, weights_only=True)
    with workspace(tmp_path / "broken", world) as session:
        step = torch.optim.AdamW.step
        calls = []

        def stop(self: Any, closure: Any = None) -> Any:
            calls.append(1)
            if len(calls) == 4:
                raise Interrupted
            return step(self, closure)

        with monkeypatch.context() as patched:
            patched.setattr(torch.optim.AdamW, "step", stop)
            with pytest.raises(Interrupted):
                carry_out(settings, run, session)
        resumed = weights(carry_out(settings, run, session), session)
        again = torch.load(checkpoint(session, 5) / "optimizer.pt", weights_only=True)["state"]
        assert equal(learnt, torch.load(checkpoint(session, 5) / FILE, weights_only=True))
    assert equal(whole, resumed)
    assert optimizer.keys() == again.keys()
    assert all(torch.equal(optimizer[place][key], again[place][key]) for place in again for key in again[place])
