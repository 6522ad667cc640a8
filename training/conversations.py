# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""Prompts and answers as a model's inputs: its chat template, its placeholders, and labels on the answer alone.

Q rows of a batch, L tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import PaliGemmaProcessor

from harness import ConfigError, DataError, ImageRef, decode
from training.lessons import Draw, Picture

IGNORED = -100
"""The label of a token that is not learnt."""
TYPES = ("token_type_ids", "mm_token_type_ids")
"""What some processors say of each token."""


def placeholder(processor: Any) -> str:
    """The text that stands for a picture; empty where there is none."""
    named = getattr(processor, "image_token", None)
    if named is None and isinstance(token := getattr(processor, "image_token_id", None), int):
        named = processor.tokenizer.convert_ids_to_tokens(token)
    return str(named or "")


def render(processor: Any, prompt: str, pictures: int) -> str:
    """The prompt as the model is asked it: its chat template, or where there is none the placeholders and the prompt.

    Raises:
        DataError: the prompt itself holds the placeholder of a picture.
    """
    mark = placeholder(processor)
    if mark and mark in prompt:
        raise DataError(f"the prompt holds {mark!r}, the model's placeholder for a picture: {prompt[:80]!r}")
    if getattr(processor, "chat_template", None) is not None:
        return str(processor.apply_chat_template([_asked(prompt, pictures)], add_generation_prompt=True))
    # The processors of models with queries of their own, ARR-COC among them, put the placeholders themselves.
    own = hasattr(processor, "num_query_tokens") or not getattr(processor, "image_token", None)
    return ("" if own else mark * pictures) + prompt


def _asked(prompt: str, pictures: int) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [*({"type": "image"} for _ in range(pictures)), {"type": "text", "text": prompt}],
    }


def reply(processor: Any, prompt: str, pictures: int, answer: str) -> str:
    """What follows the rendered prompt: the answer, and what the chat template puts around it."""
    asked = render(processor, prompt, pictures)
    if getattr(processor, "chat_template", None) is None:
        return answer if asked[-1:].isspace() else f" {answer}"
    found = []
    # Some templates take an answer in parts as they take a prompt, others as a text.
    for content in ([{"type": "text", "text": answer}], answer):
        try:
            whole = processor.apply_chat_template([_asked(prompt, pictures), {"role": "assistant", "content": content}])
        except (TemplateError, TypeError):
            continue
        if whole.startswith(asked) and answer in whole[len(asked) :]:
            found.append(str(whole[len(asked) :]))
    return min(found, key=len, default=answer)


