from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    ConvNextConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from arr_coc_model import ArrCocConfig, ArrCocForConditionalGeneration, ArrCocProcessor

WORDS = ["<pad>", "<unk>", "</s>", "what", "color", "is", "the", "cube", "left"]
WORDS += ["of", "a", "sphere", "red", "blue", "yes", "no", "?"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def processor() -> ArrCocProcessor:
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", eos_token="</s>")
    return ArrCocProcessor(SiglipImageProcessorPil(size={"height": 64, "width": 64}), tokenizer)


def vision(kind: str, pixels: int) -> PreTrainedConfig:
    """Tiny encoders with a stride of 4 pixels."""
    plain: dict[str, Any] = {
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": pixels,
        "patch_size": 4,
    }
    if kind == "clip":
        return CLIPVisionConfig(**plain)
    if kind == "siglip":
        return SiglipVisionConfig(**plain, vision_use_head=False)
    return ConvNextConfig(
        num_stages=1, hidden_sizes=[24], depths=[1], patch_size=4, image_size=pixels, layer_scale_init_value=0.0
    )


@pytest.fixture(scope="session")
def build(processor: ArrCocProcessor) -> Callable[..., ArrCocForConditionalGeneration]:
    """Builds a tiny model in evaluation mode: build("clip", 64, token_budget=20)."""

    def built(kind: str = "convnext", pixels: int = 64, **settings: Any) -> ArrCocForConditionalGeneration:
        torch.manual_seed(0)
        text = LlamaConfig(
            vocab_size=len(processor.tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=2048,
            initializer_range=0.2,
            pad_token_id=processor.tokenizer.pad_token_id,
            eos_token_id=processor.tokenizer.eos_token_id,
            bos_token_id=None,
        )
        config = ArrCocConfig(
            vision_config=vision(kind, pixels),
            text_config=text,
            image_token_id=processor.image_token_id,
            initializer_range=0.2,
            **{"knowing_size": 16, **settings},
        )
        return ArrCocForConditionalGeneration(config).eval()

    return built


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (16, 9, 9, 3), dtype=np.uint8)
    return [Image.fromarray(picture).resize((90, 70)) for picture in coarse]
