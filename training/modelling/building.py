# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""A new model for pictures and text, put together from a vision encoder and a language model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AddedToken,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from arr_coc_model import ArrCocConfig, ArrCocForConditionalGeneration, ArrCocProcessor
from arr_coc_model.presets import PRESETS
from harness import ConfigError, Session
from training.lessons import Picture
from training.modelling.composition import ModelSettings
from training.modelling.models import Start
from training.modelling.resolution import edge, load_resized, resize_processor
from training.modelling.tokenizer import word_tokenizer
from training.modelling.weights import load_whole

IMAGE = "<image>"
POOLER = ("pooler",)
"""What no patch is read from; towers that were trained to classify come without it."""
LLAVA = (
    "{% for message in messages %}{{ message['role'].upper() }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""The conversation of LLaVA-1.5 (Liu et al. 2023), with the end token that it was trained with."""
PLAIN = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}\n{% endif %}{% endfor %}"
)
"""Picture, prompt, answer and the end token: for a tokenizer that was learnt from the prompts alone."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A part: its configuration, and its weights where it has them."""

    config: Any
    weights: Any


def texts(session: Session, benchmarks: Iterable[str], split: str) -> tuple[list[str], list[str]]:
    """All prompts and all answers of a split."""
    prompts: list[str] = []
    answers: list[str] = []
    for name in benchmarks:
        task = session.benchmark(name, split=split)
        for sample in task.samples():
            prompts.append(task.request(sample).prompt)
            answers.extend(sample.references)
    return prompts, answers


def said(pictures: Sequence[Picture]) -> tuple[list[str], list[str]]:
    """All prompts and all answers of pictures."""
    lessons = [lesson for picture in pictures for lesson in picture.lessons]
    return [lesson.prompt for lesson in lessons], [answer for lesson in lessons for answer in lesson.answers]


def build(settings: ModelSettings, session: Session, told: tuple[list[str], list[str]]) -> tuple[Any, Any]:
    """The new model and its processor, in float32 and training mode; random weights by torch's seed.

    Args:
        told: prompts and answers, from which the tokenizer is learnt.

    Raises:
        CheckpointError: a part is not there.
        ConfigError: the parts do not make a model.
    """
    sources = settings.sources(session)
    if (words := settings.learnt) is not None:
        tokenizer: Any = word_tokenizer(*told, rare=words.rare, instruction=words.instruction)
    else:
        source = sources.get("tokenizer") or sources["language"]
        tokenizer = AutoTokenizer.from_pretrained(source.place, **source.pinned)
    try:
        if settings.preset is not None:
            return _preset(settings, tokenizer)
        vision = _vision(settings, sources.get("vision"))
        language = _language(settings, sources.get("language"), tokenizer)
        images = _image_processor(settings, sources.get("vision"), vision.config)
        make = _llava if settings.architecture == "llava" else _arr_coc
        model, processor = make(settings, vision, language, images, tokenizer)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"model: {error}") from error
    return model.train(), processor


def _preset(settings: ModelSettings, tokenizer: Any) -> tuple[Any, Any]:
    assert settings.preset is not None
    processor, config = PRESETS[settings.preset](tokenizer, **settings.settings)
    return ArrCocForConditionalGeneration(config).train(), processor


def _vision(settings: ModelSettings, source: Start | None) -> _Loaded:
    assert settings.vision is not None
    if source is not None:
        whole: Any = AutoConfig.from_pretrained(source.place, **source.pinned)
        config = getattr(whole, "vision_config", whole)
        given = {"dtype": torch.float32, "new": POOLER, **source.pinned}
        if settings.image_size is not None and settings.image_size != edge(config):
            weights = load_resized(AutoModel, source.place, config, settings.image_size, **given)
        else:
            weights = load_whole(AutoModel, source.place, source.name, config=config, **given)
        return _Loaded(weights.config, weights)
    given = dict(settings.vision.config or {})
    if settings.image_size is not None:
        given.setdefault("image_size", settings.image_size)
    return _Loaded(AutoConfig.for_model(**given), None)


