# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""Pictures and texts as ARR-COC's inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import AddedToken, BatchFeature, ProcessorMixin

from arr_coc_model.assembling import IGNORED

IMAGE_TOKEN = "<image>"
TEXT_OPTIONS = ("add_special_tokens", "truncation", "max_length")
LAYOUT = ("padding", "padding_side", "return_tensors")


class ArrCocProcessor(ProcessorMixin):
    """An image processor and a tokenizer.

    A text about a picture holds one `<image>`, which visual tokens replace; without one it goes before the
    text. Texts are padded on the left unless told otherwise.
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
        images: Any = None,
        text: str | Sequence[str] | None = None,
        *,
        image_index: Sequence[int] | None = None,
        answers: Sequence[str] | None = None,
        padding: Any = True,
        padding_side: str = "left",
        return_tensors: str | None = "pt",
        text_kwargs: Mapping[str, Any] | None = None,
        images_kwargs: Mapping[str, Any] | None = None,
        common_kwargs: Mapping[str, Any] | None = None,
        videos: None = None,
        audio: None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepares a batch.

        Args:
            images: P pictures, or for each prompt a list of its one or none.
            text: Q prompts.
            image_index: for each prompt the picture it is about, -1 for none. Several prompts may share one.
                Without it each prompt has its own picture, or with no picture at all none has one.
            answers: Q answers to learn: they follow the prompts, end with the end-of-sequence token, and are
                all that `labels` has.
            padding: False leaves each row as long as it is.
            padding_side: "left" or "right".
            return_tensors: None gives texts as lists; pictures are tensors always.
            text_kwargs, images_kwargs, common_kwargs: the same by what they are for, as other processors take them.
            kwargs: those of the tokenizer (`TEXT_OPTIONS`) go there, others to the image processor.

        Returns:
            input_ids and attention_mask [Q, L]; with pictures pixel_values [P, C, H, W] and, where they were not given
            as lists, image_index [Q]; with answers labels [Q, L].

        Raises:
            ValueError: numbers of pictures, prompts, indices or answers that do not fit together, rows of several
                lengths as tensors without padding, or videos or audio.
        """
        if text is None:
            raise ValueError("a text is needed: give text=")
        if videos is not None or audio is not None:
            raise ValueError("ARR-COC reads pictures and texts, no videos and no audio")
        given = {"padding": padding, "padding_side": padding_side, "return_tensors": return_tensors}
        given |= kwargs | dict(common_kwargs or {})
        options = {name: given.pop(name) for name in (*TEXT_OPTIONS, *LAYOUT) if name in given}
        options |= text_kwargs or {}
        prompts = [text] if isinstance(text, str) else list(text)
        pictures, own = _flat(images)
        index = self._index(len(prompts), len(pictures), own if image_index is None else image_index)
        if answers is not None and len(answers) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts but {len(answers)} answers")
        marked = [self._marked(prompt, picture) for prompt, picture in zip(prompts, index, strict=True)]
        batch = self._texts(marked, answers, **options)
        if pictures:
            given |= {**(images_kwargs or {}), "return_tensors": "pt"}
            batch["pixel_values"] = self.image_processor(pictures, **given)["pixel_values"]
            if own is None or image_index is not None:
                batch["image_index"] = torch.tensor(index)
        return BatchFeature(batch)

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
        """As other processors: tokens are lists, as long as they are, unless tensors or padding are asked for."""
        if kwargs.get("tokenize"):
            tensors = kwargs.setdefault("return_tensors", None)
            kwargs["processor_kwargs"] = {"padding": tensors is not None, **(kwargs.get("processor_kwargs") or {})}
        return super().apply_chat_template(*args, **kwargs)

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

    def _texts(
        self,
        prompts: list[str],
        answers: Sequence[str] | None,
        *,
        padding: Any,
        padding_side: str,
        return_tensors: str | None,
        **options: Any,
    ) -> dict[str, Any]:
        ids: list[list[int]] = self.tokenizer(prompts, **options)["input_ids"]
        labels: list[list[int]] | None = None
        if answers is not None:
            ends: list[list[int]] = self.tokenizer(list(answers), add_special_tokens=False)["input_ids"]
            ends = [[*end, self.tokenizer.eos_token_id] for end in ends]
            labels = [[IGNORED] * len(start) + end for start, end in zip(ids, ends, strict=True)]
            ids = [start + end for start, end in zip(ids, ends, strict=True)]
        batch = {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}
        if labels is not None:
            batch["labels"] = labels
        if padding not in (False, "do_not_pad"):
            fill = {"input_ids": int(self.tokenizer.pad_token_id), "attention_mask": 0, "labels": IGNORED}
            batch = {name: _padded(rows, fill[name], padding_side) for name, rows in batch.items()}
        if return_tensors is None:
            return batch
        if len({len(row) for row in batch["input_ids"]}) > 1:
            raise ValueError("texts of several lengths make no tensor: give padding=True, or return_tensors=None")
        return {name: torch.tensor(rows) for name, rows in batch.items()}


def _flat(images: Any) -> tuple[list[Any], list[int] | None]:
    """Pictures in a row, and where they came in a list for each prompt, which is whose."""
    if images is None:
        return [], None
    if not isinstance(images, list | tuple):
        return [images], None
    if not any(isinstance(one, list | tuple) for one in images):
        return list(images), None
    if any(len(one) > 1 for one in images):
        raise ValueError("a prompt has several pictures: one picture a text is what the model reads")
    pictures = [picture for one in images for picture in one]
    places = iter(range(len(pictures)))
    return pictures, [next(places) if one else -1 for one in images]


def _padded(rows: list[list[int]], value: int, side: str) -> list[list[int]]:
    longest = max(map(len, rows))
    more = [[value] * (longest - len(row)) for row in rows]
    return [fill + row if side == "left" else row + fill for row, fill in zip(rows, more, strict=True)]
