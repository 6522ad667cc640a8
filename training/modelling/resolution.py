# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""A model that is to read pictures of another size than it was made for: its configuration, tables and processor."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.utils import logging

from arr_coc_model import ArrCocConfig
from harness import ConfigError
from training.modelling.weights import load_whole

SIZES = ("size", "crop_size", "max_image_size")
"""What image processors have in pixels."""


def edge(config: Any) -> int:
    """The edge in pixels of the square pictures (or tiles) that a model is made for.

    Raises:
        ConfigError: there is no such thing, as where a model takes pictures of any size.
    """
    vision = getattr(config, "vision_config", config)
    size = config.image_size if isinstance(config, ArrCocConfig) else getattr(vision, "image_size", None)
    sides = set(size) if isinstance(size, list | tuple) else {size}
    if hasattr(config, "image_grid_pinpoints") or len(sides) != 1 or not isinstance(found := sides.pop(), int):
        raise ConfigError(
            f"image_size: a {config.model_type} is made for no one size of square pictures; leave image_size out, and "
            "set the sizes of its image processor instead"
        )
    return found


def resized(config: Any, size: int) -> Any:
    """The configuration for square pictures of `size` pixels.

    Raises:
        ConfigError: there can be none.
    """
    before = edge(config)
    new = copy.deepcopy(config)
    vision = getattr(new, "vision_config", new)
    patch = getattr(vision, "patch_size", 1)
    if isinstance(patch, int) and size % patch:
        raise ConfigError(f"image_size: {size} is no multiple of the {patch} pixels of a patch")
    if getattr(vision, "image_size", None) is not None:
        vision.image_size = size
    if isinstance(new, ArrCocConfig):
        given = {**new.to_dict(), "image_size": size, "patch_grid": None, "feature_size": None, "num_patches": None}
        try:
            return ArrCocConfig(**given)
        except ValueError as error:
            raise ConfigError(f"image_size: {size}: {error}") from error
    if hasattr(new, "image_seq_length"):
        new.image_seq_length = _squared(new.image_seq_length, size / before)
    return new


def load_resized(loader: Any, place: str, config: Any, size: int, *, new: Sequence[str] = (), **given: Any) -> Any:
    """What `from_pretrained` loads, made for square pictures of `size` pixels.

    Tables of positions are interpolated as vision transformers do (bicubic); encoders that have none, such as
    convolutional ones, are as they were.

    Args:
        new: names of modules that need not be there.

    Raises:
        CheckpointError: a weight is not there.
        ConfigError: another weight depends on the size, or the configuration knows none.
    """
    target = resized(config, size)
    old = load_whole(loader, place, new=new, config=copy.deepcopy(config), **given)
    tables = {name: value for name, value in old.state_dict().items() if "position" in name}
    del old
    with _silent():
        model, report = loader.from_pretrained(
            place,
            config=target,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **given,
        )
    state = model.state_dict()
    vision = getattr(target, "vision_config", target)
    for name, had, has in report["mismatched_keys"]:
        if name not in tables or not isinstance(patch := getattr(vision, "patch_size", None), int):
            raise ConfigError(f"image_size: {name} is {list(had)} and would have to be {list(has)} for {size} pixels")
        table = interpolated(tables[name], size // patch)
        if table.shape != state[name].shape:
            raise ConfigError(f"image_size: {name} {list(had)} cannot be interpolated to {list(has)}")
        state[name].copy_(table)
    return model


def interpolated(table: Tensor, side: int) -> Tensor:
    """A table of positions [(1,) extra + n, d] for a square grid of n patches -> for one of side² patches."""
    rows = table.reshape(-1, table.shape[-1])
    extra = next((few for few in range(len(rows)) if math.isqrt(len(rows) - few) ** 2 == len(rows) - few), 0)
    before = math.isqrt(len(rows) - extra)
    grid = rows[extra:].reshape(1, before, before, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid.float(), size=(side, side), mode="bicubic", align_corners=False)
    patches = grid.permute(0, 2, 3, 1).reshape(side * side, -1).to(table.dtype)
    return torch.cat([rows[:extra], patches]).reshape(*table.shape[:-2], -1, table.shape[-1])


def resize_processor(processor: Any, ratio: float) -> None:
    """Has a processor (or image processor) give pictures of `ratio` times the size."""
    images = getattr(processor, "image_processor", processor)
    for name in SIZES:
        sizes = getattr(images, name, None)
        if sizes:
            setattr(images, name, {key: round(value * ratio) for key, value in dict(sizes).items() if value})
    if isinstance(getattr(processor, "image_seq_len", None), int):
        processor.image_seq_len = _squared(processor.image_seq_len, ratio)


def _squared(tokens: int, ratio: float) -> int:
    scaled = tokens * ratio**2
    if not math.isclose(scaled, round(scaled), rel_tol=1e-6):
        raise ConfigError(f"image_size: {tokens} visual tokens would become {scaled:.2f}; choose a size that divides")
    return round(scaled)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without the report of weights whose shape is another: that is what is asked for."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
