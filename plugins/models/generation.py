"""Prompts as a model wants them, plain decoding, and the end of an answer.

Q requests of a batch, L tokens of the longest prompt, T new tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from harness import DataError, Generation, Request

FORMAT = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "pad_token_id",
    "suppress_tokens",
)
"""What of a checkpoint's generation settings says how its answers are written, not how they are chosen."""


def render(processor: ProcessorMixin, request: Request) -> str:
    """The prompt as the model wants it: its chat template, or where there is none the placeholders and the prompt.

    Raises:
        DataError: the prompt itself holds the placeholder of a picture.
    """
    placeholder = str(getattr(processor, "image_token", None) or "")
    if placeholder and placeholder in request.prompt:
        raise DataError(
            f"the prompt holds {placeholder!r}, the model's placeholder for a picture: {request.prompt[:80]!r}"
        )
    if getattr(processor, "chat_template", None) is not None:
        content = [*({"type": "image"} for _ in request.images), {"type": "text", "text": request.prompt}]
        conversation: Any = [{"role": "user", "content": content}]
        return processor.apply_chat_template(conversation, add_generation_prompt=True)
    # The processor of a model with learnt queries puts their placeholders itself.
    marks = 0 if hasattr(processor, "num_query_tokens") else len(request.images)
    return placeholder * marks + request.prompt


def plain_text_arguments(processor: ProcessorMixin, text: str) -> dict[str, Any]:
    """How the tokenizer is called on a rendered prompt.

    Always with the same padding and truncation: a fast tokenizer keeps them as state, and threads that disagree about
    it break each other's calls.
    """
    begin = processor.tokenizer.bos_token
    twice = bool(begin) and text.startswith(begin)
    return {"padding": False, "truncation": False, **({"add_special_tokens": False} if twice else {})}


def settle(tokenizer: PreTrainedTokenizerBase) -> None:
    """Bring a tokenizer into the state in which `plain_text_arguments` leaves it, before threads share it."""
    tokenizer("", padding=False, truncation=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was generated: the text without special tokens, and its length without the end token."""

    text: str
    tokens: int


class Decoding:
    """Plain decoding: greedy or, at a temperature, from the whole distribution.

    What a checkpoint recommends (sampling, beams, penalties for repetition, lengths) is left out, so that a
    benchmark's settings mean the same for every model; what belongs to its format (see FORMAT) stays.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        own = model.generation_config
        self._format = {key: value for key in FORMAT if (value := getattr(own, key, None)) is not None}
        ends = self._format.get("eos_token_id", tokenizer.eos_token_id)
        self._ends = set(ends if isinstance(ends, list) else [] if ends is None else [ends])
        self.padding = padding_token(tokenizer)
        self._format.update(eos_token_id=sorted(self._ends) or None, pad_token_id=self.padding)
        self._tokenizer = tokenizer

    @contextlib.contextmanager
    def settings(self, model: PreTrainedModel, generation: Generation) -> Iterator[GenerationConfig]:
        """Settings for a call to `generate`; inside, the model and its parts have no others of their own."""
        chosen: dict[str, Any] = {"do_sample": False}
        if generation.temperature > 0:
            chosen = {"do_sample": True, "temperature": generation.temperature, "top_k": 0, "top_p": 1.0}
        new: Any = GenerationConfig
        modules: list[Any] = [part for part in model.modules() if hasattr(part, "generation_config")]
        before = [module.generation_config for module in modules]
        for module in modules:
            module.generation_config = new()
        try:
            yield new(**self._format, **chosen, num_beams=1, max_new_tokens=generation.max_new_tokens)
        finally:
            for module, config in zip(modules, before, strict=True):
                module.generation_config = config

    def read(self, tokens: Tensor) -> list[Answer]:
        """New tokens [Q, T], padded on the right -> Q answers."""
        rows = []
        for row in tokens.tolist():
            length = next((index for index, token in enumerate(row) if token in self._ends), len(row))
            rows.append(row[:length])
        texts = self._tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [Answer(text, len(row)) for text, row in zip(texts, rows, strict=True)]


def padding_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """What texts are padded with. It is masked: any token will do where there is none for it."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def new_tokens(sequences: Tensor, prompt: Tensor, model: PreTrainedModel) -> Tensor:
    """[Q, T] of what `generate` returned: without the prompt [Q, L], which some models repeat before their answer."""
    configs = (model.config, model.config.get_text_config())
    if any(getattr(config, "is_encoder_decoder", False) for config in configs):
        return sequences[:, 1:]
    length = prompt.shape[1]
    repeats = sequences.shape[1] >= length and bool((sequences[:, :length] == prompt).all())
    return sequences[:, length:] if repeats else sequences
