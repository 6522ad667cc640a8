"""From the place of a checkpoint to its processor and its model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.utils import logging

from harness import CheckpointError, UnknownName, UsageError
from plugins.models.sources import BROKEN, Place, brief

DTYPES = ("auto", "bfloat16", "float16", "float32")
ATTENTION = ("eager", "flash_attention_2", "flash_attention_3", "flex_attention", "sdpa")


@dataclass(frozen=True, slots=True)
class Weights:
    """How weights are loaded.

    Attributes:
        dtype: one of DTYPES; "auto" is the one that they were saved in.
        attn: one of ATTENTION; None leaves it to transformers.
    """

    dtype: str = "float32"
    attn: str | None = None

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> Weights:
        """From those of the options that are meant for it.

        Raises:
            UnknownName: a value that there is none of.
        """
        given = {key: options[key] for key in ("dtype", "attn") if key in options}
        for key, known in (("dtype", DTYPES), ("attn", ATTENTION)):
            if key in given and given[key] not in known:
                raise UnknownName(f"value of {key}=", given[key], known)
        return cls(**given)


def load_processor(place: Place) -> ProcessorMixin:
    """The processor of a model for pictures and text.

    Raises:
        CheckpointError: it is missing or broken.
    """
    loader: Any = AutoProcessor
    try:
        processor: ProcessorMixin = loader.from_pretrained(**place.arguments())
    except BROKEN as error:
        raise CheckpointError(
            f"{place.name}: its processor cannot be loaded ({brief(error)}); save it whole: processor.save_pretrained"
        ) from error
    if not all(hasattr(processor, part) for part in ("tokenizer", "image_processor")):
        raise CheckpointError(
            f"{place.name}: its processor is a {type(processor).__name__}, which does not take both pictures and "
            "text; save the model's: processor.save_pretrained"
        )
    return processor


def load_config(place: Place) -> PreTrainedConfig:
    """The configuration of a model that `check_folder` or `pinned` has seen."""
    config: PreTrainedConfig = AutoConfig.from_pretrained(**place.arguments())
    return config


def load_model(place: Place, weights: Weights, device: str, config: PreTrainedConfig | None = None) -> PreTrainedModel:
    """The model on its device, all of its weights from the checkpoint, ready to answer.

    Args:
        config: in the place of the checkpoint's own.

    Raises:
        CheckpointError: it cannot be loaded whole.
        UsageError: there is no such device, or the model does not know that kind of attention.
    """
    loader: Any = AutoModelForImageTextToText
    target = choose_device(device)
    chosen: dict[str, Any] = {} if weights.attn is None else {"attn_implementation": weights.attn}
    if config is not None:
        chosen["config"] = config
    try:
        with _quiet():
            model, report = loader.from_pretrained(
                **place.arguments(),
                **chosen,
                dtype=weights.dtype,
                use_safetensors=True,
                output_loading_info=True,
            )
    except BROKEN as error:
        if weights.attn is not None and ("attn" in str(error) or "ttention" in str(error)):
            raise UsageError(f"attn={weights.attn}: {brief(error)}; leave attn= out for what fits") from error
        raise CheckpointError(f"{place.name}: cannot be loaded ({brief(error)})") from error
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{place.name}: {len(missing)} of the model's tensors are not in its weights, such as {missing[0]}; "
            "save the whole model with save_pretrained"
        )
    loaded: PreTrainedModel = model.to(target).eval()
    return loaded


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one.

    Raises:
        UsageError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device {name!r} cannot be used here ({brief(error)}); try auto or cpu") from error
    return device


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No bar for reading local weights, which takes seconds; downloads keep theirs."""
    before = logging.set_tqdm_hook(lambda bar, args, kwargs: bar(*args, **{**kwargs, "disable": True}))
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)
