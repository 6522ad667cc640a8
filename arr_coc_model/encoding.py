# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""Any vision encoder as a grid of patch features."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig


def as_pair(size: Any) -> tuple[int, int]:
    """An edge or (height, width) as (height, width)."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)


def patch_features(hidden: Tensor, grid: tuple[int, int] | None, picture: tuple[int, int]) -> tuple[Tensor, int, int]:
    """An encoder's output as [B, rows * cols, D] in raster order, with rows and cols.

    `hidden` is [B, D, rows, cols] (ConvNeXt, ResNet) or [B, n, D] (CLIP, SigLIP, ViT), where tokens before
    the patches (CLS, registers) are dropped. Without a known `grid` the largest rows x cols <= n of the
    picture's shape is meant. Raises ValueError where no grid fits.
    """
    if hidden.ndim == 4:
        return hidden.flatten(2).transpose(1, 2), hidden.shape[2], hidden.shape[3]
    if hidden.ndim != 3:
        raise ValueError(f"the vision encoder gives {tuple(hidden.shape)}; [B, n, D] or [B, D, rows, cols] is needed")
    if grid is None:
        cols = math.isqrt(hidden.shape[1] * picture[1] // picture[0])
        grid = (cols * picture[0] // picture[1], cols)
    rows, cols = grid
    if rows * cols == 0 or rows * cols > hidden.shape[1]:
        raise ValueError(f"the vision encoder gives {hidden.shape[1]} tokens, fewer than a grid of {rows}x{cols}")
    return hidden[:, hidden.shape[1] - rows * cols :], rows, cols


def run_encoder(encoder: nn.Module, pixels: Tensor, layer: int) -> Tensor:
    """The hidden states [B, n, D] or [B, D, rows, cols] of one layer; -1 is the encoder's last hidden state."""
    if layer == -1:
        hidden = encoder(pixel_values=pixels).last_hidden_state
    else:
        hidden = encoder(pixel_values=pixels, output_hidden_states=True).hidden_states[layer]
    assert isinstance(hidden, Tensor)
    return hidden


def measure_encoder(vision_config: PreTrainedConfig, layer: int, picture: tuple[int, int]) -> tuple[int, int, int]:
    """Rows, columns and feature size D that an encoder gives for one picture (or tile) of `picture` pixels.

    Runs the encoder on the meta device: no weights, no arithmetic.
    """
    with torch.device("meta"):
        encoder = AutoModel.from_config(vision_config).eval()
        pixels = torch.empty(1, getattr(vision_config, "num_channels", 3), *picture)
        hidden = run_encoder(encoder, pixels, layer)
    patch = getattr(vision_config, "patch_size", None)
    known = None
    if hidden.ndim == 3 and patch is not None:
        patch_height, patch_width = as_pair(patch)
        known = (picture[0] // patch_height, picture[1] // patch_width)
    features, rows, cols = patch_features(hidden, known, picture)
    return rows, cols, features.shape[-1]


def encode(encoder: nn.Module, pixels: Tensor, *, layer: int, grid: tuple[int, int], tiles: tuple[int, int]) -> Tensor:
    """Pixels [P, C, H, W] -> patch features [P, N, D] of the whole picture in raster order.

    With several tiles the picture is cut into them, each is encoded on its own, and the grids are laid side
    by side. Raises ValueError where the encoder's grid is not `grid`.
    """
    count, channels, height, width = pixels.shape
    down, across = tiles
    if height % down or width % across:
        raise ValueError(f"a picture of {height}x{width} pixels cannot be cut into {down}x{across} equal tiles")
    tile = (height // down, width // across)
    cut = pixels.view(count, channels, down, tile[0], across, tile[1]).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    features, rows, cols = patch_features(run_encoder(encoder, cut, layer), grid, tile)
    if (rows, cols) != grid:
        raise ValueError(
            f"pictures of {height}x{width} pixels give {rows}x{cols} patches a tile, but the model is built for "
            f"{grid[0]}x{grid[1]}: resize them as the processor does"
        )
    laid = features.view(count, down, across, rows, cols, -1).transpose(2, 3)
    return laid.flatten(1, 4)
