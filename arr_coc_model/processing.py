# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""Pictures and texts as ARR-COC's inputs."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import AddedToken, BatchFeature, ProcessorMixin

from arr_coc_model.assembling import IGNORED

IMAGE_TOKEN = "<image>"


class ArrCocProcessor(ProcessorMixin):
    """An image processor and a tokenizer.

    A text about a picture holds one `<image>`, which visual tokens replace; without one it goes before the
    text. Texts are padded on the left.
    """

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise ValueError("the tokenizer has neither a padding nor an end-of-sequence token: give it one")
            tokenizer.pad_token = tokenizer.eos_token
        tokenizer.add_tokens([AddedToken(IMAGE_TOKEN, special=True, normalized=False)], special_tokens=True)

    @property
    def image_token_id(self) -> int:
        """Id of the placeholder, for `ArrCocConfig.image_token_id`."""
        return int(self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))

    @property
    def model_input_names(self) -> list[str]:
        """What `__call__` may give."""
        return ["input_ids", "attention_mask", "pixel_values", "image_index", "labels"]

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image] | None = None,
        text: str | Sequence[str] | None = None,
        *,
        image_index: Sequence[int] | None = None,
        answers: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepares a batch.

        Args:
            images: P pictures.
            text: Q prompts.
            image_index: for each prompt the picture it is about, -1 for none. Several prompts may share one.
                Without it each prompt has its own picture, or with no picture at all none has one.
            answers: Q answers to learn: they follow the prompts, end with the end-of-sequence token, and are
                all that `labels` has.
            kwargs: go to the image processor. Texts are padded whatever `padding` says.

        Returns:
            input_ids and attention_mask [Q, L] padded on the left; with pictures pixel_values [P, C, H, W]
            and image_index [Q]; with answers labels [Q, L].

        Raises:
            ValueError: numbers of pictures, prompts, indices or answers that do not fit together.
        """
        if text is None:
            raise ValueError("a text is needed: give text=")
        for settled in ("return_tensors", "padding"):
            kwargs.pop(settled, None)
        prompts = [text] if isinstance(text, str) else list(text)
        pictures = [images] if isinstance(images, Image.Image) else list(images or ())
        index = self._index(len(prompts), len(pictures), image_index)
        if answers is not None and len(answers) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts but {len(answers)} answers")
        marked = [self._marked(prompt, picture) for prompt, picture in zip(prompts, index, strict=True)]
        batch = self._texts(marked, answers)
        if pictures:
            batch["image_index"] = torch.tensor(index)
            batch["pixel_values"] = self.image_processor(pictures, return_tensors="pt", **kwargs)["pixel_values"]
        return BatchFeature(batch)

    @staticmethod
    def _index(prompts: int, pictures: int, image_index: Sequence[int] | None) -> list[int]:
        if image_index is None:
            if pictures not in (0, prompts):
                raise ValueError(f"{pictures} pictures for {prompts} prompts: say which is whose with image_index")
            return list(range(prompts)) if pictures else [-1] * prompts
        if len(image_index) != prompts or not all(-1 <= index < pictures for index in image_index):
            raise ValueError(
                f"image_index must give each of {prompts} prompts a picture below {pictures}, or -1, got {image_index}"
            )
        return list(image_index)

    @staticmethod
    def _marked(prompt: str, picture: int) -> str:
        marks = prompt.count(IMAGE_TOKEN)
        if marks > 1 or (marks and picture < 0):
            raise ValueError(f"{marks} {IMAGE_TOKEN} in a prompt with {int(picture >= 0)} picture: {prompt[:80]!r}")
        return prompt if marks or picture < 0 else IMAGE_TOKEN + prompt

    def _texts(self, prompts: list[str], answers: Sequence[str] | None) -> dict[str, torch.Tensor]:
        ids: list[list[int]] = self.tokenizer(prompts)["input_ids"]
        labels: list[list[int]] | None = None
        if answers is not None:
            ends: list[list[int]] = self.tokenizer(list(answers), add_special_tokens=False)["input_ids"]
            ends = [[*end, self.tokenizer.eos_token_id] for end in ends]
            labels = [[IGNORED] * len(start) + end for start, end in zip(ids, ends, strict=True)]
            ids = [start + end for start, end in zip(ids, ends, strict=True)]
        longest = max(map(len, ids))
        batch = {
            "input_ids": _left_padded(ids, longest, int(self.tokenizer.pad_token_id)),
            "attention_mask": _left_padded([[1] * len(row) for row in ids], longest, 0),
        }
        if labels is not None:
            batch["labels"] = _left_padded(labels, longest, IGNORED)
        return batch


def _left_padded(rows: list[list[int]], length: int, padding: int) -> torch.Tensor:
    return torch.tensor([[padding] * (length - len(row)) + row for row in rows])
