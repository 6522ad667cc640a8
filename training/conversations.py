"""Prompts and answers as a model's inputs: its chat template, its placeholders, and labels on the answer alone.

Q rows of a batch, L tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness import DataError, decode
from training.lessons import Draw

IGNORED = -100
"""The label of a token that is not learnt."""


def render(processor: Any, prompt: str, pictures: int) -> str:
    """The prompt as the model is asked it: its chat template, or where there is none the placeholders and the prompt.

    Raises:
        DataError: the prompt itself holds the placeholder of a picture.
    """
    placeholder = str(getattr(processor, "image_token", None) or "")
    if placeholder and placeholder in prompt:
        raise DataError(f"the prompt holds {placeholder!r}, the model's placeholder for a picture: {prompt[:80]!r}")
    if getattr(processor, "chat_template", None) is not None:
        content = [*({"type": "image"} for _ in range(pictures)), {"type": "text", "text": prompt}]
        return str(processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True))
    marks = 0 if hasattr(processor, "num_query_tokens") else pictures
    return placeholder * marks + prompt


class ConversationCollator:
    """Draws to batches: the prompts as the harness asks them, each followed by its answer and the end token.

    Args:
        processor: the model's.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer

    def __call__(self, draws: Sequence[Draw]) -> dict[str, Tensor]:
        """input_ids, attention_mask and labels [Q, L], padded on the right, and the processor's pictures."""
        rows = [
            (draw.picture.image if seen else None, prompt, answer)
            for draw in draws
            for prompt, answer, seen in zip(draw.prompts, draw.answers, draw.seen, strict=True)
        ]
        images = [decode(image) for image, _, _ in rows if image is not None]
        texts = [render(self.processor, prompt, int(image is not None)) for image, prompt, _ in rows]
        batch = dict(self.processor(text=texts, images=images or None, return_tensors="pt", padding=True))
        answers = self.tokenizer([answer for _, _, answer in rows], add_special_tokens=False, padding=False)[
            "input_ids"
        ]
        ids = [
            row[mask.bool()].tolist()
            for row, mask in zip(batch.pop("input_ids"), batch.pop("attention_mask"), strict=True)
        ]
        ends = [[*answer, self.tokenizer.eos_token_id] for answer in answers]
        whole = [start + end for start, end in zip(ids, ends, strict=True)]
        labels = [[IGNORED] * len(start) + end for start, end in zip(ids, ends, strict=True)]
        return {
            **batch,
            "input_ids": _padded(whole, int(self.tokenizer.pad_token_id)),
            "attention_mask": _padded([[1] * len(row) for row in whole], 0),
            "labels": _padded(labels, IGNORED),
        }


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])
