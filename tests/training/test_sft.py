"""Supervised fine-tuning of models that are there."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from tiny_models import make_tiny_arr_coc, make_tiny_idefics3, make_tiny_llava
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
)

from harness import CheckpointError, ConfigError, HarnessError, Session
from tests.training.trainings import equal, weights, workspace
from training import microworld
from training.conversations import ConversationCollator
from training.lessons import Draw, Lesson, Picture
from training.modelling.models import Lora, Start, adapt, finish, load
from training.modelling.parts import LANGUAGE, PARTS, Freezing, parameters_by_part, part_of
from training.modelling.resolution import interpolated
from training.recipe import carry_out
from training.stages.sft import SftStage, run, usual

MODELS = {"llava": make_tiny_llava, "idefics3": make_tiny_idefics3, "arr_coc": make_tiny_arr_coc}


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
    (folder / "benchmarks.yaml").write_text(yaml.safe_dump({"benchmarks": {"gqa": {"data": str(folder / "data/gqa")}}}))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MODELS.items()}


@pytest.fixture
def session(world: Path, tmp_path: Path) -> Iterator[Session]:
    with workspace(tmp_path / "home", world) as opened:
        yield opened


def stage(start: Path | str, **changes: Any) -> SftStage:
    common = {
        "name": "tuned", "shares": {"gqa": 1}, "steps": 4, "batch": 2, "learning_rate": 1e-2, "save": {"every": 2},
        "image_drop": 0.3,
    }  # fmt: skip
    return SftStage.model_validate({**common, "start": str(start), **changes})


def start(folder: Path) -> Start:
    return Start(str(folder), str(folder), None, "")


def checkpoint(session: Session, step: int) -> Path:
    (found,) = (session.home / "training").glob(f"*/trainer/checkpoint-{step}")
    return found


class Plain:
    """A picture of one colour."""

    name = "plain.png"

    def read(self) -> bytes:
        encoded = io.BytesIO()
        Image.new("RGB", (40, 30), "red").save(encoded, "PNG")
        return encoded.getvalue()


def batch_for(processor: Any) -> dict[str, Tensor]:
    picture = Picture(Plain(), (Lesson("made", "what", ("red",)),))
    draws = [
        Draw(picture, ("what is this ?",), (answer,), (seen,)) for answer, seen in (("red", True), ("a dog", False))
    ]
    return ConversationCollator(processor)(draws)


# Parts


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_belongs_to_a_part(folders: dict[str, Path], name: str) -> None:
    model = AutoModelForImageTextToText.from_pretrained(folders[name])
    parts = parameters_by_part(model)
    expected = {"vision", "projector", LANGUAGE} | ({"router"} if name == "arr_coc" else set())
    assert set(parts) == expected
    assert sum(map(len, parts.values())) == len(list(model.parameters()))
    text = AutoModelForCausalLM.from_config(model.config.text_config)
    assert sum(p.numel() for p in parts[LANGUAGE]) == sum(p.numel() for p in text.parameters())


def test_known_architectures_have_their_parts() -> None:
    """By the names that their parameters have in transformers."""
    known = {
        "model.visual.merger.mlp.0.weight": "projector",  # Qwen2-VL's lies within its encoder
        "model.visual.blocks.0.attn.qkv.weight": "vision",
        "language_projection.weight": "projector",  # BLIP-2
        "qformer.encoder.layer.0.attention.attention.query.weight": "projector",
        "query_tokens": "projector",
        "vision_model.encoder.layers.0.mlp.fc1.weight": "vision",
        "language_model.model.decoder.layers.0.fc1.weight": LANGUAGE,
        "model.connector.modality_projection.proj.weight": "projector",  # SmolVLM
        "model.aligner.fc1.weight": "projector",  # Janus
        "base_model.model.knowing.head.lora_A.default.weight": "router",
        "lm_head.weight": LANGUAGE,
    }
    assert {name: part_of(name) for name in known} == known
    assert set(known.values()) == {*PARTS, LANGUAGE}


def test_what_is_trained_is_said_in_numbers(folders: dict[str, Path]) -> None:
    model = AutoModelForImageTextToText.from_pretrained(folders["llava"])
    sizes = {part: sum(p.numel() for p in found) for part, found in parameters_by_part(model).items()}
    said = str(Freezing(model, {"vision": False, "language": _late(0.5)}, 10, usual))
    assert f"vision 0 of {sizes['vision']:,}" in said
    assert f"projector {sizes['projector']:,} of {sizes['projector']:,}" in said
    assert f"language {sizes[LANGUAGE]:,} of {sizes[LANGUAGE]:,} from step 6 on" in said


def _late(share: float) -> Any:
    from training.modelling.parts import Late

    return Late.model_validate({"from": share})


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"router": True}, r"train: the model has no part 'router'; it has vision, projector, language"),
        ({"visoin": False}, r"no part 'visoin'"),
        ({"vision": False, "projector": False, "language": False}, "nothing is trained at the first step"),
        ({"vision": False, "projector": False, "language": _late(0.5)}, "nothing is trained at the first step"),
    ],
)
def test_parts_that_are_not_there_are_named(folders: dict[str, Path], policy: Any, message: str) -> None:
    model = AutoModelForImageTextToText.from_pretrained(folders["llava"])
    with pytest.raises(ConfigError, match=message):
        Freezing(model, policy, 10, usual)


# Schedule


@pytest.mark.parametrize("name", ["llava", "arr_coc"])
def test_a_part_is_as_it_was_until_its_step(folders: dict[str, Path], name: str, session: Session) -> None:
    """Under strong decay: neither weights nor moments nor counts of steps before, and all of them afterwards."""
    settings = stage(folders[name], train={"vision": {"from": 0.5}, "projector": False}, weight_decay=0.5)
    carry_out(settings, run, session)
    before = AutoModelForImageTextToText.from_pretrained(folders[name]).state_dict()
    steps = {}
    for step in (2, 4):
        saved = checkpoint(session, step)
        after = AutoModelForImageTextToText.from_pretrained(saved).state_dict()
        state = torch.load(saved / "optimizer.pt", weights_only=True)["state"]
        steps[step] = sorted({int(values["step"]) for values in state.values()})
        changed = {part_of(key) for key, value in before.items() if not torch.equal(value, after[key])}
        assert LANGUAGE in changed
        assert "projector" not in changed
        assert ("vision" in changed) == (step == 4)
    assert steps == {2: [2], 4: [2, 4]}


class Interrupted(RuntimeError):
    pass


@pytest.mark.parametrize(
    ("name", "lora", "at"),
    [
        pytest.param("llava", None, 2, id="llava, before the part is trained"),
        pytest.param("llava", 0.2, 4, id="llava, adapters"),
        pytest.param("llava", None, 4, id="llava", marks=pytest.mark.slow),
        pytest.param("idefics3", None, 4, id="idefics3", marks=pytest.mark.slow),
        pytest.param("arr_coc", 0.2, 2, id="arr_coc", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_training_ends_as_an_unbroken_one(
    folders: dict[str, Path], name: str, lora: float | None, at: int, world: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Bit by bit, with a part on a schedule, adapters with dropout, batches by length and prompts without pictures."""
    adapters = None if lora is None else {"r": 2, "dropout": lora, "whole": ["projector"]}
    settings = stage(
        folders[name], steps=6, train={"vision": {"from": 0.5}}, weight_decay=0.1, group_by_length=2, lora=adapters
    )
    with workspace(tmp_path / "whole", world) as session:
        whole = weights(carry_out(settings, run, session), session)
    with workspace(tmp_path / "broken", world) as session:
        step, calls = torch.optim.AdamW.step, []

        def stop(self: Any, closure: Any = None) -> Any:
            calls.append(1)
            if len(calls) == at + 2:
                raise Interrupted
            return step(self, closure)

        with monkeypatch.context() as patched:
            patched.setattr(torch.optim.AdamW, "step", stop)
            with pytest.raises(Interrupted):
                carry_out(settings, run, session)
        assert checkpoint(session, at)
        assert equal(whole, weights(carry_out(settings, run, session), session))


