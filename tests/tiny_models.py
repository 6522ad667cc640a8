"""Real models of real architectures, tiny and with random weights, saved as any checkpoint is."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPVisionConfig,
    ConvNextConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from arr_coc_model import ArrCocConfig, ArrCocForConditionalGeneration, ArrCocProcessor

PAD, BEGIN, END, UNKNOWN, IMAGE = "<pad>", "<s>", "</s>", "<unk>", "<image>"
WORDS = """\
a an the is are was there this that these what which who where why how many much color kind of in on under
near left right to and or not yes no red green blue yellow black white brown one two three four man woman
people person dog cat horse bird train bus car street sky water tree grass table food plate cake pizza ball
board wave surfing playing sitting standing holding wearing room kitchen picture photo image question answer
using single word phrase provide caption for provided sentence user assistant ? . , : ' -
"""
CHAT = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %} {{ part['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SIZE = 32


def make_tokenizer(special: tuple[str, ...] = ()) -> Any:
    """A word-level tokenizer that begins texts with `<s>`; words that it does not know are `<unk>`."""
    vocabulary = {word: index for index, word in enumerate([PAD, BEGIN, END, UNKNOWN, *WORDS.split()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, vocabulary[BEGIN])]
    )
    wrap: Any = PreTrainedTokenizerFast
    return wrap(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        extra_special_tokens=[IMAGE, *special],
        # Saved as many checkpoints are: whoever pads must say on which side.
        padding_side="right",
    )


def _text_config(tokenizer: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.4,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _save(directory: Path, model: Any, processor: Any, seed: int) -> Path:
    """Draw the weights wide enough for answers to differ from sample to sample, and save both."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.4, generator=generator)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def make_tiny_llava(directory: Path, *, chat: bool = True, seed: int = 0) -> Path:
    """A Llava of some 50 thousand parameters and 16 visual tokens a picture, with or without a chat template."""
    tokenizer = make_tokenizer()
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=SIZE,
            patch_size=8,
            projection_dim=32,
        ),
        text_config=_text_config(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=16,
    )
    assemble: Any = LlavaProcessor
    processor = assemble(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT if chat else None,
    )
    return _save(directory, LlavaForConditionalGeneration(config), processor, seed)


def make_tiny_idefics3(directory: Path, *, chat: bool = True, seed: int = 0) -> Path:
    """An Idefics3 of some 60 thousand parameters: up to four tiles a picture and the whole, 4 visual tokens each."""
    rows = tuple(f"<row_{row}_col_{column}>" for row in range(1, 3) for column in range(1, 3))
    special = ("<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *rows)
    tokenizer = make_tokenizer(special)
    config = Idefics3Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": SIZE,
            "patch_size": 8,
        },
        text_config=_text_config(tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        scale_factor=2,
    )
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(
            size={"longest_edge": 2 * SIZE}, max_image_size={"longest_edge": SIZE}
        ),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=CHAT if chat else None,
    )
    return _save(directory, Idefics3ForConditionalGeneration(config), processor, seed)


def make_tiny_arr_coc(directory: Path, *, seed: int = 0) -> Path:
    """An ARR-COC of some 40 thousand parameters: 256 patches a picture, a budget of 28."""
    tokenizer = make_tokenizer()
    processor = ArrCocProcessor(SiglipImageProcessorPil(size={"height": 64, "width": 64}), tokenizer)
    vision = ConvNextConfig(
        num_stages=1, hidden_sizes=[24], depths=[1], patch_size=4, image_size=64, layer_scale_init_value=0.0
    )
    config = ArrCocConfig(
        vision_config=vision,
        text_config=_text_config(tokenizer),
        image_token_id=processor.image_token_id,
        knowing_size=16,
        token_budget=28,
    )
    return _save(directory, ArrCocForConditionalGeneration(config), processor, seed)
