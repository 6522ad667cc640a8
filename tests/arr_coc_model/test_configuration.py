from typing import Any

import pytest
from transformers import CLIPVisionConfig, ConvNextConfig, LlamaConfig, ResNetConfig, SiglipVisionConfig

from arr_coc_model import ArrCocConfig

TEXT = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
}


def configured(**settings: Any) -> ArrCocConfig:
    vision = CLIPVisionConfig(image_size=64, patch_size=4, **SMALL)
    return ArrCocConfig(**{"vision_config": vision, "text_config": TEXT, **settings})


@pytest.mark.parametrize(
    ("vision", "grid"),
    [
        (CLIPVisionConfig(image_size=336, patch_size=14, **SMALL), (24, 24)),
        (SiglipVisionConfig(image_size=384, patch_size=14, **SMALL), (27, 27)),
        (ConvNextConfig(num_stages=2, hidden_sizes=[8, 8], depths=[1, 1], image_size=96), (12, 12)),
    ],
)
def test_the_grid_is_what_the_encoder_gives(vision: Any, grid: tuple[int, int]) -> None:
    config = configured(vision_config=vision)
    assert tuple(config.patch_grid or ()) == grid
    assert config.num_patches == grid[0] * grid[1]
    assert config.token_budget == round(grid[0] * grid[1] / 9)


def test_a_picture_that_is_not_square() -> None:
    vision = ConvNextConfig(num_stages=1, hidden_sizes=[8], depths=[1])
    assert configured(vision_config=vision, image_size=(32, 64)).patch_grid == [8, 16]


def test_an_encoder_without_image_size_needs_one() -> None:
    vision = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic")
    with pytest.raises(ValueError, match="give image_size"):
        configured(vision_config=vision)
    assert configured(vision_config=vision, image_size=64).num_patches == 64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_patches": 255}, r"num_patches=255, but the encoder gives 16x16 = 256"),
        ({"token_budget": 3}, r"token_budget=3 is outside 4\.\.256"),
        ({"token_budget": 257}, r"token_budget=257 is outside 4\.\.256"),
        ({"min_tokens_per_patch": 8, "max_tokens_per_patch": 4}, "1 <= min <= max <= 64"),
        ({"min_tokens_per_patch": 0}, "1 <= min <= max <= 64"),
        ({"max_tokens_per_patch": 400}, "1 <= min <= max <= 64"),
        ({"min_tokens_per_patch": 16, "token_budget": 28}, r"outside 64\.\.256"),
        ({"knowing_weights": [0.5, -0.1, 0.6]}, "not negative"),
        ({"knowing_weights": [0, 0, 0]}, "not all zero"),
        ({"knowing_weights": [1, 1]}, "three numbers"),
        ({"knowing_weights": {"propositional": 1, "perspective": 1}}, "must name"),
        ({"tiles": 2}, "square number"),
        ({"tiles": 4, "min_tokens_per_patch": 1, "max_tokens_per_patch": 3}, "below the 4 root regions"),
        ({"knowing_size": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configured(**settings)


def test_bounds_are_of_a_tile_where_there_are_several() -> None:
    config = configured(tiles=4)
    assert (config.min_tokens_per_patch, config.max_tokens_per_patch) == (64, 256)
    assert config.full_tokens == 1024
    assert config.least_budget == 4 * 64


def test_weights_by_name_are_normalised() -> None:
    weights = {"participatory": 2, "propositional": 1, "perspectival": 1}
    assert configured(knowing_weights=weights).knowing_weights == [0.25, 0.25, 0.5]


def test_it_survives_json() -> None:
    config = configured(token_budget=40, vision_encoder_name="some/encoder", tiles=1)
    again = ArrCocConfig.from_dict(config.to_dict())
    assert again.to_dict() == config.to_dict()
    assert isinstance(again.vision_config, CLIPVisionConfig)