def check_lessons(pictures: Iterable[Picture], processor: Any) -> None:
    """Looks at all that may be drawn, before anything is learnt.

    Raises:
        DataError: an answer is empty or missing, or a text holds the placeholder of a picture; names the picture.
    """
    mark = placeholder(processor)
    for picture in pictures:
        for lesson in picture.lessons:
            where = f"{picture.image.name}: {lesson.benchmark}: {lesson.prompt[:80]!r}"
            if not lesson.answers or not all(map(str.strip, lesson.answers)):
                raise DataError(f"{where}: its answer is {'missing' if not lesson.answers else 'empty'}")
            for text in (lesson.prompt, *lesson.answers):
                if mark and mark in text:
                    raise DataError(f"{where}: {text[:80]!r} holds {mark!r}, the model's placeholder for a picture")


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt with its answer.

    Attributes:
        ids: tokens of both.
        asked: how many of them are the prompt's.
        types: name -> the type of each token.
        others: what else the processor gave: pictures, and what is known of them.
    """

    ids: list[int]
    asked: int
    types: dict[str, list[int]]
    others: dict[str, Tensor]


class ConversationCollator:
    """Draws to batches: the prompts as the harness asks them, each followed by its answer and the end token.

    Args:
        processor: the model's.
        ends: the tokens at which the model stops answering; the tokenizer's end-of-sequence token by default.

    Raises:
        ConfigError: there is no such token.
    """

    def __init__(self, processor: Any, ends: Collection[int] = ()) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        end = self.tokenizer.eos_token_id
        self.ends = frozenset(ends) or frozenset(() if end is None else (end,))
        if not self.ends:
            raise ConfigError("the tokenizer has no end-of-sequence token: an answer could not end; give it one")
        self.end = end if end in self.ends else min(self.ends)
        padding = self.tokenizer.pad_token_id
        self.padding = int(self.end if padding is None else padding)
        # PaliGemma sees all of its prompt at once; what it is to say has a type of its own.
        self.answer_type = int(isinstance(processor, PaliGemmaProcessor))

    def __call__(self, draws: Sequence[Draw]) -> dict[str, Tensor]:
        """input_ids, attention_mask and labels [Q, L], padded on the right, and what the processor gives beside them.

        Raises:
            ImageError, DataError: a picture cannot be read, or a prompt or answer cannot be learnt; names the picture.
        """
        rows = [
            self.row(draw.picture.image, prompt, answer, seen)
            for draw in draws
            for prompt, answer, seen in zip(draw.prompts, draw.answers, draw.seen, strict=True)
        ]
        labels = [[IGNORED] * row.asked + row.ids[row.asked :] for row in rows]
        batch = {
            "input_ids": padded([row.ids for row in rows], self.padding),
            "attention_mask": padded([[1] * len(row.ids) for row in rows], 0),
            "labels": padded(labels, IGNORED),
        }
        for name in rows[0].types:
            batch[name] = padded([row.types[name] for row in rows], 0)
        for name in {name: None for row in rows for name in row.others}:
            batch[name] = _stacked([row.others[name] for row in rows if name in row.others])
        return batch

    def row(self, image: ImageRef, prompt: str, answer: str, seen: bool) -> Row:
        """One prompt, with its picture where it is seen, and its answer."""
        answer = answer.strip()
        if not answer:
            raise DataError(f"{image.name}: the answer to {prompt[:80]!r} is empty")
        text = render(self.processor, prompt, int(seen))
        begin = self.tokenizer.bos_token
        # As the harness asks: a template that begins with the first token needs no other.
        options = {"add_special_tokens": False} if begin and text.startswith(begin) else {}
        features = self.processor(
            text=[text],
            images=[decode(image)] if seen else None,
            return_tensors="pt",
            text_kwargs={"padding": False, "truncation": False, **options},
        )
        asked: list[int] = features["input_ids"][0].tolist()
        said = self.said(text, reply(self.processor, prompt, int(seen), answer), options)
        types = {
            name: features[name][0].tolist() + [self.answer_type] * len(said) for name in TYPES if name in features
        }
        # The n-th text with a placeholder has the n-th picture; an index of pictures would begin anew in each row.
        settled = {"input_ids", "attention_mask", "labels", "image_index", *TYPES}
        others = {name: value for name, value in features.items() if isinstance(value, Tensor) and name not in settled}
        return Row(asked + said, len(asked), types, others)

    def said(self, asked: str, after: str, options: dict[str, Any]) -> list[int]:
        """The tokens of a reply, up to the first at which the model stops; such a one is added where there is none."""
        ids = self._continuing(asked, after, options)
        for place, token in enumerate(ids):
            if token in self.ends:
                return ids[: place + 1]
        return [*self._continuing(asked, after.rstrip(), options), self.end]

    def _continuing(self, asked: str, after: str, options: dict[str, Any]) -> list[int]:
        """Tokens of a text after another, without changing those of the other.

        As the tokenizer splits both together; where it would join the end of one with the beginning of the other, as
        it splits the text alone: the model is asked the tokens of the prompt as they are, and goes on from there.
        """

        def split(text: str, **given: Any) -> list[int]:
            ids: list[int] = self.tokenizer(text, padding=False, truncation=False, **given)["input_ids"]
            return ids

        before, both = split(asked, **options), split(asked + after, **options)
        if both[: len(before)] == before:
            return both[len(before) :]
        return split(after, add_special_tokens=False)


def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """The rows as one tensor [Q, L], `value` at the ends of shorter ones."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def _stacked(items: Sequence[Tensor]) -> Tensor:
    """One after another; other dimensions padded with zeros at their ends, such as the tiles of a picture."""
    sizes = [max(item.shape[axis] for item in items) for axis in range(1, items[0].dim())]
    padded = []
    for item in items:
        gaps = [size - have for size, have in zip(sizes, item.shape[1:], strict=True)]
        padded.append(torch.nn.functional.pad(item, [side for gap in reversed(gaps) for side in (0, gap)]))
    return torch.cat(padded)