def _language(settings: ModelSettings, source: Start | None, tokenizer: PreTrainedTokenizerBase) -> _Loaded:
    assert settings.language is not None
    if not {IMAGE} & set(tokenizer.get_vocab()):
        tokenizer.add_tokens([AddedToken(IMAGE, special=True, normalized=False)], special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if source is not None:
        weights = load_whole(AutoModelForCausalLM, source.place, source.name, dtype=torch.float32, **source.pinned)
        if len(tokenizer) > weights.config.vocab_size:
            weights.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        return _Loaded(weights.config, weights)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    return _Loaded(
        AutoConfig.for_model(**{"vocab_size": len(tokenizer), **ids, **(settings.language.config or {})}), None
    )


def _image_processor(settings: ModelSettings, source: Start | None, config: PreTrainedConfig) -> Any:
    if source is not None:
        images = AutoImageProcessor.from_pretrained(source.place, **source.pinned)
        if settings.image_size is not None:
            whole: Any = AutoConfig.from_pretrained(source.place, **source.pinned)
            resize_processor(images, settings.image_size / edge(whole))
        return images
    size = settings.image_size or getattr(config, "image_size", None)
    if not isinstance(size, int):
        raise ValueError(f"give image_size: a {config.model_type} configuration does not tell it")
    return SiglipImageProcessorPil(size={"height": size, "width": size})


def _llava(settings: ModelSettings, vision: _Loaded, language: _Loaded, images: Any, tokenizer: Any) -> tuple[Any, Any]:
    # A tower that was trained is read before its last layer, as LLaVA does; of a new one all layers are to learn.
    layer = settings.settings.get("vision_feature_layer", -1 if vision.weights is None else -2)
    size = int(vision.config.image_size)
    side, extra, width = _grid(vision.config, layer, size)
    if getattr(vision.config, "hidden_size", None) is None:  # as of encoders in stages
        vision.config.hidden_size = width
    config = LlavaConfig(
        vision_config=vision.config,
        text_config=language.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        **{
            "image_seq_length": side * side,
            "vision_feature_layer": layer,
            "vision_feature_select_strategy": "default" if extra else "full",
            **settings.settings,
        },
    )
    model: Any = LlavaForConditionalGeneration(config)
    if vision.weights is not None:
        model.model.vision_tower = vision.weights
    if language.weights is not None:
        model.model.language_model = language.weights.base_model
        model.set_output_embeddings(language.weights.get_output_embeddings())
        model.generation_config = language.weights.generation_config
        model.tie_weights()
    assemble: Any = LlavaProcessor
    processor = assemble(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=size // side,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=extra,
        chat_template=settings.chat_template or (LLAVA if settings.learnt is None else PLAIN),
    )
    return model, processor


def _grid(config: PreTrainedConfig, layer: int, size: int) -> tuple[int, int, int]:
    """Edge of the tower's square grid of patches, tokens before it, and size of each; no weights, no arithmetic."""
    with torch.device("meta"):
        pixels = torch.empty(1, getattr(config, "num_channels", 3), size, size)
        hidden = AutoModel.from_config(config).eval()(pixels, output_hidden_states=True).hidden_states[layer]
    for extra in (0, 1):
        side = math.isqrt(hidden.shape[1] - extra)
        if hidden.ndim == 3 and side * side + extra == hidden.shape[1]:
            return side, extra, hidden.shape[2]
    raise ValueError(
        f"vision: a {config.model_type} gives {tuple(hidden.shape)} for {size}x{size} pixels; llava needs a square "
        "grid of patches in a row, with one token before it at most"
    )


def _arr_coc(
    settings: ModelSettings, vision: _Loaded, language: _Loaded, images: Any, tokenizer: Any
) -> tuple[Any, Any]:
    processor = ArrCocProcessor(images, tokenizer, settings.chat_template)
    given: dict[str, Any] = {"image_size": settings.image_size} if settings.image_size is not None else {}
    config = ArrCocConfig(
        vision_config=vision.config,
        text_config=language.config,
        image_token_id=processor.image_token_id,
        vision_encoder_name=settings.vision.from_ if settings.vision else None,
        llm_name=settings.language.from_ if settings.language else None,
        **{**given, **settings.settings},
    )
    return ArrCocForConditionalGeneration(config, vision.weights, language.weights), processor
