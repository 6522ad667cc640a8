"""The configs that ship: what they name is there, and they can be planned without the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from tests_support import ROOT
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from harness import open_session
from training import microworld
from training.commands.train import command
from training.estimate.assembling import StandIns, assemble
from training.estimate.estimating import sizes
from training.estimate.imagining import Imagining
from training.modelling.architectures import described, stand_in
from training.recipe import read_stage

CONFIGS = ROOT / "training" / "configs"
PUBLISHED = {
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "HuggingFaceTB/SmolVLM-Instruct": 2_246_272_880,
    "llava-hf/llava-1.5-7b-hf": 7_063_427_072,
    "lmsys/vicuna-7b-v1.5": 6_738_415_616,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "openai/clip-vit-large-patch14-336": 427_944_193,
    "google/siglip-so400m-patch14-384": 877_960_498,
}
"""Parameters, as their pages on the hub have them."""


def blank(name: str, folder: Path) -> Any:
    """The model of a description, without values."""
    description = described()[name]
    place = stand_in(description, folder)
    loader: Any = AutoModelForCausalLM
    if "processor" in description:
        loader = AutoModelForImageTextToText
    elif "images" in description:
        loader = AutoModel
    with Imagining().building():
        return loader.from_pretrained(place)


@pytest.fixture
def world(workspace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small world where the shipped settings look for it."""
    data = microworld.build(tmp_path_factory.mktemp("presets") / "world", images=10, evaluation_images=5).path
    monkeypatch.setenv("HARNESS_DATA", str(data))
    return workspace


def planned(config: str, world: Path) -> Any:
    """The preset's trainer, without values."""
    with open_session() as session:
        settings, run = read_stage(CONFIGS / config)
        return assemble(settings, run, session, StandIns(world / "planned", offline=True))


def test_a_picture_is_576_tokens_to_clip(world: Path) -> None:
    """24 x 24 patches of 336 pixels, whichever way they are counted."""
    assembly = planned("vlm/finetune.yaml", world)
    trainer = assembly.trainer
    row = trainer.data_collator([trainer.train_dataset[0]])["input_ids"][0].tolist()
    assert row.count(assembly.processor.image_token_id) == 576 == trainer.model.config.image_seq_length
    # Two adapters of rank 64 beside each linear layer of the language model: r (in + out) weights each.
    hidden, inner, layers = 4096, 11008, 32
    pairs = 4 * (hidden + hidden) + 2 * (hidden + inner) + (inner + hidden)
    assert sizes(assembly)["language"].trained == 64 * layers * pairs


def test_a_picture_is_729_patches_to_siglip(world: Path) -> None:
    """27 x 27 patches of 384 pixels, of which ARR-COC keeps a ninth."""
    assembly = planned("arr_coc/production.yaml", world)
    config = assembly.trainer.model.config
    assert (config.patch_grid, config.num_patches, config.token_budget) == ([27, 27], 729, 81)
    found = sizes(assembly)
    assert found["vision"].trained == 0
    # Llama's, and an embedding for the placeholder of a picture.
    assert found["language"].all == found["language"].trained == PUBLISHED["meta-llama/Llama-3.2-3B-Instruct"] + 3072


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_description_has_as_many_parameters_as_the_model(name: str, tmp_path: Path) -> None:
    assert sum(weight.numel() for weight in blank(name, tmp_path).parameters()) == PUBLISHED[name]


def test_every_description_is_of_a_model_whose_size_is_known() -> None:
    assert set(described()) == set(PUBLISHED)


def test_a_stand_in_takes_pictures_as_the_model_does(tmp_path: Path) -> None:
    """SmolVLM cuts a picture of 640 x 480, enlarged to 1536 x 1152, into 4 x 3 tiles, and adds the whole: 13 x 81."""
    place = stand_in(described()["HuggingFaceTB/SmolVLM-Instruct"], tmp_path)
    processor: Any = AutoProcessor.from_pretrained(place)
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]
    text = processor.apply_chat_template(asked, add_generation_prompt=True)
    batch = processor(text=[text], images=[Image.new("RGB", (640, 480))], return_tensors="pt")
    config: Any = AutoConfig.from_pretrained(place)
    assert int((batch["input_ids"] == config.image_token_id).sum()) == 13 * 81
    assert batch["pixel_values"].shape == (1, 13, 3, 384, 384)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "configs",
    [
        ["vlm/finetune.yaml"],
        ["vlm/pretrain.yaml", "vlm/sft.yaml", "vlm/align.yaml"],
        ["arr_coc/production.yaml"],
        ["arr_coc/micro.yaml"],
        ["majority.yaml"],
    ],
    ids=lambda configs: Path(configs[-1]).stem,
)
def test_a_preset_can_be_planned(configs: list[str], world: Path) -> None:
    files = [str(CONFIGS / config) for config in configs]
    result = CliRunner().invoke(
        command, [*files, "--dry-run", "--offline", "--force", "--json"], catch_exceptions=False
    )
    stages = json.loads(result.stdout)["stages"]
    assert [stage["stage"] for stage in stages] == [read_stage(Path(file))[0].stage for file in files]
    for stage in stages:
        assert stage.get("memory", {"total": 1})["total"] > 0
    assert not (world / ".harness" / "training").exists()