# Adapters


@pytest.mark.parametrize("name", MODELS)
def test_merged_adapters_say_what_they_said_beside_the_weights(
    folders: dict[str, Path], name: str, tmp_path: Path
) -> None:
    model, processor = load(start(folders[name]))
    lora = Lora(r=4, alpha=16, targets="all-linear", whole=("projector",))
    adapted: Any = adapt(model, lora, 0).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for key, value in adapted.named_parameters():
            if "lora_B" in key or "modules_to_save" in key:
                value.add_(0.05 * torch.randn_like(value))
        batch = batch_for(processor)
        plain = AutoModelForImageTextToText.from_pretrained(folders[name]).eval()(**batch).logits
        beside = adapted(**batch).logits
        trainer = Trainer.__new__(Trainer)
        trainer.model = adapted
        finish(trainer, processor, tmp_path / "merged")
        merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged").eval()
        told = AutoProcessor.from_pretrained(tmp_path / "merged")
        assert torch.equal(batch_for(told)["input_ids"], batch["input_ids"])
        kept = batch["attention_mask"].bool()
        torch.testing.assert_close(merged(**batch).logits[kept], beside[kept], rtol=1e-3, atol=1e-3)
    assert float((beside - plain)[kept].abs().max()) > 0.1
    assert type(merged) is type(model)


