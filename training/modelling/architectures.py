# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""Models whose shape is known without the hub: enough of each to plan with, and never to train.

`configs/architectures/` holds one description a model, with its published configuration. From it a folder is made that
`from_pretrained` reads as it would read the model's, but for its weights, which there are none of, and its tokenizer,
which makes a token of four characters: about what the published ones do with English.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

CHARACTERS = 4
"""Of a stand-in's token."""
IDEFICS3 = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %} {{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
LLAVA = (
    "{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def described() -> dict[str, Mapping[str, Any]]:
    """Name on the hub -> description."""
    folder = files("training") / "configs" / "architectures"
    found = [json.loads(file.read_text(encoding="utf-8")) for file in folder.iterdir() if file.name.endswith(".json")]
    return {description["name"]: description for description in found}


def stand_in(description: Mapping[str, Any], folder: Path) -> Path:
    """Writes what `from_pretrained` reads of the described model, weights aside, into the folder."""
    config: Any = AutoConfig.for_model(**description["config"])
    config.save_pretrained(folder)
    images = _images(**description["images"]) if "images" in description else None
    if "tokenizer" not in description:
        assert images is not None
        images.save_pretrained(folder)
        return folder
    tokenizer = _tokenizer(config.get_text_config().vocab_size, description["tokenizer"])
    if "processor" not in description:
        tokenizer.save_pretrained(folder)
        return folder
    assemble: Any = LlavaProcessor if description["processor"] == "llava" else Idefics3Processor
    given: dict[str, Any] = (
        {
            "patch_size": config.vision_config.patch_size,
            "vision_feature_select_strategy": config.vision_feature_select_strategy,
            "num_additional_image_tokens": 1,
            "chat_template": LLAVA,
        }
        if description["processor"] == "llava"
        else {"image_seq_len": description["image_seq_len"], "chat_template": IDEFICS3}
    )
    assemble(image_processor=images, tokenizer=tokenizer, **given).save_pretrained(folder)
    return folder


def _images(kind: str, size: int, tile: int = 0) -> Any:
    if kind == "idefics3":
        return Idefics3ImageProcessorPil(size={"longest_edge": size}, max_image_size={"longest_edge": tile})
    if kind == "clip":
        return CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    return SiglipImageProcessorPil(size={"height": size, "width": size})


def _tokenizer(size: int, special: Mapping[str, tuple[str, int]]) -> PreTrainedTokenizerFast:
    words = {place: f"<{place}>" for place in range(size)} | {place: text for text, place in special.values()}
    vocabulary = {text: place for place, text in words.items()}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=words[size // 2]))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(rf"[\s\S]{{1,{CHARACTERS}}}"), "isolated")
    named = {name: text for name, (text, _) in special.items() if name in ("bos_token", "eos_token", "pad_token")}
    others = [text for name, (text, _) in special.items() if name not in named]
    wrap: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerFast = wrap(tokenizer_object=core, **named, extra_special_tokens=others)
    return tokenizer
