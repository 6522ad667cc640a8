"""The micro configuration: small enough to be trained from nothing on a laptop's CPU in minutes."""

from typing import Any

from transformers import LlamaConfig, PreTrainedTokenizerBase, ResNetConfig
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from arr_coc_model.configuration import ArrCocConfig
from arr_coc_model.processing import ArrCocProcessor

IMAGE_SIZE = 128


def micro_processor(tokenizer: PreTrainedTokenizerBase) -> ArrCocProcessor:
    """Pictures at 128x128 pixels, values in -1..1."""
    images = SiglipImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    return ArrCocProcessor(images, tokenizer)


def micro(processor: ArrCocProcessor, **settings: Any) -> ArrCocConfig:
    """A ResNet that gives 16x16 = 256 patches, a Llama of three layers, and a budget of 28 tokens (a
    ninth).

    `settings` are further settings of ArrCocConfig.
    """
    tokenizer = processor.tokenizer
    vision = ResNetConfig(embedding_size=32, hidden_sizes=[32, 96], depths=[1, 2], layer_type="basic")
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=1024,
        initializer_range=0.06,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return ArrCocConfig(
        vision_config=vision,
        image_size=IMAGE_SIZE,
        text_config=text,
        image_token_id=processor.image_token_id,
        initializer_range=0.06,
        **{"token_budget": 28, **settings},
    )