def test_with_adapters_only_they_and_the_named_parts_are_trained(folders: dict[str, Path]) -> None:
    model, _ = load(start(folders["llava"]))
    adapted = adapt(model, Lora(r=2, targets=("q_proj", "v_proj"), whole=("projector",)), 0)
    Freezing(adapted, {"vision": False}, 10, usual)
    trained = {name for name, value in adapted.named_parameters() if value.requires_grad}
    assert {part_of(name) for name in trained} == {"projector", LANGUAGE}
    assert all("lora_" in name for name in trained if part_of(name) == LANGUAGE)
    assert {name.split(".")[-2] for name in trained if part_of(name) == "projector"} == {"linear_1", "linear_2"}


def test_a_part_that_no_adapter_is_in_cannot_be_trained(folders: dict[str, Path]) -> None:
    adapted = adapt(load(start(folders["llava"]))[0], Lora(r=2, targets=("linear_1",)), 0)
    with pytest.raises(ConfigError, match=r"train: all of vision is frozen: .*lora\.whole"):
        Freezing(adapted, {"vision": _late(0.5)}, 10, usual)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (Lora(targets=("absent",)), "lora: Target modules .*absent"),
        (Lora(whole=("absent",)), "lora.whole: the model has no part 'absent'"),
        (Lora(whole=("router",)), "lora.whole: the model has no part 'router'"),
    ],
)
def test_layers_that_are_not_there_are_named(folders: dict[str, Path], lora: Lora, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        adapt(load(start(folders["llava"]))[0], lora, 0)


# Resolution


@pytest.mark.parametrize(("name", "tokens"), [("llava", 64), ("idefics3", None), ("arr_coc", 28)])
def test_the_resolution_is_raised(folders: dict[str, Path], name: str, tokens: int | None, session: Session) -> None:
    small = AutoModelForImageTextToText.from_pretrained(folders[name]).config
    before = small.image_size[0] if name == "arr_coc" else small.vision_config.image_size
    made = carry_out(stage(folders[name], image_size=2 * before), run, session)
    folder = session.checkpoints.resolve(made.version.name, f"v{made.version.number}").checkout()
    model, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    batch = batch_for(processor)
    assert batch["pixel_values"].shape[-1] == 2 * before
    output = model(**batch)
    assert torch.isfinite(output.loss)
    if name == "arr_coc":
        assert model.config.full_tokens == 4 * small.full_tokens
        assert output.routing.visual_tokens.max() == tokens
    elif tokens is not None:
        assert (batch["input_ids"] == model.config.image_token_id).sum() == tokens


@pytest.mark.parametrize("name", ["llava", "idefics3"])
def test_only_positions_change_with_the_resolution(folders: dict[str, Path], name: str) -> None:
    plain, _ = load(start(folders[name]))
    raised, _ = load(start(folders[name]), 64)
    before, after = plain.state_dict(), raised.state_dict()
    differing = {key for key in before if not torch.equal(before[key], after[key])}
    assert len(differing) == 1
    (positions,) = differing
    assert "position_embedding" in positions
    assert torch.equal(interpolated(before[positions], 4), before[positions])


def test_positions_are_interpolated_as_the_encoder_itself_would(folders: dict[str, Path]) -> None:
    tower = load(start(folders["llava"]))[0].model.vision_tower
    given = torch.zeros(1, 8 * 8 + 1, 32)
    expected = tower.embeddings.interpolate_pos_encoding(given, 64, 64)[0]
    torch.testing.assert_close(interpolated(tower.embeddings.position_embedding.weight, 8), expected)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("llava", 36, "image_size: 36 is no multiple of the 8 pixels of a patch"),
        ("idefics3", 40, "image_size: 4 visual tokens would become 6.25"),
        ("arr_coc", 512, "token_budget=28 is outside"),
    ],
)
def test_a_resolution_that_cannot_be_is_named(folders: dict[str, Path], name: str, size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(start(folders[name]), size)


def test_a_model_without_a_size_says_so(folders: dict[str, Path], tmp_path: Path) -> None:
    from transformers import Qwen2VLConfig

    from training.modelling.resolution import resized

    with pytest.raises(ConfigError, match="image_size: a qwen2_vl is made for no one size of square pictures"):
        resized(Qwen2VLConfig(), 64)


# What it starts from


def test_a_start_that_is_no_model_for_pictures_is_named(session: Session, tmp_path: Path) -> None:
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(**small, vocab_size=9)).save_pretrained(tmp_path / "text")
    with pytest.raises(CheckpointError, match="a llama is no model for pictures and text; the stage `pretrain` puts"):
        carry_out(stage(tmp_path / "text"), run, session)


def test_a_start_without_its_weights_or_its_processor_is_named(
    folders: dict[str, Path], session: Session, tmp_path: Path
) -> None:
    shutil.copytree(folders["llava"], tmp_path / "torn")
    tensors = load_file(tmp_path / "torn" / "model.safetensors")
    tensors.pop(next(key for key in tensors if "multi_modal_projector" in key))
    save_file(tensors, tmp_path / "torn" / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 of the model's tensors are not in its weights, such as .*projector"):
        carry_out(stage(tmp_path / "torn"), run, session)
    shutil.copytree(folders["llava"], tmp_path / "bare")
    for name in ("preprocessor_config.json", "processor_config.json"):
        (tmp_path / "bare" / name).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=r"bare: (cannot be loaded|its processor is a)"):
        carry_out(stage(tmp_path / "bare"), run, session)
    with pytest.raises(CheckpointError, match=r"absent: no config\.json"):
        carry_out(stage(tmp_path / "absent"), run, session)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"no picture", "not a readable picture")],
    ids=["missing", "broken"],
)
def test_a_picture_that_cannot_be_read_is_named(
    folders: dict[str, Path], world: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    shutil.copytree(world, tmp_path / "world")
    (tmp_path / "world" / "benchmarks.yaml").write_text(
        yaml.safe_dump({"benchmarks": {"gqa": {"data": str(tmp_path / "world/data/gqa")}}})
    )
    with workspace(tmp_path / "home", tmp_path / "world") as session:
        sample = next(iter(session.benchmark("gqa", split="train").samples()))
        bad = Path(sample.images[0].name)
        assert tmp_path in bad.parents
        bad.unlink()
        if content is not None:
            bad.write_bytes(content)
        with pytest.raises(HarnessError, match=rf"{re.escape(str(bad))}: .*{message}"):
            carry_out(stage(folders["llava"], steps=8), run, session)


def test_the_start_is_the_parent(folders: dict[str, Path], session: Session) -> None:
    first = carry_out(stage(folders["llava"], name="first"), run, session).version
    second = carry_out(stage("first:latest", name="second", train={"vision": False}), run, session).version
    assert second.metadata["parents"] == {"first:v0": first.digest}
    assert second.parents == (first.digest,)


@pytest.mark.parametrize(
    "change",
    [{"train": {"language": False}}, {"train": {"language": {"from": 0.5}}}, {"train": {"vision": {"from": 1.0}}},
     {"lora": {"r": 0}}, {"image_size": 0}],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        stage("./dir", **change)
